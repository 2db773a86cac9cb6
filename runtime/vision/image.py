"""Read photos from disk. Their headers are checked before a decoder gets them."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.paths import as_path
from .image_header import parse_header

# Enough for a photo of a 108-megapixel phone, and a limit for small files that would unpack to gigabytes.
MAX_PIXELS = 128_000_000
MAX_BYTES = 4 * MAX_PIXELS + 1_000_000  # an uncompressed file with an alpha channel


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """Read a photo, turned the right way up.

    Unlike ``cv2.imread``, it says why a file cannot be read, and refuses a truncated file. The EXIF orientation is
    applied. Gray, 16-bit and CMYK photos are converted to three 8-bit channels. An alpha channel is dropped.

    Args:
        path: A JPEG, PNG, WebP or BMP file of at most 128 megapixels.

    Returns:
        H×W×3 uint8, BGR.

    Raises:
        InputError: The file is missing, empty, truncated, too large, or cannot be decoded. Nothing large was allocated.
    """
    path = as_path(path, "a photo's path")
    return decode_image(_read(path), str(path))


def decode_image(data: bytes, name: str, most_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode the content of an image file, like ``read_image``. Error messages call it ``name``."""
    try:
        header = parse_header(data)
    except (struct.error, IndexError):
        raise InputError(f"{name}: the image is truncated: copy it again") from None
    except ValueError as error:
        raise InputError(f"{name}: {error}") from None
    width, height = header.width, header.height
    if width * height > most_pixels:
        raise InputError(
            f"{name}: {width}×{height} pixels is more than the limit of {most_pixels // 1_000_000} MP: make it smaller"
        )
    if not header.complete:
        raise InputError(f"{name}: the image is truncated ({len(data)} bytes): copy it again")
    try:
        # The orientation is applied below: which formats OpenCV rotates itself differs between its versions.
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if min(width, height) > 0 else None
    except cv2.error:
        image = None
    if image is None:
        raise InputError(f"{name}: the image is damaged and cannot be decoded: copy it again")
    return np.asarray(_upright(image, header.orientation), np.uint8)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > MAX_BYTES:
                raise InputError(f"{path}: the file is too large for a photo ({MAX_BYTES // 1_000_000} MB at most)")
            data = file.read()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not data:
        raise InputError(f"{path}: the file is empty")
    return data


def _upright(image: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Undo the EXIF 2.3 orientation: 5 to 8 are stored with rows and columns swapped; the others are mirrored."""
    if orientation > 4:
        image = cv2.transpose(image)
    mirror = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)  # OpenCV's flip codes; -1 flips both axes
    return image if mirror is None else cv2.flip(image, mirror)
