"""The scheduler: frames of files or cameras on all NPU cores, and their results in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from ..core.checks import check_count, describe_type
from ..core.errors import InputError, WorkError
from ..core.faces import Faces
from ..core.manifest import ROLES, Manifest
from ..vision.check_input import check_image
from .core import RETRIES, CoreState, OpenContext
from .cores import Caller, Cores
from .frame_queue import FrameQueue
from .frames import Frame, Result, check_frame
from .pipeline import Pipeline

Work = Callable[[Pipeline, NDArray[np.uint8]], Faces]

CLOSED = "this scheduler is closed: open it again with open_scheduler"


class Scheduler:
    """Runs the frames of files or cameras on all NPU cores. ``open_scheduler`` makes one.

    Results come in the order in which work on the frames began. A frame whose work fails has a result with the error;
    the other frames go on. Use ``run`` for a file, or ``submit`` and ``results`` for cameras, not both at once.

    Cores run the inferences of the oldest frame first. Work on a new frame begins when fewer inferences wait than there
    are cores. So no core idles while frames wait, and the frame of a camera is chosen as late, and is as new, as
    possible.

    A scheduler is a context manager; close it to free the models and end its threads. Its methods may be called from
    any thread.

    Example:
        A file: every frame, in order.

        ```python
        import cv2
        from rkface import Frame, open_scheduler

        def frames(video):
            while (image := video.read()[1]) is not None:
                yield Frame(image, source="video.mp4")

        with open_scheduler("build/rk3588") as scheduler:
            for result in scheduler.run(frames(cv2.VideoCapture("video.mp4"))):
                print(result.error or len(result.faces))
        ```

        A camera: one thread submits every frame, and another thread reads the results of the newest ones.

        ```python
        import threading

        import cv2
        from rkface import Frame, open_scheduler

        def capture(video, scheduler):
            while scheduler.submit(Frame(video.read()[1], source="door")):  # returns at once
                pass

        with open_scheduler("build/rk3588") as scheduler:
            threading.Thread(target=capture, args=(cv2.VideoCapture(0), scheduler), daemon=True).start()
            for result in scheduler.results():  # until scheduler.close()
                print(result.frame.source, result.dropped, result.error or len(result.faces))
        ```

    Args:
        manifest: The bundle's manifest.
        open_context: ``open_context(name, core)`` opens one model on one core; other shapes of the detector when a
            frame first needs them.
        cores: Number of cores, 1 or more.
        work: As in ``open_scheduler``.
        retries: Seconds before each attempt to reopen a model that failed.
        later: As in ``open_scheduler``.
        liveness: Also open the liveness model, once, on the first core that opens, because few faces need it. If it
            keeps failing, it is abandoned and the rest goes on.
    """

    def __init__(
        self,
        manifest: Manifest,
        open_context: OpenContext,
        cores: int,
        work: Work = Pipeline.recognize,
        retries: Sequence[float] = RETRIES,
        *,
        later: Sequence[str] = (),
        liveness: bool = False,
    ) -> None:
        check_count(cores, "the number of cores")
        if not callable(work):
            takes = "pass Pipeline.recognize, Pipeline.detect or a function of your own"
            raise InputError(f"work must be a function, not {describe_type(work)}: {takes}")
        self._manifest = manifest
        self._work = work
        self._liveness: Cores | None = None
        with ExitStack() as opened:
            self._cores = Cores(open_context, cores, retries, [role for role in ROLES if role not in later], later)
            opened.callback(self._cores.close)
            usable = next(core.core for core in self._cores.state() if core.alive)
            if liveness:
                self._liveness = Cores(lambda role, _: open_context(role, usable), 1, retries, ("liveness",))
            opened.pop_all()
        # A frame in progress has an inference on a core, has one waiting, or is on the processor: 2 threads per core.
        callers = [Caller(0) for _ in range(2 * cores)]
        self._queue = FrameQueue(self._cores, cores, callers)
        try:
            pipelines = [self._pipeline(caller) for caller in callers]
        except BaseException:
            self._close_cores()
            raise
        self._threads = [
            threading.Thread(target=self._serve, args=pair, name=f"rkface-frame-{index}", daemon=True)
            for index, pair in enumerate(zip(callers, pipelines, strict=True))
        ]
        for thread in self._threads:
            thread.start()

    def open_later(self) -> None:
        """Open the models that were left for later, while frames are processed. Call it once.

        Raises:
            ModelError: A model cannot be loaded or does not match the manifest.
            DeviceError: The NPU, its driver or its library failed.
        """
        self._cores.open_later()

    def run(self, frames: Iterable[Frame]) -> Iterator[Result]:
        """Process all frames of a file.

        Args:
            frames: Read while results are taken, a few frames ahead.

        Yields:
            The result of every frame, in the order of ``frames``.

        Raises:
            InputError: The scheduler is closed, or ``frames`` yields something that is not a Frame.
            DeviceError: No core is left. The results of the frames that this cost come first.
            WorkError: The scheduler was closed before all results were read.
            Exception: Any error of ``frames`` itself, after the results of the frames before it.
        """
        if self._queue.closed:
            raise InputError(CLOSED)
        if not isinstance(frames, Iterable):
            raise InputError(
                f"run takes the frames of a file, not {describe_type(frames)}: pass a list or an iterator of Frame "
                "objects, such as iter(camera.read, None)"
            )
        with self._queue.reading("run"):
            iterator, failure, more = iter(frames), None, True
            try:
                while True:
                    result = self._queue.take(or_room=more)
                    if result is not None:
                        yield result
                    elif more and not self._queue.closed:
                        try:
                            frame = check_frame(next(iterator))
                        except StopIteration:
                            more = False
                        except Exception as error:
                            more, failure = False, error
                        else:
                            self._queue.put(object(), frame)
                    else:
                        break
            finally:  # also if the caller stops early: no result of this run may appear in the next one
                self._queue.clear()
        if failure is not None:
            raise failure
        if self._queue.closed:
            raise WorkError("the scheduler was closed before all frames were processed")

    def submit(self, frame: Frame) -> bool:
        """Submit the newest frame of a camera. It replaces the frame of the same source that still waits, if any.

        Never blocks.

        Returns:
            False if the scheduler is closed or no core is left: the camera can stop. Else True.

        Raises:
            InputError: ``frame`` is not a Frame, or its image is not an H×W×3 uint8 array.
            WorkError: ``run`` is in progress, which takes no other frames.
        """
        check_image(check_frame(frame).image)
        if self._queue.reader == "run":
            raise WorkError(
                "submit() during run(): a scheduler serves files or cameras, not both at once: open a second one"
            )
        return self._queue.put(frame.source, frame)

    def results(self) -> Iterator[Result]:
        """Yield the results of submitted frames until ``close``. Only one thread may read them.

        Raises:
            DeviceError: No core is left.
            WorkError: Another thread reads results.
        """
        with self._queue.reading("results"):
            while (result := self._queue.take()) is not None:
                yield result

    def pipeline(self) -> Pipeline:
        """Return a pipeline on the same cores for one more thread, for example to enroll a photo. Its inferences run
        before those of frames.

        Raises:
            InputError: The scheduler is closed.
        """
        if self._queue.closed:
            raise InputError(CLOSED)
        return self._pipeline(Caller(0))

    def state(self) -> tuple[CoreState, ...]:
        """Return the state of each core."""
        return self._cores.state()

    def liveness_state(self) -> CoreState | None:
        """Return the state of the liveness model, or None if it is not open."""
        return self._liveness.state()[0] if self._liveness else None

    def close(self) -> None:
        """Drop the frames that wait, wait for the inferences that run, close all models and end all threads. Closing a
        scheduler again does nothing."""
        if not self._queue.close():
            return
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
        # The liveness model has a queue of its own, so its caller does not count where frames wait for a core.
        liveness = self._liveness.backend("liveness", Caller(0)) if self._liveness else None
        detector, recognizer = (self._cores.backend(role, caller) for role in ROLES)
        return Pipeline(
            self._manifest, detector, recognizer, liveness, open_shape=lambda name: self._cores.backend(name, caller)
        )

    def _close_cores(self) -> None:
        with ExitStack() as closing:
            for cores in filter(None, (self._cores, self._liveness)):
                closing.callback(cores.close)

    def _search(self, pipeline: Pipeline, frame: Frame) -> tuple[Frame, Faces]:
        faces = self._work(pipeline, frame.image)
        if frame.full is not None and len(faces):
            frame = replace(frame, image=frame.full(), full=None)
            faces = self._work(pipeline, frame.image)
        return frame, faces

    def _serve(self, caller: Caller, pipeline: Pipeline) -> None:
        near = pipeline.near()
        while (job := self._queue.start(caller)) is not None:
            started, frame, faces, failure = time.monotonic(), job.frame, None, None
            try:
                frame, faces = self._search(near if frame.near else pipeline, frame)
            except Exception as error:  # reported in this frame's result; the next frame goes on
                failure = error
            took, waited = time.monotonic() - started, started - job.submitted
            self._queue.finish(caller, job, Result(frame, faces, failure, job.dropped, waited, took))
