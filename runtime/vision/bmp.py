"""The header of a BMP file: BITMAPFILEHEADER and BITMAPINFOHEADER of Windows, BITMAPCOREHEADER of OS/2."""

from __future__ import annotations

import struct

from .image_header import Header, TruncatedImageError, UnsupportedImageError

NONE, RLE8, RLE4, FIELDS = range(4)  # how the pixels are stored; fields: not compressed, masks say where a color is
DEPTHS = {NONE: (1, 4, 8, 16, 24, 32), RLE8: (8,), RLE4: (4,), FIELDS: (16, 32)}


def parse_bmp(data: bytes) -> Header:
    """Read the header of a BMP file. Raises ValueError if it is damaged, and struct.error if it is truncated."""
    # BITMAPFILEHEADER has 14 bytes. The header after it starts with its length: 12 bytes with sides of 16 bits (OS/2),
    # or at least 40. The height is negative if the rows are stored from top to bottom.
    (size, start, length) = struct.unpack_from("<I4xII", data, 2)
    if length == 12:
        width, height, bits = struct.unpack_from("<HH2xH", data, 18)
        packed = NONE
    elif length >= 36:
        width, height, bits, packed = struct.unpack_from("<ii2xHI", data, 18)
    else:
        raise ValueError("the BMP is damaged (its header is not valid)")
    if width <= 0 or height in (0, -(2**31)):
        raise ValueError(f"the BMP is damaged ({width}×{height} pixels)")
    if bits not in DEPTHS.get(packed, ()):
        raise UnsupportedImageError("this kind of BMP is not supported: save it as PNG or JPEG")
    if packed in (NONE, FIELDS):  # not compressed, so the size is known; the size in the file is often wrong
        size = start + (width * bits + 31) // 32 * 4 * abs(height)
    if len(data) < size:
        raise TruncatedImageError
    return Header(width, abs(height), data, "BMP")
