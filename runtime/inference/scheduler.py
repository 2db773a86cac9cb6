"""Frames through the NPU's cores, many at a time, and their faces in order."""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from ..core.bundle import ROLES, Manifest, read_bundle
from ..core.errors import InputError, WorkError
from ..core.faces import Faces
from ..core.soc import CORES, read_soc
from .cores import RETRIES, Caller, Cores, CoreState, OpenContext
from .pipeline import Pipeline, choose_backend, open_model

Work = Callable[[Pipeline, NDArray[np.uint8]], Faces]

# Frames for each core that may be begun and not yet handed over: room for easy ones that are done behind a crowd. At 2,
# which is what keeps the cores busy, streams of 0 to 8 faces lose a percent; at 4 nothing is gained.
UNDER_WAY = 3


@dataclass(frozen=True)
class Frame:
    """One picture. The scheduler hands all but ``image`` through unread, except that it is fair between sources.

    image   H×W×3 uint8 BGR; not to be written to before its result is there
    number  which of its source it is
    time    when it was captured, in seconds: of time.monotonic() unless the source has a better clock
    source  the camera or file that it comes from
    """

    image: NDArray[np.uint8]
    number: int = 0
    time: float = field(default_factory=time.monotonic)
    source: str = ""


@dataclass(frozen=True)
class Result:
    """What became of ``frame``: ``faces``, or ``error`` and no faces.

    dropped  frames of its source that newer ones replaced since the source's last result
    waited   seconds from submission until work on it began
    took     seconds from then until its faces were there
    """

    frame: Frame
    faces: Faces | None
    error: Exception | None
    dropped: int
    waited: float
    took: float


@dataclass
class _Job:
    frame: Frame
    submitted: float
    dropped: int = 0
    result: Result | None = None


class Scheduler:
    """Frames in, results out, in the order in which work on them began. A context manager; threads, no processes.

        with open_scheduler("build/rk3588") as scheduler:
            for result in scheduler.run(Frame(image, number) for number, image in enumerate(video)):
                ...  # a file: every frame, in order

        scheduler.submit(Frame(image, number, source="door"))  # a camera, in its own thread: never waits
        for result in scheduler.results():                     # in another: the newest frames, until close()
            ...

    ``open_context(role, core)`` opens one model on one core, for each of ``cores``; ``work`` is what is done with a
    frame: ``Pipeline.recognize``, ``Pipeline.detect``, or a function of yours that calls them. It runs in several
    threads at once, each with a pipeline of its own. A frame whose work raises has a result with that error.
    ``liveness``: also open the model that judges it, once, on the first core, for so few faces are judged. It fails and
    mends by itself: with all its tries used up, nothing is judged, and the rest goes on.

    Cores take the oldest frame's inferences first, and work on a new frame begins when less than one inference for each
    core waits: they never idle while there are frames, and a live source's frame is picked as late, so as new, as that
    allows.
    """

    def __init__(
        self,
        manifest: Manifest,
        open_context: OpenContext,
        cores: int,
        work: Work = Pipeline.recognize,
        retries: Sequence[float] = RETRIES,
        *,
        liveness: bool = False,
    ) -> None:
        if cores < 1:
            raise InputError(f"{cores} cores: at least 1 is needed")
        self._manifest = manifest
        self._work = work
        self._number = cores
        with ExitStack() as opened:
            self._cores = Cores(open_context, cores, retries)
            opened.callback(self._cores.close)
            self._judging = Cores(open_context, 1, retries, ("liveness",)) if liveness else None
            opened.pop_all()
        self._may_start = self._cores.relieved
        self._lock = self._cores.lock
        self._finished = self._cores.ended
        self._waiting: OrderedDict[Hashable, _Job] = OrderedDict()  # a live source has one place; a file, a few
        self._order: deque[_Job] = deque()  # started, not handed over
        self._dropped: Counter[str] = Counter()
        self._turns = count(1)
        self._reader = ""
        self._closed = False
        # A frame under way has an inference on a core, has one waiting, or is on the processor: no thread is missing.
        self._callers = [Caller(0) for _ in range(2 * cores)]
        try:
            pipelines = [self._pipeline(caller) for caller in self._callers]
        except BaseException:
            self._close_cores()
            raise
        self._threads = [
            threading.Thread(target=self._serve, args=pair, name=f"rkface-frame-{index}", daemon=True)
            for index, pair in enumerate(zip(self._callers, pipelines, strict=True))
        ]
        for thread in self._threads:
            thread.start()

    def run(self, frames: Iterable[Frame]) -> Iterator[Result]:
        """The result of every frame, in order. ``frames`` is read as results are taken, a few ahead.

        What reading ``frames`` raises comes after the results of those read before. DeviceError when no core is left,
        after the results of frames that it cost; WorkError when the scheduler is closed meanwhile.
        """
        with self._reading("run"):
            iterator, failure, more = iter(frames), None, True

            def can_go_on() -> bool:
                room = len(self._waiting) < self._number and not self._cores.lost
                return (more and room) or not (self._order or self._waiting)

            try:
                while True:
                    result = self._take(can_go_on)
                    if result is not None:
                        yield result
                    elif more and not self._closed:
                        try:
                            frame = next(iterator)
                        except StopIteration:
                            more = False
                        except Exception as error:
                            more, failure = False, error
                        else:
                            self._put(object(), frame)
                    else:
                        break
            finally:  # also where the caller stops early: nothing of it may turn up in the next run
                with self._lock:
                    self._waiting.clear()
                    self._order.clear()
        if failure is not None:
            raise failure
        if self._closed:
            raise WorkError("the scheduler was closed before all frames were through")

    def submit(self, frame: Frame) -> bool:
        """Give a live source's newest frame; the one of that source that still waits, if any, is dropped for it.

        Never blocks. False when the scheduler is closed or no core is left: the source can stop. RuntimeError during
        ``run``, whose order knows no foreign frames.
        """
        if self._reader == "run":
            raise RuntimeError("submit() during run(): a scheduler serves files or live sources, not both at once")
        return self._put(frame.source, frame)

    def results(self) -> Iterator[Result]:
        """Results of submitted frames until ``close``. DeviceError when no core is left."""
        with self._reading("results"):
            while (result := self._take()) is not None:
                yield result

    def pipeline(self) -> Pipeline:
        """A pipeline over the same cores for one more thread, say to enroll a photo meanwhile: it goes first."""
        return self._pipeline(Caller(0))

    def state(self) -> tuple[CoreState, ...]:
        """How each core fares."""
        return self._cores.state()

    def judging(self) -> CoreState | None:
        """How liveness fares; None where it is not open."""
        return self._judging.state()[0] if self._judging else None

    def close(self) -> None:
        """Drop what waits, end what runs, close all contexts. No thread is left. Again, it does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._may_start.notify_all()
            self._finished.notify_all()
        try:
            self._close_cores()
        finally:
            for thread in self._threads:
                thread.join()

    def __enter__(self) -> Scheduler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _pipeline(self, caller: Caller) -> Pipeline:
        # Liveness has a queue of its own, so that its caller is not missed where frames wait their turn.
        judge = self._judging.backend("liveness", Caller(0)) if self._judging else None
        detector, recognizer = (self._cores.backend(role, caller) for role in ROLES)
        return Pipeline(self._manifest, detector, recognizer, judge)

    def _close_cores(self) -> None:
        with ExitStack() as closing:
            for cores in filter(None, (self._cores, self._judging)):
                closing.callback(cores.close)

    @contextmanager
    def _reading(self, how: str) -> Iterator[None]:
        with self._lock:
            if self._reader:
                raise RuntimeError(f"{how}() during {self._reader}(): results have one reader")
            self._reader = how
        try:
            yield
        finally:
            self._reader = ""

    def _put(self, place: Hashable, frame: Frame) -> bool:
        with self._lock:
            if self._closed or self._cores.lost:
                return False
            if place in self._waiting:
                self._dropped[frame.source] += 1
            self._waiting[place] = _Job(frame, time.monotonic())  # a place keeps its turn: sources alternate
            self._may_start.notify()
            return True

    def _take(self, enough: Callable[[], bool] = lambda: False) -> Result | None:
        """The next result, when it is there. None when closed, or when ``enough`` says not to wait for it."""
        with self._lock:
            while not self._closed:
                if self._order and self._order[0].result:
                    self._may_start.notify()
                    return self._order.popleft().result
                if self._cores.lost and not (self._order or self._waiting):
                    raise self._cores.lost
                if enough():
                    break
                self._finished.wait()
            return None

    def _serve(self, caller: Caller, pipeline: Pipeline) -> None:
        while (job := self._start(caller)) is not None:
            started, faces, failure = time.monotonic(), None, None
            try:
                faces = self._work(pipeline, job.frame.image)
            except Exception as error:  # of this frame: its result says so, the next one goes on
                failure = error
            took, waited = time.monotonic() - started, started - job.submitted
            with self._lock:
                caller.computing = False
                job.result = Result(job.frame, faces, failure, job.dropped, waited, took)
                self._finished.notify_all()

    def _start(self, caller: Caller) -> _Job | None:
        with self._lock:
            self._may_start.wait_for(lambda: self._closed or self._ready())
            if self._closed:
                return None
            _, job = self._waiting.popitem(last=False)
            self._order.append(job)
            job.dropped = self._dropped.pop(job.frame.source, 0)
            caller.turn, caller.computing = next(self._turns), True
            if self._ready():
                self._may_start.notify()
            self._finished.notify_all()
            return job

    def _ready(self) -> bool:
        """Whether work on a frame should begin. Frames on the processor count: each is about to want a core."""
        ahead = self._cores.queued + sum(caller.computing for caller in self._callers)
        return bool(self._waiting) and ahead < self._number and len(self._order) < UNDER_WAY * self._number


def open_scheduler(
    folder: str | Path,
    backend: str | None = None,
    *,
    cores: int | None = None,
    work: Work = Pipeline.recognize,
    providers: Sequence[str] = ("cpu",),
    threads: int | None = None,
    liveness: bool = False,
) -> Scheduler:
    """Verify the bundle in ``folder`` and load its models on each core.

    ``cores``: how many of the NPU's cores; None is all that the chip has, and 1 for the reference, which spreads one
    inference over the processor by itself. Fewer save memory: each has a copy of both models. ``liveness``: open that
    model too; BundleError where the bundle has none. The other parameters and the errors are those of ``open_bundle``.
    """
    chosen = choose_backend(backend)
    soc = read_soc() if chosen == "npu" else None
    bundle = read_bundle(Path(folder), soc)
    if liveness:
        bundle.model("liveness")
    have = CORES.get(soc or "", 1)
    return Scheduler(
        bundle.manifest,
        lambda role, core: open_model(
            bundle, role, chosen, core=core if have > 1 else None, providers=providers, threads=threads
        ),
        have if cores is None else cores,
        work,
        liveness=liveness,
    )
