"""Letterbox: scale an image to fit the detector's input, and fill the rest with black, as InsightFace's SCRFD does."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .check_input import check_image


@dataclass(frozen=True)
class Letterbox:
    """An image resized into the detector's input.

    image  H×W×3 uint8 BGR, of the input's size
    scale  pixels of the input per pixel of the original image
    """

    image: NDArray[np.uint8]
    scale: float


def letterbox(image: NDArray[np.uint8], width: int, height: int) -> Letterbox:
    """Resize ``image`` (H×W×3 uint8) into ``width``×``height`` pixels, with its aspect ratio, at the top left on black.

    Sizes are rounded down and the vertical scale is used for both axes, exactly as InsightFace's ``SCRFD.detect`` does,
    so that coordinates agree with it to a fraction of a pixel. Raises InputError for any other array, because floats
    of 0 to 1 would become a black image in which no face is found.
    """
    rows, columns = _fit(image, width, height)
    canvas = np.zeros((height, width, 3), np.uint8)
    _resize(image, canvas[:rows, :columns])
    return Letterbox(canvas, rows / len(image))


def _fit(image: NDArray[np.uint8], width: int, height: int) -> tuple[int, int]:
    """The rows and columns that ``image`` occupies in ``width``×``height``."""
    check_image(image)
    rows, columns = image.shape[:2]
    if rows * width > height * columns:
        return height, max(1, int(height / (rows / columns)))
    return max(1, int(width * (rows / columns))), width


def _resize(image: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
    """Resize ``image`` into ``target``. The result is bit for bit that of OpenCV's bilinear interpolation.

    If the size is divided by 3, as from 1920×1080 to 640×360, or by another odd number, the centers of pixels coincide:
    one pixel has all the weight. Reading only that pixel takes half the time.
    """
    rows, columns = target.shape[:2]
    by = len(image) // rows
    if by in (3, 5, 7) and image.shape[:2] == (by * rows, by * columns):
        first = by // 2
        part, share = image[first:, first:], 1 / by
        cv2.resize(part, None, dst=target, fx=share, fy=share, interpolation=cv2.INTER_NEAREST)
    else:
        cv2.resize(image, (columns, rows), dst=target)


class Canvas(threading.local):
    """The detector's input image, one for each thread, reused for all frames: to get new memory pages from the
    operating system takes longer than to resize the frame of a small camera (docs/hot-path.md)."""

    def __init__(self, width: int, height: int) -> None:
        self._scaled = np.empty((height, width, 3), np.uint8)
        self._rgb = np.zeros((height, width, 3), np.uint8)
        self._used = (height, width)

    def letterbox(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
        """Like ``letterbox``, but RGB, and valid only until the next call in this thread. Returns image and scale."""
        height, width = self._rgb.shape[:2]
        rows, columns = used = _fit(image, width, height)
        if used != self._used:  # the edges would show the last frame with another aspect ratio
            self._rgb[:] = 0
            self._used = used
        scaled = self._scaled[:rows, :columns]
        _resize(image, scaled)
        cv2.cvtColor(scaled, cv2.COLOR_BGR2RGB, dst=self._rgb[:rows, :columns])
        return self._rgb, rows / len(image)
