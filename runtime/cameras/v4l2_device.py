"""A V4L2 camera: USB, MIPI, and whatever else Linux lists as /dev/videoN."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, WorkError
from ..vision.image import reduction
from .opencv import format_name, warn_of_old_opencv
from .stream import ReducedPicture, decode_grabbed

MAX_STAMP_AGE = 5.0  # seconds: an older timestamp of a driver belongs to another clock


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


class V4l2Device:
    """A V4L2 device, read by OpenCV. Its JPEGs are decoded here, so that a smaller version can be."""

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
        if self.format == "MJPG":  # OpenCV then delivers the JPEG, with every driver that we know of
            self._capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)

    def grab(self) -> float:
        if not self._capture.grab():
            raise WorkError(f"{self._path} stopped delivering pictures: check that it is still plugged in")
        now = time.monotonic()
        # V4L2 stamps the end of the exposure with the monotonic clock. Timestamps of drivers that do not are ignored.
        stamp = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        return stamp if 0 <= now - stamp < MAX_STAMP_AGE else now

    def decode(self) -> NDArray[np.uint8] | None:
        data = self._jpeg()
        return decode_grabbed(self._capture) if data is None else decode_device_jpeg(data)

    def decode_reduced(self, least: int) -> ReducedPicture | None:
        size = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        by = reduction(*size, least)
        data = self._jpeg() if by > 1 else None
        image = None if data is None else decode_device_jpeg(data, by)
        if data is None or image is None:
            return None

        def full() -> NDArray[np.uint8]:
            image = decode_device_jpeg(data)
            if image is None:
                raise InputError(f"{self._path}: a picture is damaged")
            return image

        return ReducedPicture(image, size, full)

    def _jpeg(self) -> NDArray[np.uint8] | None:
        """The grabbed picture as it came; None if OpenCV has decoded it."""
        good, data = self._capture.retrieve() if self.format == "MJPG" else (False, None)
        return np.asarray(data, np.uint8).ravel() if good and data is not None and 1 in data.shape[:2] else None

    def close(self) -> None:
        self._capture.release()


def decode_device_jpeg(data: NDArray[np.uint8], by: int = 1) -> NDArray[np.uint8] | None:
    """The JPEG of a device as BGR, as OpenCV decodes it itself, at 1/``by`` of its size: 1, 2 or 4. None if it is
    damaged."""
    colors = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4}[by]
    try:
        image = cv2.imdecode(data, colors | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    return None if image is None else np.asarray(image, np.uint8)
