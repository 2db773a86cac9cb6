"""One camera of the service: its frames on their way to the scheduler, who is before it, and how it fares."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median

from ..cameras.camera import Camera, open_camera
from ..cameras.frame_gate import MOTION, FrameGate, feed
from ..cameras.sources import CaptureFormat
from ..inference.frames import Frame, Result
from ..tracking.watcher import VisibleFace, Watcher
from .console_protocol import CameraHealth
from .settings import CameraSettings

AHEAD = 1  # frames of a recording that are under way at a time: a second one could replace the first that still waits
SAMPLES = 10  # seconds, one sample each, that rates are taken over


class CameraWorker:
    """``run`` is for a thread of its own; the rest may be called from any.

    ``every``: each frame is looked at, however long that takes, as befits a recording. Otherwise ``pace`` says which
    are worth it, and of these the newest wins.
    """

    def __init__(self, camera: Camera, pace: FrameGate | None = None, *, every: bool = False) -> None:
        self.name = camera.name
        self.watcher: Watcher | None = None
        self.latest: tuple[Frame | None, tuple[VisibleFace, ...]] = (None, ())
        self.camera = camera
        self.ended = False
        self.looked = self.dropped = 0
        self._every = every
        self._pace = None if every else pace or FrameGate()
        self._pending = 0
        self._freed = threading.Condition()
        self._closed = False
        self._counts: deque[tuple[float, int, int]] = deque([(time.monotonic(), 0, 0)], SAMPLES + 1)
        self._latencies: deque[float] = deque(maxlen=100)
        self._error = ("", 0.0)

    @property
    def pending(self) -> int:
        """Frames that were handed to the scheduler and have no result yet."""
        return self._pending

    def run(self, submit: Callable[[Frame], bool]) -> None:
        """Feed the scheduler until the camera ends, and wait for the results of its last frames."""
        feed(self.camera, lambda frame: self._submit(frame, submit), self._pace)
        with self._freed:
            self._freed.wait_for(lambda: self._closed or self._pending <= 0)
        self.ended = True

    def _submit(self, frame: Frame, submit: Callable[[Frame], bool]) -> bool:
        with self._freed:
            if self._every:
                self._freed.wait_for(lambda: self._closed or self._pending < AHEAD)
            self._pending += 1
        return submit(frame)

    def seen(self, result: Result) -> None:
        """Note who is before the camera, once the watcher has seen ``result``."""
        assert self.watcher is not None
        self.latest = (result.frame, self.watcher.present())
        self.looked += 1
        self.dropped += result.dropped
        if self._pace is not None:
            self._pace.follow(self.watcher.following)
        since_capture = time.monotonic() - result.frame.time
        self._latencies.append(result.waited + result.took if self._every else since_capture)
        with self._freed:
            self._pending -= 1 + result.dropped
            self._freed.notify_all()

    def sample(self) -> None:
        """Count; to be called once a second."""
        self._counts.append((time.monotonic(), self.camera.state().frames, self.looked))
        error = self.camera.state().error
        if error and error != self._error[0]:
            self._error = (error, time.time())

    def health(self) -> CameraHealth:
        state = self.camera.state()
        (first, offered, looked), (last, offered_last, looked_last) = self._counts[0], self._counts[-1]
        seconds = max(last - first, 1e-3)
        return CameraHealth(
            self.name,
            state.connected and not self.ended,
            *state.size,
            fps=(looked_last - looked) / seconds,
            offered=(offered_last - offered) / seconds,
            latency=1000 * median(self._latencies) if self._latencies else 0.0,
            dropped=self.dropped,
            reconnects=state.reconnects,
            error=self._error[0],
            error_time=self._error[1],
            skipped=self._pace.skipped if self._pace else 0,
            pace=self._pace.state if self._pace else "",
        )

    def close(self) -> None:
        """End ``run``."""
        with self._freed:
            self._closed = True
            self._freed.notify_all()
        self.camera.close()


class Watchers(Mapping[str, Watcher]):
    """The views' watchers as they are now: settings may replace one while results come."""

    def __init__(self, views: Mapping[str, CameraWorker]) -> None:
        self._views = views

    def __getitem__(self, source: str) -> Watcher:
        watcher = self._views[source].watcher
        if watcher is None:
            raise KeyError(source)
        return watcher

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)


def open_camera_worker(name: str, settings: CameraSettings) -> CameraWorker:
    """The view of the camera ``name``. InputError where its source is none."""
    return CameraWorker(open_source(name, settings), pace_of(settings), every=is_recording(settings))


def open_source(name: str, settings: CameraSettings) -> Camera:
    """The camera ``name`` as it was set. InputError where its source is none."""
    return open_camera(
        settings.source,
        name=name,
        loop=settings.loop,
        realtime=settings.loop,
        decoder=settings.decoder or None,
        wanted=CaptureFormat(settings.width, settings.height, settings.rate, settings.format, settings.hold),
    )


def pace_of(settings: CameraSettings) -> FrameGate:
    """How often a camera that is set so is looked at."""
    return FrameGate(settings.looks, settings.looks / 3, motion=MOTION if settings.motion else None)


def is_recording(settings: CameraSettings) -> bool:
    """Whether it is a video or a folder that ends: then no frame of it may be missed."""
    path = Path(settings.source)
    return not settings.loop and " ! " not in settings.source and (path.is_dir() or path.is_file())
