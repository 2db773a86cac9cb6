"""Photos from disk, checked before a decoder sees them."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from .image_header import parse_header

# A 108-megapixel phone photo passes; a small file that would unpack to gigabytes does not.
MAX_PIXELS = 128_000_000
MAX_BYTES = 4 * MAX_PIXELS + 1_000_000  # as an uncompressed file with alpha
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})


def read_image(path: Path) -> NDArray[np.uint8]:
    """The photo at ``path`` (JPEG, PNG, WebP or BMP) as H×W×3 uint8 BGR, turned as a person sees it.

    Gray, alpha (dropped), 16-bit and CMYK photos become three 8-bit channels; EXIF orientation is applied. InputError
    for a missing, empty, truncated, oversized or undecodable file, before anything large is allocated.
    """
    return decode_image(_read(path), str(path))


def decode_image(data: bytes, name: str, most_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """As ``read_image`` for the content of a file; errors call it ``name``."""
    try:
        header = parse_header(data)
    except (struct.error, IndexError):
        raise InputError(f"{name}: the image is truncated: copy it again") from None
    except ValueError as error:
        raise InputError(f"{name}: {error}") from None
    width, height = header.width, header.height
    if width * height > most_pixels:
        raise InputError(
            f"{name}: {width}×{height} pixels is more than the {most_pixels // 1_000_000} MP rkface reads: shrink it"
        )
    if not header.complete:
        raise InputError(f"{name}: the image is truncated ({len(data)} bytes): copy it again")
    try:
        # Turned below: which formats OpenCV turns itself changes from version to version.
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if min(width, height) > 0 else None
    except cv2.error:
        image = None
    if image is None:
        raise InputError(f"{name}: the image is damaged and cannot be decoded")
    return np.asarray(_turned(image, header.orientation), np.uint8)


def find_images(folder: Path) -> list[Path]:
    """Every photo below ``folder``, by suffix, sorted by path; hidden files and folders are left out."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of photos")
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > MAX_BYTES:
                raise InputError(f"{path}: a file this large is no photo")
            data = file.read()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not data:
        raise InputError(f"{path}: the file is empty")
    return data


def _turned(image: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Undo EXIF 2.3's orientation: 5 to 8 are stored with rows and columns swapped, the others say what to mirror."""
    if orientation > 4:
        image = cv2.transpose(image)
    mirror = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)  # OpenCV's flip codes; -1 is both ways
    return image if mirror is None else cv2.flip(image, mirror)
