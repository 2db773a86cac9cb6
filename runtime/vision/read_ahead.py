"""Read many photos, the next ones while the caller still works on the last: a core decodes, others run models."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.errors import RkfaceError
from .decoder import PROCESSES
from .image import OpenedPhoto, decode_photo, open_photo

MOST_PIXELS = 64_000_000  # of the photos that wait, 192 MB: a larger photo waits alone


class _Waiting(NamedTuple):
    path: Path
    pixels: int
    image: Future[NDArray[np.uint8]]


class ReadAhead:
    """Reads ``paths``. The caller takes them in this order, and may leave some out. Results and errors are those of
    ``read_image``. A context manager: its end waits for the photos that are being decoded.

    As many photos are decoded at once as the machine has cores, at most four. Those that wait have ``MOST_PIXELS`` or
    less together, so that a folder of huge photos needs little more memory than one of them.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._rest = iter(paths)
        self._pool = ThreadPoolExecutor(PROCESSES, "rkface-decode")
        self._next: tuple[Path, OpenedPhoto | RkfaceError] | None = None  # read, but there is no room to decode it
        self._waiting: deque[_Waiting] = deque()

    def read(self, path: Path) -> NDArray[np.uint8]:
        """The photo ``path``, as ``read_image`` reads it. Raises as ``read_image``, and ValueError if ``path`` is not
        among the photos that are left."""
        while True:
            self._start_more()
            if not self._waiting:
                raise ValueError(f"{path} is not among the photos to read")
            first = self._waiting.popleft()
            if first.path == path:
                self._start_more()
                return first.image.result()
            first.image.cancel()

    def __enter__(self) -> ReadAhead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _start_more(self) -> None:
        """Start to decode photos while there is room."""
        while len(self._waiting) < PROCESSES:
            if self._next is None:
                path = next(self._rest, None)
                if path is None:
                    return
                self._next = path, _open(path)
            path, opened = self._next
            pixels = opened.pixels if isinstance(opened, OpenedPhoto) else 0
            if self._waiting and sum(one.pixels for one in self._waiting) + pixels > MOST_PIXELS:
                return
            self._next = None
            self._waiting.append(_Waiting(path, pixels, self._start(opened)))

    def _start(self, opened: OpenedPhoto | RkfaceError) -> Future[NDArray[np.uint8]]:
        if isinstance(opened, OpenedPhoto):
            return self._pool.submit(decode_photo, opened)
        failed: Future[NDArray[np.uint8]] = Future()
        failed.set_exception(opened)
        return failed


def _open(path: Path) -> OpenedPhoto | RkfaceError:
    """The photo, or the error to raise when its turn has come."""
    try:
        return open_photo(path)
    except RkfaceError as error:
        return error
