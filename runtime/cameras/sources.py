"""One class for each kind of source: V4L2, network streams and GStreamer, videos, folders of photos, pipes of JPEGs."""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Callable, Iterator
from logging import getLogger
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, WorkError
from ..vision.image import decode_frame, decode_reduced_frame, read_image
from ..vision.photo_files import find_images
from .mjpeg import JpegSplitter
from .opencv import format_name, opencv_version, warn_of_old_opencv
from .stream import ReducedPicture, decode_grabbed

log = getLogger(__name__)

OPEN_TIMEOUT_MS, READ_TIMEOUT_MS = 5000, 5000  # after which a network camera that does not answer counts as lost
# The first OpenCV whose GStreamer backend knows these timeouts (opencv #22919). Debian 12's 4.6 would refuse to open.
GSTREAMER_TIMEOUTS_SINCE = (4, 7)
PIPE_READ_SIZE = 1 << 16  # bytes
HELD_RATE = 5.0  # frames per second while a photo is held: more would show nothing new
BLACK_GAP = 1.5  # seconds from a held photo to the black frame after it: longer than RecognitionRules.keep
PIPE_POLL = 0.2  # seconds between checks whether a silent pipe is still wanted


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
            except InputError as error:
                log.warning("%s; the photo is skipped", error)
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

    def decode_reduced(self, least: int) -> ReducedPicture | None:
        return reduce_jpeg(self._picture, least)

    def close(self) -> None:
        pass  # the descriptor belongs to the caller


def reduce_jpeg(data: bytes, least: int) -> ReducedPicture | None:
    """``ReducingStream.decode_reduced`` of a JPEG."""
    try:
        reduced = decode_reduced_frame(data, "picture", least) if data else None
    except InputError:
        return None
    return ReducedPicture(*reduced, lambda: decode_frame(data, "picture")) if reduced else None
