"""One class for each kind of source: V4L2, network streams and GStreamer, videos, folders of photos, pipes of JPEGs."""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from logging import getLogger
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, WorkError
from ..core.versions import opencv_risk
from ..vision.image import decode_frame, read_image
from ..vision.photo_files import find_images
from .mjpeg import JpegSplitter

log = getLogger(__name__)

OPEN_TIMEOUT_MS, READ_TIMEOUT_MS = 5000, 5000  # after which a network camera that does not answer counts as lost
# The first OpenCV whose GStreamer backend knows these timeouts (opencv #22919). Debian 12's 4.6 would refuse to open.
GSTREAMER_TIMEOUTS_SINCE = (4, 7)
MAX_STAMP_AGE = 5.0  # seconds: an older timestamp of a driver belongs to another clock
PIPE_READ_SIZE = 1 << 16  # bytes
HELD_RATE = 5.0  # frames per second while a photo is held: more would show nothing new
BLACK_GAP = 1.5  # seconds from a held photo to the black frame after it: longer than RecognitionRules.keep
PIPE_POLL = 0.2  # seconds between checks whether a silent pipe is still wanted


@dataclass(frozen=True)
class CaptureFormat:
    """What to request from a V4L2 camera. The driver may choose something else: ``CameraState`` has its choice.

    width   pixels
    height  pixels
    rate    frames per second; of a folder of photos: photos per second
    format  V4L2's pixel format: MJPG, YUYV or NV12
    hold    only for folders of photos: see ``PhotoFolder``
    """

    width: int = 1280
    height: int = 720
    rate: float = 15.0
    format: str = "MJPG"
    hold: float = 0.0


class Stream(Protocol):
    """An open source. ``format``, ``rate`` and ``decoder`` are what ``CameraState`` says of it, "" or 0 if unknown."""

    format: str
    rate: float
    decoder: str

    def grab(self) -> float:
        """Wait for the next picture, and return when it was captured, in seconds of ``time.monotonic``. Raises EOFError
        after the last one, and WorkError if the source is lost."""
        ...

    def decode(self) -> NDArray[np.uint8] | None:
        """Return the picture that was grabbed last: H×W×3 uint8 BGR, None if it cannot be decoded. A picture that
        nobody needs is not decoded."""
        ...

    def close(self) -> None: ...


class V4l2Device:
    """A V4L2 device, read by OpenCV, which converts its pictures to BGR."""

    decoder = ""

    def __init__(self, path: Path, requested: CaptureFormat) -> None:
        if not path.exists():
            raise WorkError(
                f"{path} does not exist: plug the camera in, and check with `rkface doctor` (or `v4l2-ctl "
                "--list-devices`)"
            )
        if not os.access(path, os.R_OK | os.W_OK):
            raise WorkError(f"no permission to open {path}: add this user to the group 'video', then log in again")
        warn_of_old_opencv()
        # Where a link points may change each time the camera is plugged in; OpenCV needs /dev/videoN.
        self._capture = cv2.VideoCapture(str(path.resolve()), cv2.CAP_V4L2)
        if not self._capture.isOpened():
            raise WorkError(
                f"{path} cannot be opened: stop other programs that use it, and check that this device is a camera"
            )
        self._path = path
        # The format first: drivers offer different sizes and rates for each format.
        self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*requested.format))
        self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, requested.width)
        self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, requested.height)
        self._capture.set(cv2.CAP_PROP_FPS, requested.rate)
        self.format = format_name(self._capture.get(cv2.CAP_PROP_FOURCC))
        self.rate = self._capture.get(cv2.CAP_PROP_FPS)

    def grab(self) -> float:
        if not self._capture.grab():
            raise WorkError(f"{self._path} stopped delivering pictures: check that it is still plugged in")
        now = time.monotonic()
        # V4L2 stamps the end of the exposure with the monotonic clock. Timestamps of drivers that do not are ignored.
        stamp = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        return stamp if 0 <= now - stamp < MAX_STAMP_AGE else now

    def decode(self) -> NDArray[np.uint8] | None:
        return decode_grabbed(self._capture)

    def close(self) -> None:
        self._capture.release()


class NetworkStream:
    """An RTSP or HTTP address that OpenCV's FFmpeg opens, or a GStreamer pipeline. Frames get their arrival time."""

    def __init__(self, address: str, shown: str, gstreamer: bool = False) -> None:
        """``shown``: the address without passwords, for errors."""
        # OpenCV reads this variable each time it opens a stream, and has no other way to set the option. FFmpeg prefers
        # UDP by default, where one lost packet spoils the picture until the next key frame.
        os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_flags;prefer_tcp")
        timeouts: list[int] = []
        if not gstreamer or opencv_version() >= GSTREAMER_TIMEOUTS_SINCE:
            timeouts = [
                cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_TIMEOUT_MS
            ]  # fmt: skip
        warn_of_old_opencv()
        self._capture = cv2.VideoCapture(address, cv2.CAP_GSTREAMER if gstreamer else cv2.CAP_FFMPEG, timeouts)
        if not self._capture.isOpened():
            raise WorkError(
                f"{shown} does not answer, refuses the connection, or sends nothing that can be decoded: check the "
                "address, the user and the password"
            )
        self._shown = shown
        self.decoder = "" if gstreamer else "software"
        self.format = format_name(self._capture.get(cv2.CAP_PROP_FOURCC))
        self.rate = self._capture.get(cv2.CAP_PROP_FPS)

    def grab(self) -> float:
        if not self._capture.grab():
            raise WorkError(f"{self._shown} stopped sending pictures: check the camera and the network")
        return time.monotonic()

    def decode(self) -> NDArray[np.uint8] | None:
        return decode_grabbed(self._capture)

    def close(self) -> None:
        self._capture.release()


class VideoFile:
    """A video file. The time of a frame is when the file was opened plus the frame's position in the file."""

    decoder = ""

    def __init__(self, path: Path) -> None:
        warn_of_old_opencv()
        self._capture, self._path = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG), path
        self.format = format_name(self._capture.get(cv2.CAP_PROP_FOURCC))
        if not self._capture.isOpened() or self.format == "ANSI":  # FFmpeg would show a text file as a terminal does
            raise InputError(f"{path} is not a video that OpenCV's FFmpeg can read: convert it, for example to MP4")
        self.rate = self._capture.get(cv2.CAP_PROP_FPS)
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # the default, if FFmpeg is new enough
        self._start = time.monotonic()
        self._count = 0

    def grab(self) -> float:
        if not self._capture.grab():
            if not self._count:
                raise InputError(f"{self._path}: no picture in this file can be decoded: copy it again, or convert it")
            raise EOFError
        position = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if self.rate > 0 and (position < 0 or (position == 0 and self._count)):  # a container without times
            position = self._count / self.rate
        self._count += 1
        return self._start + position

    def decode(self) -> NDArray[np.uint8] | None:
        return decode_grabbed(self._capture)

    def close(self) -> None:
        self._capture.release()


class PhotoFolder:
    """The photos in a folder, sorted by name, as the frames of a video with ``rate`` frames per second.

    With ``hold``, each photo is held for that many seconds, at ``HELD_RATE`` frames per second at most, and a black
    frame follows. Each face is then seen often enough to be recognized, and no face is tracked from one photo into the
    next. A photo that cannot be decoded is a picture without an image.
    """

    format = "images"
    decoder = ""

    def __init__(self, folder: Path, rate: float, hold: float = 0.0) -> None:
        self.rate = min(rate, HELD_RATE) if hold else rate
        self._hold = hold
        self._paths = find_images(folder)
        if not self._paths:
            raise InputError(f"{folder}: there is no JPEG, PNG, WebP, BMP or HEIC photo in this folder")
        self._pictures = self._play()
        self._image: NDArray[np.uint8] | None = None

    def grab(self) -> float:
        moment, self._image = next(self._pictures, (None, None))
        if moment is None:
            raise EOFError
        return moment

    def decode(self) -> NDArray[np.uint8] | None:
        return self._image

    def close(self) -> None:
        pass

    def _play(self) -> Iterator[tuple[float, NDArray[np.uint8] | None]]:
        """The time and the image of each picture."""
        moment = time.monotonic()
        for path in self._paths:
            try:
                image = read_image(path)
            except InputError:
                yield moment, None
                moment += 1 / self.rate
                continue
            for _ in range(max(1, round(self._hold * self.rate))):
                yield moment, image
                moment += 1 / self.rate
            if self._hold:
                moment += BLACK_GAP
                yield moment, np.zeros_like(image)
                moment += 1 / self.rate


class JpegPipe:
    """JPEG pictures back to back from an open file descriptor. While it is silent, ``wanted`` is called every
    ``PIPE_POLL`` seconds; False ends the stream."""

    format = "MJPG"
    rate = 0.0
    decoder = ""

    def __init__(self, descriptor: int, wanted: Callable[[], bool]) -> None:
        self._descriptor, self._wanted = descriptor, wanted
        self._splitter = JpegSplitter()
        self._pictures: deque[bytes] = deque()
        self._broken = 0
        self._picture = b""

    def grab(self) -> float:
        while not self._pictures:
            if self._splitter.broken > self._broken:
                self._broken += 1
                self._picture = b""
                return time.monotonic()
            ready, _, _ = select.select([self._descriptor], [], [], PIPE_POLL)
            if not self._wanted():
                raise EOFError
            if ready:
                data = os.read(self._descriptor, PIPE_READ_SIZE)
                if not data:
                    raise EOFError
                self._pictures.extend(self._splitter.feed(data))
        self._picture = self._pictures.popleft()
        return time.monotonic()

    def decode(self) -> NDArray[np.uint8] | None:
        try:
            return decode_frame(self._picture, "picture") if self._picture else None
        except InputError:
            return None

    def close(self) -> None:
        pass  # the descriptor belongs to the caller


def decode_grabbed(capture: cv2.VideoCapture) -> NDArray[np.uint8] | None:
    """Return the picture that ``capture`` grabbed, H×W×3 uint8 BGR. None if it cannot be decoded."""
    try:
        good, image = capture.retrieve()
    except cv2.error:
        return None
    if not good or image is None or not image.size or image.dtype != np.uint8:
        return None
    if image.ndim == 2:  # a thermal or night camera
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    return np.asarray(image, np.uint8) if image.shape[2] == 3 else None


@cache
def warn_of_old_opencv() -> None:
    """Log once what may happen with the OpenCV that is installed, if it is an old one."""
    if risk := opencv_risk(cv2.__version__):
        log.warning("%s", risk)


def opencv_version() -> tuple[int, int]:
    """Return the major and minor version of OpenCV."""
    major, minor = cv2.__version__.split(".")[:2]
    return int(major), int(minor)


def format_name(code: float) -> str:
    """Return OpenCV's number for a format as its four letters, "" for no format."""
    letters = int(code).to_bytes(4, "little", signed=True) if code > 0 else b""
    return letters.decode("ascii", "ignore").strip("\0 ").upper() if letters else ""
