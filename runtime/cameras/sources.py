"""Where frames come from, one class a kind: V4L2, what OpenCV's FFmpeg or GStreamer reads, folders, a pipe of JPEGs."""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, WorkError
from ..vision.image import decode_image, find_images, read_image
from .mjpeg import Splitter

Picture = tuple[NDArray[np.uint8] | None, float]  # H×W×3 BGR, or None where it cannot be decoded; when it was captured

OPEN_MS, READ_MS = 5000, 5000  # until a network camera that does not answer is taken for lost
LIMITED = (4, 7)  # the OpenCV whose GStreamer backend takes these limits (opencv #22919); Debian 12's 4.6 would refuse
LATEST = 5.0  # seconds: a driver's timestamp older than that is of another clock
CHUNK = 1 << 16
HELD = 5.0  # frames a second of a photo that is held: more show nothing new
BLANK = 1.5  # seconds from a photo to the black frame behind it: longer than a track is kept (visit.Rules.keep)
WAKE = 0.2  # seconds until a pipe that says nothing is asked whether it is still wanted


@dataclass(frozen=True)
class CaptureFormat:
    """What is asked of a camera; it gives what it can. ``format`` is V4L2's: MJPG, YUYV or NV12. ``hold``: as of
    ``Folder``."""

    width: int = 1280
    height: int = 720
    rate: float = 15.0
    format: str = "MJPG"
    hold: float = 0.0


class Stream(Protocol):
    """An open source. ``format`` and ``rate`` as it reports them, "" and 0 where it does not."""

    format: str
    rate: float

    def read(self) -> Picture:
        """The next picture. EOFError at the end, WorkError when the source is lost."""
        ...

    def close(self) -> None: ...


class Device:
    """A V4L2 device through OpenCV, its picture converted to BGR."""

    def __init__(self, path: Path, wanted: CaptureFormat) -> None:
        if not path.exists():
            raise WorkError(f"{path} is not there: is the camera plugged in? (v4l2-ctl --list-devices, rkface doctor)")
        if not os.access(path, os.R_OK | os.W_OK):
            raise WorkError(f"{path} may not be opened: add this user to the group video, then log in again")
        # The name behind a link changes from plug to plug; OpenCV wants /dev/videoN.
        self._capture = cv2.VideoCapture(str(path.resolve()), cv2.CAP_V4L2)
        if not self._capture.isOpened():
            raise WorkError(f"{path} cannot be opened: is another program using it, or is it no camera?")
        self._path = path
        # The format first: drivers offer other sizes and rates for each.
        self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*wanted.format))
        self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, wanted.width)
        self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, wanted.height)
        self._capture.set(cv2.CAP_PROP_FPS, wanted.rate)
        self.format = fourcc(self._capture.get(cv2.CAP_PROP_FOURCC))
        self.rate = self._capture.get(cv2.CAP_PROP_FPS)

    def read(self) -> Picture:
        if not self._capture.grab():
            raise WorkError(f"{self._path} gives no more pictures: was it unplugged?")
        now = time.monotonic()
        # V4L2 stamps with the monotonic clock when the exposure ended; a driver that does not is not believed.
        stamp = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        return retrieve(self._capture), stamp if 0 <= now - stamp < LATEST else now

    def close(self) -> None:
        self._capture.release()


class Network:
    """RTSP, HTTP and whatever else OpenCV's FFmpeg opens, or a GStreamer pipeline: live, stamped on arrival."""

    def __init__(self, address: str, shown: str, gstreamer: bool = False) -> None:
        # OpenCV reads this at every opening, and has no other way. By UDP, FFmpeg's own first choice, one lost packet
        # spoils the picture until the next key frame.
        os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_flags;prefer_tcp")
        limits: list[int] = []
        if not gstreamer or version() >= LIMITED:
            limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_MS]
        self._capture = cv2.VideoCapture(address, cv2.CAP_GSTREAMER if gstreamer else cv2.CAP_FFMPEG, limits)
        if not self._capture.isOpened():
            raise WorkError(f"{shown} does not answer, refuses, or sends nothing that can be decoded")
        self._shown = shown
        self.format = fourcc(self._capture.get(cv2.CAP_PROP_FOURCC))
        self.rate = self._capture.get(cv2.CAP_PROP_FPS)

    def read(self) -> Picture:
        if not self._capture.grab():
            raise WorkError(f"{self._shown} sends no more pictures")
        now = time.monotonic()
        return retrieve(self._capture), now

    def close(self) -> None:
        self._capture.release()


class Video:
    """A video file. A frame's time is that of opening plus its place in the file."""

    def __init__(self, path: Path) -> None:
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise InputError(f"{path} is no video that OpenCV's FFmpeg can read")
        self.format = fourcc(self._capture.get(cv2.CAP_PROP_FOURCC))
        self.rate = self._capture.get(cv2.CAP_PROP_FPS)
        self._start = time.monotonic()
        self._count = 0

    def read(self) -> Picture:
        if not self._capture.grab():
            raise EOFError
        place = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if self.rate > 0 and (place < 0 or (place == 0 and self._count)):  # a container without times
            place = self._count / self.rate
        self._count += 1
        return retrieve(self._capture), self._start + place

    def close(self) -> None:
        self._capture.release()


class Folder:
    """The photos of a folder, by name: the frames of a film, ``rate`` a second. Or, with ``hold``, each is held still
    for so many seconds, at most ``HELD`` frames a second, and a black frame follows: what is in one photo is seen often
    enough to be somebody, and nobody is followed from one photo to the next."""

    format = "images"

    def __init__(self, folder: Path, rate: float, hold: float = 0.0) -> None:
        self.rate = min(rate, HELD) if hold else rate
        self._hold = hold
        self._paths = find_images(folder)
        if not self._paths:
            raise InputError(f"{folder}: no JPEG, PNG, WebP or BMP photo in it")
        self._pictures = self._played()

    def read(self) -> Picture:
        picture = next(self._pictures, None)
        if picture is None:
            raise EOFError
        return picture

    def close(self) -> None:
        pass

    def _played(self) -> Iterator[Picture]:
        moment = time.monotonic()
        for path in self._paths:
            try:
                image = read_image(path)
            except InputError:
                yield None, moment
                moment += 1 / self.rate
                continue
            for _ in range(max(1, round(self._hold * self.rate))):
                yield image, moment
                moment += 1 / self.rate
            if self._hold:
                moment += BLANK
                yield np.zeros_like(image), moment
                moment += 1 / self.rate


class Pipe:
    """JPEG pictures back to back from an open file descriptor; ``wanted`` is asked while it says nothing."""

    format = "MJPG"
    rate = 0.0

    def __init__(self, descriptor: int, wanted: Callable[[], bool]) -> None:
        self._descriptor, self._wanted = descriptor, wanted
        self._splitter = Splitter()
        self._pictures: deque[bytes] = deque()
        self._broken = 0

    def read(self) -> Picture:
        while not self._pictures:
            if self._splitter.broken > self._broken:
                self._broken += 1
                return None, time.monotonic()
            ready, _, _ = select.select([self._descriptor], [], [], WAKE)
            if not self._wanted():
                raise EOFError
            if ready:
                data = os.read(self._descriptor, CHUNK)
                if not data:
                    raise EOFError
                self._pictures.extend(self._splitter.feed(data))
        now = time.monotonic()
        try:
            return decode_image(self._pictures.popleft(), "picture"), now
        except InputError:
            return None, now

    def close(self) -> None:
        pass  # whoever opened the descriptor closes it


def retrieve(capture: cv2.VideoCapture) -> NDArray[np.uint8] | None:
    """The grabbed picture, H×W×3 uint8 BGR; None where it cannot be decoded."""
    try:
        good, image = capture.retrieve()
    except cv2.error:
        return None
    if not good or image is None or not image.size or image.dtype != np.uint8:
        return None
    if image.ndim == 2:  # a thermal or night camera
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    return np.asarray(image, np.uint8) if image.shape[2] == 3 else None


def version() -> tuple[int, int]:
    """OpenCV's, major and minor."""
    major, minor = cv2.__version__.split(".")[:2]
    return int(major), int(minor)


def fourcc(code: float) -> str:
    """OpenCV's number as four letters, "" for none."""
    letters = int(code).to_bytes(4, "little", signed=True) if code > 0 else b""
    return letters.decode("ascii", "ignore").strip("\0 ").upper() if letters else ""
