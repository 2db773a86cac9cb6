"""The frames that wait for the cores, and the order in which they begin and their results are read."""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count

from ..core.errors import WorkError
from .cores import Caller, Cores
from .frames import Frame, Job, Result

# Frames per core whose work has begun and whose results are not read yet, so that frames with few faces can finish
# while one with many is in progress. With 2, the cores stay busy, but streams of 0 to 8 faces lose one percent; 4 gain
# nothing (tests/bench/cores.py).
IN_PROGRESS = 3


class FrameQueue:
    """Frames for ``number`` cores, on which the threads of ``callers`` work. All methods may be called in any thread.

    A frame waits at a place, a source's name for a camera, where a newer frame replaces it. Work on a waiting frame
    begins when fewer inferences wait than there are cores. Results are read in the order in which work began.
    """

    def __init__(self, cores: Cores, number: int, callers: Sequence[Caller]) -> None:
        self.closed = False
        self.reader = ""  # the method that reads results
        self._cores = cores
        self._number = number
        self._callers = callers
        # This lock may be held while the lock of ``Cores`` is taken, never the other way round.
        self._lock = threading.Lock()
        self._may_start = threading.Condition(self._lock)  # a frame may begin, or the queue is closed
        self._may_read = threading.Condition(self._lock)  # a result is there, or the reader has something else to do
        self._waiting: OrderedDict[Hashable, Job] = OrderedDict()
        self._order: deque[Job] = deque()  # begun, and their results not yet read
        self._dropped: Counter[str] = Counter()
        self._turns = count(1)
        cores.on_progress = self._on_progress

    @contextmanager
    def reading(self, method: str) -> Iterator[None]:
        """While the block runs, no other thread may read results. ``method`` is the method of the scheduler that reads.

        Raises WorkError if another thread reads.
        """
        with self._lock:
            if self.reader:
                raise WorkError(
                    f"{method}() during {self.reader}(): results can have only one reader: read them to the end, or "
                    "close the iterator first"
                )
            self.reader = method
        try:
            yield
        finally:
            self.reader = ""

    def put(self, place: Hashable, frame: Frame) -> bool:
        """Let ``frame`` wait at ``place``. False if it will never be processed: closed, or no core is left."""
        with self._lock:
            if self.closed or self._cores.lost:
                return False
            if place in self._waiting:
                self._dropped[frame.source] += 1
            self._waiting[place] = Job(frame, time.monotonic())  # the place keeps its turn: sources alternate
            self._may_start.notify()
            return True

    def start(self, caller: Caller) -> Job | None:
        """Wait until ``caller`` may begin a frame. None if the queue is closed."""
        with self._lock:
            self._may_start.wait_for(lambda: self.closed or self._ready())
            if self.closed:
                return None
            _, job = self._waiting.popitem(last=False)
            self._order.append(job)
            job.dropped = self._dropped.pop(job.frame.source, 0)
            self._cores.begin(caller, next(self._turns))
            if self._ready():
                self._may_start.notify()
            self._may_read.notify_all()
            return job

    def finish(self, caller: Caller, job: Job, result: Result) -> None:
        """``caller`` has finished ``job``."""
        self._cores.end(caller)
        with self._lock:
            job.result = result
            self._may_read.notify_all()

    def take(self, *, or_room: bool | None = None) -> Result | None:
        """Wait for the next result. None if the queue is closed.

        ``or_room`` is for a file, whose reader must not wait where it could do something else: with True, None also if
        there is room for another frame, and with True or False, None also if no frame is left. Raises DeviceError if no
        core is left and all results were read.
        """
        with self._lock:
            while not self.closed:
                if self._order and self._order[0].result:
                    self._may_start.notify()
                    return self._order.popleft().result
                empty = not (self._order or self._waiting)
                if self._cores.lost and empty:
                    raise self._cores.lost
                room = len(self._waiting) < self._number and not self._cores.lost
                if or_room is not None and (empty or (or_room and room)):
                    break
                self._may_read.wait()
            return None

    def clear(self) -> None:
        """Drop all frames and results."""
        with self._lock:
            self._waiting.clear()
            self._order.clear()

    def close(self) -> bool:
        """Wake all threads that wait here. False if the queue was closed before."""
        with self._lock:
            already, self.closed = self.closed, True
            self._may_start.notify_all()
            self._may_read.notify_all()
            return not already

    def _ready(self) -> bool:
        """Whether work on a waiting frame should begin. Hold the lock."""
        room = len(self._order) < IN_PROGRESS * self._number
        return bool(self._waiting) and room and self._cores.load(self._callers) < self._number

    def _on_progress(self) -> None:
        """A core took an inference, so a frame may begin; or no core is left, which the reader must know."""
        with self._lock:
            self._may_start.notify()
            if self._cores.lost:
                self._may_start.notify_all()
                self._may_read.notify_all()
