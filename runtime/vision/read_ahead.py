"""Work on many photos at once, each in a thread: one is decoded while the models look at others."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Generic, TypeVar

from .decoder import PROCESSES
from .image import ReadPhoto, decode_photo, open_photo

T = TypeVar("T")

MOST_PIXELS = 64_000_000  # of the photos that are worked on at once, 192 MB: a larger photo is worked on alone
# Photos for each thread that are begun or finished before the first of them is taken. Some photos take eight times as
# long as others, because they are searched in all four turns: the other threads need work meanwhile.
AHEAD = 4


class ReadAhead(Generic[T]):
    """Reads ``paths``, and calls ``work`` for each with what ``read_photo`` returns, in as many threads as the machine
    has cores, at most four. The caller takes the results in this order, and may leave some out. A context manager: its
    end waits for the photos that are being worked on.

    The photos that are worked on at once have ``MOST_PIXELS`` or less together, so that a folder of huge photos needs
    little more memory than one of them. Results wait for the caller: they should not hold the image.
    """

    def __init__(self, paths: Iterable[Path], work: Callable[[ReadPhoto], T]) -> None:
        self._rest = iter(paths)
        self._work = work
        self._room = _Room(MOST_PIXELS)
        self._pool = ThreadPoolExecutor(PROCESSES, "rkface-photo")
        self._begun: deque[tuple[Path, Future[T]]] = deque()

    def take(self, path: Path) -> T:
        """What ``work`` returned for the photo ``path``. Raises what ``read_photo`` and ``work`` raise, and ValueError
        if ``path`` is not among the photos that are left."""
        while True:
            self._begin_more()
            if not self._begun:
                raise ValueError(f"{path} is not among the photos to read")
            first, result = self._begun.popleft()
            if first == path:
                self._begin_more()
                return result.result()
            result.cancel()

    def __enter__(self) -> ReadAhead[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _begin_more(self) -> None:
        while len(self._begun) < AHEAD * PROCESSES:
            path = next(self._rest, None)
            if path is None:
                return
            self._begun.append((path, self._pool.submit(self._read, path)))

    def _read(self, path: Path) -> T:
        photo = open_photo(path)
        with self._room.hold(photo.pixels):
            return self._work(decode_photo(photo))


class _Room:
    """Limits the pixels of the photos that are in memory at once to ``most``, or to one photo."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._used = 0
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Wait until there is room for ``pixels``, and keep it for the time of the block."""
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + pixels <= self._most)
            self._used += pixels
        try:
            yield
        finally:
            with self._changed:
                self._used -= pixels
                self._changed.notify_all()
