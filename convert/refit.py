"""Calibration frames of a detector in another shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.vision.image import read_image
from rkface.runtime.vision.letterbox import letterbox

from .image_lists import read_image_list, write_image_list

Size = tuple[int, int]


def refit_images(frames: Path, size: Size, folder: Path) -> Path:
    """Write the images of the list ``frames``, letterboxed into ``size`` (width, height), to ``folder``; returns their
    list."""
    return write_image_list([_refit(read_image(path), size) for path in read_image_list(frames)], folder)


def _refit(frame: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """``frame``, a photo that was letterboxed into another shape, letterboxed into ``size``. A finished calibration set
    has no other copy of its photos."""
    rows, columns = (int(frame.any(axis=(1 - axis, 2)).nonzero()[0].max(initial=0)) + 1 for axis in (0, 1))
    return letterbox(frame[:rows, :columns], *size).image
