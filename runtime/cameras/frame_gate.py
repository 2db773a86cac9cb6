"""How often a camera's frames go to the detector: often while somebody is there, seldom while nothing moves."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator

import cv2
import numpy as np
from numpy.typing import NDArray

from ..inference.frames import Frame
from .camera import Camera

SMALL = (64, 36)  # pixels that motion is looked for in: a face 40 px high at 1280×720 is two of them
LEARN = 0.2  # of each frame that goes into the background: what moved there 5 frames ago is part of it
MOTION = 0.005  # of the picture: a face as large as that, or half a dozen of the small pixels
CHANGED = 12  # gray levels of 255: above a webcam's noise in a dim room, averaged over a small pixel


class FrameGate:
    """Which frames of one camera are worth a detection. ``wants`` is for its thread, ``follow`` for any other.

    rate    detections a second at most while somebody is followed, and for ``calm`` seconds after that
    idle    and otherwise
    motion  share of the picture that must change for a detection while nobody is followed, say ``MOTION``; None, the
            default, asks for no motion. What does not move is still looked at every ``calm`` seconds.

    Load needs no setting: a scheduler that is busy drops all but the newest frame by itself, and tracks bear it.
    """

    def __init__(self, rate: float = 15.0, idle: float = 5.0, calm: float = 3.0, motion: float | None = None) -> None:
        self.skipped = 0  # frames
        self._rate, self._idle, self._calm, self._motion = rate, idle, calm, motion
        self._followed = False
        self._busy_until = -np.inf
        self._turn = -np.inf  # when the last detection was, or should have been
        self._last = -np.inf
        self._looked = -np.inf
        self._background: NDArray[np.float32] | None = None

    @property
    def state(self) -> str:
        """For people: "busy" while somebody is there or something moves, and for the ``calm`` after; else "idle", or
        "still" where motion counts."""
        return "busy" if self._last < self._busy_until else "idle" if self._motion is None else "still"

    def follow(self, people: int) -> None:
        """How many faces are followed now: ``Watcher.following``."""
        self._followed = people > 0

    def wants(self, frame: Frame) -> bool:
        """Whether ``frame`` should be submitted. Frames come in order; a clock that jumps back begins anew."""
        now = frame.time
        if now < self._last:
            self._turn = self._looked = self._busy_until = -np.inf
        self._last = now
        if self._followed:
            self._busy_until = now + self._calm
        busy = now < self._busy_until
        interval = 1 / (self._rate if busy else self._idle)
        # Half of a fast camera's frame early is on time: or else 30 a second would become 10 instead of 15.
        if self._turn + interval - now > min(interval / 2, 0.02):
            self.skipped += 1
            return False
        moved = self._motion is None or self._moved(frame.image)
        if not (busy or moved or now - self._looked >= self._calm):
            self.skipped += 1
            return False
        if moved and self._motion is not None:
            self._busy_until = now + self._calm
        self._turn = max(self._turn + interval, now - interval)
        self._looked = now
        return True

    def _moved(self, image: NDArray[np.uint8]) -> bool:
        small = cv2.cvtColor(cv2.resize(image, SMALL, interpolation=cv2.INTER_LINEAR), cv2.COLOR_BGR2GRAY)
        gray = cv2.blur(small, (3, 3)).astype(np.float32)
        if self._background is None:
            self._background = gray
            return True
        changed = float(np.mean(np.abs(gray - self._background) > CHANGED))
        self._background += LEARN * (gray - self._background)
        return self._motion is not None and changed >= self._motion


def feed(camera: Camera, submit: Callable[[Frame], bool], pace: FrameGate | None = None) -> None:
    """Hand ``camera``'s frames to ``submit`` (``Scheduler.submit``) until it ends, is closed, or nobody wants any more.

    For a thread of its own: reading all the time is what keeps a network camera's frames new.
    """
    while (frame := camera.read()) is not None:
        if (pace is None or pace.wants(frame)) and not submit(frame):
            break


def newest(camera: Camera, *, every: bool = False, patience: float = 1.0) -> Generator[Frame | None, None, None]:
    """``camera``'s frames for one who looks longer than they last: a thread reads, and of what came meanwhile only the
    newest is handed over; with ``every``, each. None where none came for ``patience`` seconds.

    Ends with the camera, which is the caller's to close, and raises what reading it raised.
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
            feed(camera, put)
        except Exception as error:  # for whoever takes the frames
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
