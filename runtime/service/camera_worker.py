"""One camera of the service: passes its frames to the scheduler, and keeps its latest picture and its counts."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..cameras.camera import Camera
from ..cameras.frame_gate import MOTION, FrameGate, feed_frames
from ..cameras.open_camera import open_camera
from ..cameras.picture_check import PictureCheck
from ..cameras.v4l2_device import CaptureFormat
from ..inference.frames import Frame, Result
from .settings import CameraSettings
from .states import CameraHealth, WatchedFrame

if TYPE_CHECKING:
    from ..tracking.watcher import Watcher
    from ..tracking.zones import Points
    from .live_settings import LiveSettings

RECORDING_AHEAD = (
    1  # frames of a recording in the scheduler: a second one could replace the first before it is processed
)
FEW_LOOKS = 2.9  # detections per second: below 3, people who walk by are followed only from look to look
SAMPLES = 10  # samples, one per second, over which rates are averaged


@dataclass(frozen=True)
class _Sample:
    """``delivered``: frames from the camera, ``processed``: frames with a result, until ``time`` (monotonic)."""

    time: float
    delivered: int = 0
    processed: int = 0


@dataclass(frozen=True)
class _LastError:
    """``time`` in seconds since 1970, 0 if there was no error yet."""

    text: str = ""
    time: float = 0.0


class CameraWorker:
    """``run`` needs its own thread; the other methods may be called from any thread.

    Every frame of a recording is processed, however long that takes. Of a live camera, ``gate`` chooses the frames to
    process, and a newer frame replaces one that still waits.
    """

    def __init__(
        self, camera: Camera, gate: FrameGate | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = camera.name
        self.camera = camera
        self.latest: WatchedFrame | None = None
        self.hidden: tuple[Points, ...] = ()  # of ``WatchedFrame``, of the next frames
        self.ended = False
        self.processed = self.dropped = 0
        self._every = camera.recording
        self._gate = None if self._every else gate or FrameGate()
        if self._gate is not None:
            self._gate.set_tracked_faces(0, new=1)  # until the first result, somebody may be there
        self._clock = clock
        self._check = PictureCheck(still_allowed=not camera.live)
        self._pace, self._paced = "", 0  # the gate's state, and for how many samples it has been the same
        self._pending = 0
        self._result_noted = threading.Condition()
        self._closed = False
        self._samples: deque[_Sample] = deque([_Sample(clock())], SAMPLES + 1)
        self._latencies: deque[float] = deque(maxlen=100)
        self._last_error = _LastError()

    def note_detector(self, side: int) -> None:
        """Note the ``side`` of the detector's input in pixels, the longest one: while nobody is there, no larger
        picture is needed."""
        if self._gate is not None:
            self._gate.side = side

    @property
    def on(self) -> bool:
        """Whether the camera is switched on."""
        return self.camera.on

    def switch(self, on: bool) -> bool:
        """Switch the camera on or off, unless it is a recording. Returns whether that is a change."""
        if on == self.camera.on or self.camera.recording:
            return False
        self.camera.switch(on)
        self._paced = 0  # rates of the time without pictures say nothing about the camera
        self.latest = None
        return True

    def hide(self, polygons: tuple[Points, ...]) -> None:
        """Have these polygons hidden wherever the picture is shown, also in the latest one."""
        self.hidden = polygons
        if latest := self.latest:
            self.latest = replace(latest, hidden=polygons)

    @property
    def pending(self) -> int:
        """The number of frames that were passed to the scheduler and have no result yet."""
        return self._pending

    def run(self, submit: Callable[[Frame], bool]) -> None:
        """Pass frames to the scheduler until the camera ends, and wait for the results of its last frames."""
        feed_frames(self.camera, lambda frame: self._submit(frame, submit), self._gate)
        with self._result_noted:
            self._result_noted.wait_for(lambda: self._closed or self._pending <= 0)
        self.ended = True

    def _submit(self, frame: Frame, submit: Callable[[Frame], bool]) -> bool:
        self._check.note(frame.image, frame.time, face=self._gate is not None and self._gate.tracks)
        with self._result_noted:
            if self._every:
                self._result_noted.wait_for(lambda: self._closed or self._pending < RECORDING_AHEAD)
            self._pending += 1
        return submit(frame)

    def note_result(self, result: Result, watcher: Watcher) -> None:
        """Note the faces in the frame of ``result``, after ``watcher`` has processed it."""
        self.latest = WatchedFrame(result.frame, watcher.visible_faces(), self.hidden) if self.on else None
        self.processed += 1
        self.dropped += result.dropped
        if self._gate is not None:
            self._gate.set_tracked_faces(watcher.tracked_faces, watcher.new_faces)
        since_capture = self._clock() - result.frame.time
        self._latencies.append(result.waited + result.took if self._every else since_capture)
        with self._result_noted:
            self._pending -= 1 + result.dropped
            self._result_noted.notify_all()

    def sample(self) -> None:
        """Note the current counts; must be called once a second."""
        state = self.camera.state()
        self._samples.append(_Sample(self._clock(), state.frames, self.processed))
        pace = self._gate.state if self._gate else ""
        self._paced = self._paced + 1 if pace == self._pace else 0
        self._pace = pace
        if state.error and state.error != self._last_error.text:
            self._last_error = _LastError(state.error, time.time())

    def health(self) -> CameraHealth:
        """Return the health of the camera."""
        state, first, last = self.camera.state(), self._samples[0], self._samples[-1]
        seconds = max(last.time - first.time, 1e-3)
        return CameraHealth(
            self.name,
            state.connected and self.on and not self.ended,
            width=state.size[0] or None,
            height=state.size[1] or None,
            fps=(last.processed - first.processed) / seconds,
            offered=(last.delivered - first.delivered) / seconds,
            latency=1000 * float(np.median(self._latencies)) if self._latencies else 0.0,
            dropped=self.dropped,
            reconnects=state.reconnects,
            error=self._last_error.text or None,
            error_time=self._last_error.time or None,
            skipped=self._gate.skipped if self._gate else 0,
            pace=self._gate.state if self._gate else "",
            decoder=state.decoder,
            on=self.on,
        )

    def problem(self) -> str:
        """Return what is wrong with the camera now, as a sentence, and what to do; "" if nothing is."""
        state = self.camera.state()
        if not self.on:
            return ""
        if self.ended:
            return f"Camera {self.name} has ended. Restart the service to read it again."
        if not state.connected and state.error:
            return f"Camera {self.name} delivers no pictures: {state.error}."
        if not state.connected:
            return f"Camera {self.name} has not delivered a picture yet."
        if self._check.problem:
            return f"Camera {self.name} delivers {self._check.problem}."
        return self._few_looks()

    def _few_looks(self) -> str:
        """Say that the camera is not looked at often enough, unless that is wanted while nobody is there."""
        if self._gate is None or self._paced < SAMPLES:
            return ""
        health, wanted = self.health(), self._gate.wanted
        enough = FEW_LOOKS if self._pace == "busy" else min(FEW_LOOKS, 0.7 * wanted)
        if health.fps >= enough:
            return ""
        if self._pace == "busy" and wanted < FEW_LOOKS:
            why = "set its setting looks to 3 or more"
        elif health.offered < enough:
            why = f"it delivers {health.offered:.1f} frames a second. Raise its frame rate, or check its network"
        else:
            why = (
                "this machine is too slow. Use fewer cameras, lower the looks of the others, or a bundle with a "
                "smaller detector size"
            )
        return f"Camera {self.name} is searched only {health.fps:.1f} times a second, so people may be missed: {why}."

    def close(self) -> None:
        """Close the camera, and make ``run`` return."""
        with self._result_noted:
            self._closed = True
            self._result_noted.notify_all()
        self.camera.close()


def open_camera_worker(name: str, settings: CameraSettings) -> CameraWorker:
    """Return the worker of the camera ``name``. Raises InputError if its source cannot be used."""
    return CameraWorker(open_configured_camera(name, settings), make_frame_gate(settings))


def set_cameras(workers: Mapping[str, CameraWorker], live: LiveSettings) -> None:
    """Set the cameras as the settings say. Call it before their threads open them."""
    for name, worker in workers.items():
        worker.switch(live.is_on(name, time.time()))
        worker.hide(hidden_masks(live.current.camera[name]))


def hidden_masks(settings: CameraSettings) -> tuple[Points, ...]:
    """The polygons that must be black in the pictures that are shown."""
    return tuple(one.points for one in settings.masks.values()) if settings.hide_masks else ()


def open_configured_camera(name: str, settings: CameraSettings) -> Camera:
    """Open the camera ``name`` with ``settings``. Raises InputError if its source cannot be used."""
    return open_camera(
        settings.source,
        name=name,
        loop=settings.loop,
        realtime=settings.loop,
        decoder=settings.decoder or None,
        capture_format=CaptureFormat(settings.width, settings.height, settings.rate, settings.format, settings.hold),
        rotate=settings.rotate,
        near=settings.near,
    )


def make_frame_gate(settings: CameraSettings) -> FrameGate:
    """Return the gate that chooses the frames to process of a camera with ``settings``."""
    return FrameGate(settings.looks, settings.looks / 3, motion=MOTION if settings.motion else None)
