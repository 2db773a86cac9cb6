"""Reads YUV4MPEG2, the raw video that ffmpeg and GStreamer write to pipes: a line with the size, then frames.

The format: https://wiki.multimedia.cx/index.php/YUV4MPEG2
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

LONGEST_LINE = 256  # bytes of a header
LARGEST_SIDE = 16_384  # pixels: more is not a camera's


@dataclass(frozen=True)
class VideoHeader:
    """The size of the frames in pixels, frames per second (0: not known), and whether all 256 levels are used, instead
    of 16 to 235."""

    width: int
    height: int
    rate: float
    full_range: bool

    @property
    def nbytes(self) -> int:
        """Bytes of a frame: I420, one byte for each pixel, and half a byte for its color."""
        return self.width * self.height * 3 // 2


def read_header(readline: Callable[[int], bytes]) -> VideoHeader:
    """Read the line before the first frame. ``readline`` returns a line of at most so many bytes.

    Raises EOFError at the end of the data, and ValueError if this is not I420 video in YUV4MPEG2.
    """
    line = readline(LONGEST_LINE)
    if not line:
        raise EOFError
    magic, *fields = line.decode("ascii", "replace").split()
    values = {field[0]: field[1:] for field in reversed(fields)}  # of several X fields, the first; they are not used
    width, height = int(values.get("W", "0")), int(values.get("H", "0"))
    if magic != "YUV4MPEG2" or not values.get("C", "420").startswith("420") or "p1" in values.get("C", ""):
        raise ValueError(f"not I420 video in YUV4MPEG2: {line[:60]!r}")
    if not (0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE) or width % 2 or height % 2:
        raise ValueError(f"pictures of {width}×{height} pixels cannot be used")
    above, _, below = values.get("F", "0:1").partition(":")
    rate = int(above) / int(below) if int(below or "0") else 0.0
    return VideoHeader(width, height, rate, "XCOLORRANGE=FULL" in fields)


def to_bgr(frame: NDArray[np.uint8], header: VideoHeader, by: int = 1) -> NDArray[np.uint8]:
    """Return a frame (``header.nbytes`` uint8) as H×W×3 BGR, with the matrix of ITU-R BT.601, as OpenCV's FFmpeg
    does. With ``by``, 2 or 4, at that part of its size: the planes are shrunk before the colors are computed."""
    if by > 1:
        frame, header = _shrink(frame, header, by)
    if header.full_range:
        pixels = header.width * header.height
        frame = np.concatenate([cv2.LUT(part, table)[:, 0] for part, table in zip(
            (frame[:pixels], frame[pixels:]), limited_range(), strict=True)])  # fmt: skip
    planes = frame.reshape(header.height * 3 // 2, header.width)
    return np.asarray(cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_I420), np.uint8)


def _shrink(frame: NDArray[np.uint8], header: VideoHeader, by: int) -> tuple[NDArray[np.uint8], VideoHeader]:
    width, height = header.width // (2 * by) * 2, header.height // (2 * by) * 2  # even sides, as I420 needs them
    pixels, start = header.width * header.height, 0
    planes = []
    for part in (1, 2, 2):
        rows, columns = header.height // part, header.width // part
        plane = frame[start : start + rows * columns].reshape(rows, columns)
        small = cv2.resize(plane, (width // part, height // part), interpolation=cv2.INTER_AREA)
        planes.append(np.asarray(small, np.uint8).ravel())
        start += rows * columns
    assert start == pixels * 3 // 2
    return np.concatenate(planes), replace(header, width=width, height=height)


@cache
def limited_range() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Tables from full to limited range, for brightness and for color (ITU-T H.264, table E-5)."""
    levels = np.arange(256)
    return (
        np.round(16 + levels * 219 / 255).astype(np.uint8),
        np.round(128 + (levels - 128) * 224 / 255).astype(np.uint8),
    )
