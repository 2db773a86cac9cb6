"""Photos from disk, checked before a decoder sees them."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import InputError

# A 108-megapixel phone photo passes; a small file that would unpack to gigabytes does not.
MAX_PIXELS = 128_000_000
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})


def read_image(path: Path) -> NDArray[np.uint8]:
    """The photo at ``path`` (JPEG, PNG, WebP or BMP) as H×W×3 uint8 BGR, turned as a person sees it.

    Grey, alpha (dropped), 16-bit and CMYK photos become three 8-bit channels; EXIF orientation is applied. InputError
    for a missing, empty, truncated, oversized or undecodable file, before anything large is allocated.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not data:
        raise InputError(f"{path}: the file is empty")
    try:
        width, height, complete = _header(data)
    except (struct.error, IndexError):
        raise InputError(f"{path}: the image is truncated: copy it again") from None
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{path}: {width}×{height} pixels is more than the {MAX_PIXELS // 1_000_000} MP rkface reads: shrink it"
        )
    if not complete:
        raise InputError(f"{path}: the image is truncated ({len(data)} bytes): copy it again")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise InputError(f"{path}: the image is damaged and cannot be decoded")
    return np.asarray(image, np.uint8)


def find_images(folder: Path) -> list[Path]:
    """Every photo below ``folder``, by suffix, sorted by path; hidden files and folders are left out."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of photos")
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def _header(data: bytes) -> tuple[int, int, bool]:
    """Width, height and whether the file reaches its own end marker. ValueError says what the file is instead."""
    if data[:3] == b"\xff\xd8\xff":
        return _jpeg(data)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        width, height = struct.unpack_from(">II", data, 16)
        return width, height, b"IEND" in data[-1024:] or b"IEND\xaeB`\x82" in data
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        (size,) = struct.unpack_from("<I", data, 4)
        return *_webp(data), len(data) >= size + 8
    if data[:2] == b"BM":
        width, height = struct.unpack_from("<ii", data, 18)
        (size,) = struct.unpack_from("<I", data, 2)
        return width, abs(height), len(data) >= size
    raise ValueError("not a JPEG, PNG, WebP or BMP image" + _guess(data))


def _jpeg(data: bytes) -> tuple[int, int, bool]:
    # ITU-T T.81, annex B: segments of a marker and a length until the scan (SOS, DA) starts; the frame header
    # (SOF, C0..CF without DHT C4, JPG C8 and DAC CC) has the size. Only EOI (D9) may end the scans.
    offset, size = 2, None
    while True:
        if data[offset] != 0xFF:
            raise ValueError("the JPEG's structure is damaged")
        marker = data[offset + 1]
        if marker == 0xFF:  # fill byte
            offset += 1
            continue
        (length,) = struct.unpack_from(">H", data, offset + 2)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, offset + 5)
            size = (width, height)
        if marker == 0xDA:
            if size is None:
                raise ValueError("the JPEG's structure is damaged")
            return *size, data.find(b"\xff\xd9", offset) >= 0
        offset += 2 + length


def _webp(data: bytes) -> tuple[int, int]:
    # Google's WebP container specification: lossy (VP8), lossless (VP8L) and extended (VP8X) headers.
    kind = data[12:16]
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _guess(data: bytes) -> str:
    kinds = {
        b"GIF8": "GIF", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"%PDF": "PDF", b"PK\3\4": "ZIP", b"<": "HTML or XML",
    }  # fmt: skip
    for magic, kind in kinds.items():
        if data.startswith(magic):
            return f" but {kind}"
    return " but HEIC: convert it to JPEG" if data[4:12] in (b"ftypheic", b"ftypmif1", b"ftypavif") else ""
