"""Several faces at the same time in ONNX Runtime: each of them on one thread.

ONNX Runtime spreads the layers of one image over its threads. A small model gains little by that, because the threads
wait for each other after each layer: two faces take less time at once, on one thread each, than one after another on
both (`make bench-faces`; docs/benchmark.md has figures). So full rounds of faces, as many as there are threads, run at
once. What is left of the faces runs one after another on all threads.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from logging import getLogger
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..core.errors import InputError, ModelError

Run = Callable[[Any, Sequence[NDArray[Any]]], list[list[NDArray[Any]]]]

log = getLogger("rkface.models")


class ParallelRuns:
    """A second session for the model at ``path``, with one thread, that ``threads`` threads use at the same time (None:
    as many as this process may use).

    ``open_session`` opens it for the first full round, because most pictures show one face. If the file is another one
    by then, there is no second session, because two models would answer.
    """

    def __init__(self, path: Path, threads: int | None, open_session: Callable[[], Any]) -> None:
        self._path, self._file = path, _identity(path)
        self._threads = threads or len(os.sched_getaffinity(0))
        self._open_session = open_session
        self._opening = threading.Lock()
        self._opened: tuple[Any, ThreadPoolExecutor] | None = None

    def run_rounds(self, run: Run, tensors: Sequence[NDArray[Any]]) -> list[list[NDArray[Any]]]:
        """What ``run(session, …)`` says of those of the ``tensors`` that fill rounds of all threads, the first ones.

        The result is empty if there are too few, only one thread, or no second session. Raises what ``run`` raises.
        """
        threads = self._threads
        count = len(tensors) - len(tensors) % threads
        opened = self._get() if count and threads > 1 else None
        if opened is None:
            return []
        session, pool = opened
        answers: list[list[NDArray[Any]]] = [[]] * count

        def run_share(first: int) -> None:
            answers[first::threads] = run(session, tensors[first:count:threads])

        try:
            shares = [pool.submit(run_share, first) for first in range(1, threads)]
        except RuntimeError:  # ``close`` was called meanwhile
            return []
        # This thread takes a share, too: to wake another one for it costs more, and often delays it by milliseconds.
        run_share(0)
        for share in shares:
            share.result()
        return answers

    def close(self) -> None:
        """End the threads, and free the session."""
        with self._opening:
            opened, self._opened, self._threads = self._opened, None, 1
        if opened:
            opened[1].shutdown()

    def _get(self) -> tuple[Any, ThreadPoolExecutor] | None:
        """The second session and its threads, opened if they are not."""
        with self._opening:
            if self._opened is None and self._threads > 1:
                try:
                    session = self._open_session()
                except (InputError, ModelError) as error:
                    log.debug("faces run one after another: %s", error)
                    session = None
                if session is None or _identity(self._path) != self._file:
                    self._threads = 1
                else:
                    self._opened = session, ThreadPoolExecutor(self._threads - 1, "rkface-face")
            return self._opened


def _identity(path: Path) -> tuple[int, ...] | None:
    """What changes if the file at ``path`` is written or replaced. None if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
