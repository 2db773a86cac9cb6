"""Which format an image file has, and its header."""

from __future__ import annotations

import struct

from .bmp import parse_bmp
from .heif import BRANDS, parse_heif, read_brands
from .image_header import Header, TruncatedImageError, UnsupportedImageError
from .jpeg import parse_jpeg
from .png import SIGNATURE, parse_png
from .webp import parse_webp

OTHERS = {
    b"GIF8": "GIF",
    b"II*\0": "TIFF or a raw photo",
    b"MM\0*": "TIFF or a raw photo",
    b"%PDF": "PDF",
    b"PK\3\4": "ZIP",
    b"<": "HTML or XML",
}


def parse_header(data: bytes) -> Header:
    """Read the header of a file with content ``data``.

    Raises UnsupportedImageError for another type of file, TruncatedImageError for a truncated one, and ValueError for a
    damaged one.
    """
    try:
        header = _parse(data)
    except (struct.error, IndexError):
        raise TruncatedImageError from None
    if min(header.width, header.height) < 1:
        raise ValueError(f"the image is damaged ({header.width}×{header.height} pixels)")
    return header


def _parse(data: bytes) -> Header:
    if data[:3] == b"\xff\xd8\xff":
        return parse_jpeg(data)
    if data[:8] == SIGNATURE:
        return parse_png(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return parse_webp(data)
    if data[:2] == b"BM":
        return parse_bmp(data)
    brands = read_brands(data)
    if brands & BRANDS:
        return parse_heif(data)
    other = "AVIF" if brands & {b"avif", b"avis"} else ""
    other = next((name for magic, name in OTHERS.items() if data.startswith(magic)), other)
    raise UnsupportedImageError(
        "not a JPEG, PNG, WebP or BMP image" + (f" but {other}: convert it to JPEG" if other else "")
    )
