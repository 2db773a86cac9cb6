"""Which of a camera's frames go to the detector: many while somebody is there, few while nothing moves."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator

import cv2
import numpy as np
from numpy.typing import NDArray

from ..inference.frames import Frame
from .camera import Camera

SMALL = (64, 36)  # pixels of the reduced picture for motion: a face 40 px high at 1280×720 covers two of them
LEARN = 0.2  # share of each frame that enters the background: after 5 frames, a moved object is part of it
MOTION = 0.005  # share of the picture: a face of that size, or about six pixels of the reduced picture
CHANGED = 12  # gray levels of 255: more than a webcam's noise in a dim room, averaged over a reduced pixel


class FrameGate:
    """Decides which frames of one camera the detector processes. ``is_due`` and ``accepts`` are for the camera's
    thread; the other methods may be called from any thread.

    Busy cameras need no setting: a busy scheduler drops all frames of a camera except the newest one, and the tracker
    works at any frame rate.

    Args:
        rate: Detections per second, at most, while faces are tracked and for ``calm`` seconds after that.
        idle_rate: Detections per second, at most, at all other times.
        calm: Seconds. A picture without motion is still processed that often.
        motion: Share of the picture that must change before the detector runs while no face is tracked, for example
            ``MOTION``. None, the default, requires no motion.
    """

    def __init__(
        self, rate: float = 15.0, idle_rate: float = 5.0, calm: float = 3.0, motion: float | None = None
    ) -> None:
        self.skipped = 0  # frames
        self.side = 0  # pixels of the longest side of the detector's input; 0: not known
        self._rate, self._idle_rate, self._calm, self._motion = rate, idle_rate, calm, motion
        self._tracking = self._confirming = False
        self._busy_until = -np.inf
        self._due = -np.inf  # when the last detection was due
        self._last = -np.inf  # time of the last frame
        self._accepted = -np.inf  # time of the last accepted frame
        self._background: NDArray[np.float32] | None = None

    @property
    def state(self) -> str:
        """What the gate does now: "busy" while faces are tracked or something moves, and for ``calm`` seconds after
        that; otherwise "idle", or "still" if the gate requires motion."""
        return "busy" if self._last < self._busy_until else "idle" if self._motion is None else "still"

    @property
    def wanted(self) -> float:
        """Detections per second now, if the camera and the machine can deliver them."""
        return {"busy": self._rate, "idle": self._idle_rate, "still": 1 / self._calm}[self.state]

    @property
    def tracks(self) -> bool:
        """Whether a face is tracked now."""
        return self._tracking

    @property
    def least(self) -> int:
        """How many pixels on the longer side of a picture are enough now; 0: its full size is wanted.

        ``side`` are enough while nobody is there. With ``motion``, sizes must not change: that would look like motion.
        """
        return self.side if self.state == "idle" else 0

    def set_tracked_faces(self, count: int, new: int = 0) -> None:
        """Report how many faces are tracked now (``Watcher.tracked_faces``), and how many of the last frame are not yet
        known to be faces (``Watcher.new_faces``): the next look at these comes as early as at tracked ones."""
        self._tracking, self._confirming = count > 0, new > 0

    def is_due(self, now: float) -> bool:
        """Return whether a frame captured at ``now`` (seconds) is wanted: only then must it be decoded. Times must come
        in order; after a clock that jumps back, the gate starts from the beginning."""
        if now < self._last:
            self._due = self._accepted = self._busy_until = -np.inf
        self._last = now
        if self._tracking:
            self._busy_until = now + self._calm
        interval = 1 / (self._rate if self._confirming or now < self._busy_until else self._idle_rate)
        # Half a frame of a fast camera too early is on time. Otherwise 30 frames per second would become 10, not 15.
        if self._due + interval - now > min(interval / 2, 0.02):
            self.skipped += 1
            return False
        self._due = max(self._due + interval, now - interval)
        return True

    def accepts(self, frame: Frame) -> bool:
        """Return whether the detector should process ``frame``, whose time was due."""
        now = frame.time
        if self._motion is not None:
            moved = self._moved(frame.image, self._motion)
            if not (moved or now < self._busy_until or now - self._accepted >= self._calm):
                self.skipped += 1
                return False
            if moved:
                self._busy_until = now + self._calm
        self._accepted = now
        return True

    def _moved(self, image: NDArray[np.uint8], share: float) -> bool:
        small = cv2.cvtColor(cv2.resize(image, SMALL, interpolation=cv2.INTER_LINEAR), cv2.COLOR_BGR2GRAY)
        gray = cv2.blur(small, (3, 3)).astype(np.float32)
        if self._background is None:
            self._background = gray
            return True
        changed = float(np.mean(np.abs(gray - self._background) > CHANGED))
        self._background += LEARN * (gray - self._background)
        return changed >= share


def feed_frames(camera: Camera, submit: Callable[[Frame], bool], gate: FrameGate | None = None) -> None:
    """Pass the frames of ``camera`` that ``gate`` accepts to ``submit`` (``Scheduler.submit``). Returns when the camera
    ends or is closed, or when ``submit`` returns False.

    Run it in its own thread: the frames of a network camera stay new only while something reads all of them.
    """
    wanted, least = (gate.is_due, lambda: gate.least) if gate else (None, None)
    while (frame := camera.read(wanted, least)) is not None:
        if (gate is None or gate.accepts(frame)) and not submit(frame):
            break


def read_newest_frames(
    camera: Camera, *, every: bool = False, patience: float = 1.0
) -> Generator[Frame | None, None, None]:
    """Yield the frames of ``camera`` to a caller that may need longer for a frame than the camera.

    A thread reads the camera. Of the frames that arrive while the caller is busy, only the newest one is yielded.
    Closing the camera is left to the caller.

    Args:
        camera: The camera to read.
        every: Yield every frame. The thread then waits for the caller. Use it for recordings.
        patience: Seconds. None is yielded each time no frame arrives for that long.

    Raises:
        Exception: What ``camera.read`` raised.
    """
    changed = threading.Condition()
    waiting: deque[Frame] = deque(maxlen=1)
    ended: list[Exception | None] = []
    left = False

    def put(frame: Frame) -> bool:
        with changed:
            if every:
                changed.wait_for(lambda: left or not waiting)
            waiting.append(frame)
            changed.notify_all()
            return not left

    def read() -> None:
        failure: Exception | None = None
        try:
            feed_frames(camera, put)
        except Exception as error:  # raised again in the caller's thread
            failure = error
        with changed:
            ended.append(failure)
            changed.notify_all()

    threading.Thread(target=read, name="rkface-newest", daemon=True).start()
    try:
        while True:
            with changed:
                changed.wait_for(lambda: waiting or ended, patience)
                frame = waiting.popleft() if waiting else None
                over = frame is None and bool(ended)
                changed.notify_all()
            if over:
                break
            yield frame
    finally:
        with changed:
            left = True
            changed.notify_all()
    if ended[0] is not None:
        raise ended[0]
