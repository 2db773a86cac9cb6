"""Letterbox: scale an image to fit the detector's input, and fill the rest with black, as InsightFace's SCRFD does."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .check_input import check_image

GRAY = 127  # the middle of the range: about 0 for the model


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
    check_image(image)
    rows, columns = _fit(image, width, height)
    canvas = np.zeros((height, width, 3), np.uint8)
    _resize(image, _step(image, rows, columns), canvas[:rows, :columns])
    return Letterbox(canvas, rows / len(image))


def letterbox_with_margin(image: NDArray[np.uint8], width: int, height: int) -> tuple[Letterbox, tuple[int, int]]:
    """Resize ``image`` (H×W×3 uint8) into the middle of ``width``×``height`` gray pixels, at half the size that would
    fit. Also returns the x and y of its top left corner.

    A face that fills the image then has the margin around it that detectors were trained with. Gray (of black, gray,
    the mean color, the pixels at the edge repeated or mirrored, and a blurred image) gives tightly cropped faces the
    best scores, and adds no false faces (`make bench-photos`). Raises InputError as ``letterbox``.
    """
    check_image(image)
    scale = min(width / image.shape[1], height / image.shape[0]) / 2
    columns, rows = (max(1, round(side * scale)) for side in (image.shape[1], image.shape[0]))
    left, top = (width - columns) // 2, (height - rows) // 2
    canvas = np.full((height, width, 3), GRAY, np.uint8)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    cv2.resize(image, (columns, rows), dst=canvas[top : top + rows, left : left + columns], interpolation=how)
    return Letterbox(canvas, scale), (left, top)


def _fit(image: NDArray[np.uint8], width: int, height: int) -> tuple[int, int]:
    """The rows and columns that ``image`` occupies in ``width``×``height``."""
    rows, columns = image.shape[:2]
    if rows * width > height * columns:
        return height, max(1, int(height / (rows / columns)))
    return max(1, int(width * (rows / columns))), width


def _resize(image: NDArray[np.uint8], by: int, target: NDArray[np.uint8]) -> None:
    """Resize ``image`` into ``target``; ``by`` is their ``_step``. The result is bit for bit that of OpenCV's bilinear
    interpolation.

    If the centers of pixels coincide, reading only one pixel of ``by``² takes half the time.
    """
    if by:
        first = by // 2
        part, share = image[first:, first:], 1 / by
        cv2.resize(part, None, dst=target, fx=share, fy=share, interpolation=cv2.INTER_NEAREST)
    else:
        cv2.resize(image, target.shape[1::-1], dst=target)


def _step(image: NDArray[np.uint8], rows: int, columns: int) -> int:
    """By what ``image`` is larger than ``rows``×``columns``, if it is 3, as from 1920×1080 to 640×360, or another odd
    number: then the centers of pixels coincide, and one pixel has all the weight. Otherwise 0."""
    by = len(image) // rows
    return by if by in (3, 5, 7) and image.shape[:2] == (by * rows, by * columns) else 0


class Canvas(threading.local):
    """The detector's input image, one for each thread, reused for all frames: to get new memory pages from the
    operating system takes longer than to resize the frame of a small camera (docs/hot-path.md)."""

    def __init__(self, width: int, height: int) -> None:
        self._scaled = np.empty(height * width * 4, np.uint8)
        self._rgb = np.zeros((height, width, 3), np.uint8)
        self._used = (height, width)
        # How frames of one layout in memory are shrunk. A camera's frames all have one.
        self._layout: tuple[tuple[int, ...], ...] = ()
        self._by, self._scale, self._target = 0, 1.0, self._rgb
        self._four: NDArray[np.uint32] | None = None  # the target as pixels of four bytes, if they are picked

    def letterbox(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
        """Like ``letterbox``, but RGB, and valid only until the next call in this thread. Returns image and scale."""
        picture, scale = self.shrink(image)
        rows, columns, channels = picture.shape
        if (rows, columns) != self._used:  # the edges would show the last frame with another aspect ratio
            self._rgb[:] = 0
            self._used = (rows, columns)
        code = cv2.COLOR_BGRA2RGB if channels == 4 else cv2.COLOR_BGR2RGB
        cv2.cvtColor(picture, code, dst=self._rgb[:rows, :columns])
        return self._rgb, scale

    def shrink(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
        """What ``letterbox`` puts on black, and the scale: rows×columns×3 uint8 BGR, or ×4, where the fourth byte means
        nothing. It is valid until the next call in this thread, and it is ``image`` itself if that has the size."""
        check_image(image)
        if (image.shape, image.strides) != self._layout:
            self._prepare(image)
        if self._by == 1:
            return image, 1.0
        if self._four is not None:
            _pick(image, self._by, self._four)
        else:
            _resize(image, self._by, self._target)
        return self._target, self._scale

    def _prepare(self, image: NDArray[np.uint8]) -> None:
        """Choose how to shrink frames that lie in memory as ``image`` does. ``_by`` is 1 if they stay as they are, or
        else their ``_step``."""
        height, width = self._rgb.shape[:2]
        rows, columns = _fit(image, width, height)
        tight = image.strides[1:] == (3, 1)
        self._by = 1 if tight and image.shape[:2] == (rows, columns) else _step(image, rows, columns)
        self._scale = rows / len(image)
        pick = self._by > 1 and image.flags.c_contiguous
        self._target = self._scaled[: rows * columns * (4 if pick else 3)].reshape(rows, columns, -1)
        self._four = self._target.view(np.uint32)[..., 0] if pick else None
        self._layout = image.shape, image.strides


def _pick(image: NDArray[np.uint8], by: int, target: NDArray[np.uint32]) -> None:
    """Fill ``target`` (H×W, pixels of four bytes) with the middle pixel of each ``by``×``by`` of ``image``, a single
    block of memory with three bytes for each pixel.

    The fourth byte is that of the next pixel. Copying four bytes at once takes three quarters of the time that OpenCV
    needs to copy three (`make bench-hot`).
    """
    row = image.strides[0]
    first = by // 2 * (row + 3)
    target[...] = np.ndarray(target.shape, np.uint32, image, first, (by * row, by * 3))
