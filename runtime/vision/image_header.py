"""Read the header of a JPEG, PNG, WebP or BMP file without decoding the image."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Header:
    """What a header says.

    width, height  pixels, as stored
    complete       False if the file is truncated
    orientation    EXIF orientation, 1 (upright) to 8
    """

    width: int
    height: int
    complete: bool
    orientation: int = 1


def parse_header(data: bytes) -> Header:
    """Read the header of a file with content ``data``. Raises ValueError if it is damaged or another type of file, and
    struct.error or IndexError if it is truncated."""
    if data[:3] == b"\xff\xd8\xff":
        return _jpeg(data)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _png(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    if data[:2] == b"BM":
        return _bmp(data)
    raise ValueError("not a JPEG, PNG, WebP or BMP image" + _other_type(data))


def _jpeg(data: bytes) -> Header:
    # ITU-T T.81, annex B: segments of a marker and a length until the scan (SOS, DA) starts; the frame header
    # (SOF, C0 to CF without DHT C4, JPG C8 and DAC CC) has the size. Only EOI (D9) ends the scans.
    offset, size, orientation = 2, None, 1
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
        if marker == 0xE1 and data[offset + 4 : offset + 10] == b"Exif\0\0":
            orientation = _orientation(data[offset + 4 : offset + 2 + length])
        if marker == 0xDA:
            if size is None:
                raise ValueError("the JPEG's structure is damaged")
            return Header(*size, data.find(b"\xff\xd9", offset) >= 0, orientation)
        offset += 2 + length


def _png(data: bytes) -> Header:
    # PNG (third edition), 5.3: chunks of length, type, data and CRC from IHDR to IEND. The CRCs of critical chunks
    # (first letter is a capital) are checked here, because libpng would print its own message to stderr.
    width, height = struct.unpack_from(">II", data, 16)
    offset, orientation = 8, 1
    while offset + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, offset)
        kind, end = data[offset + 4 : offset + 8], offset + 8 + length
        if end + 4 > len(data):
            break
        if kind[:1].isupper() and zlib.crc32(data[offset + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise ValueError("the PNG is damaged (a checksum differs)")
        if kind == b"eXIf":
            orientation = _orientation(data[offset + 8 : end])
        if kind == b"IEND":
            return Header(width, height, True, orientation)
        offset = end + 4
    return Header(width, height, False, orientation)


def _webp(data: bytes) -> Header:
    # Google's WebP container specification: lossy (VP8), lossless (VP8L) and extended (VP8X) headers.
    (size,) = struct.unpack_from("<I", data, 4)
    kind, orientation = data[12:16], 1
    if kind == b"VP8X":
        width, height = int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
        offset = 12
        while offset + 8 <= len(data):
            (length,) = struct.unpack_from("<I", data, offset + 4)
            if data[offset : offset + 4] == b"EXIF":
                orientation = _orientation(data[offset + 8 : offset + 8 + length])
            offset += 8 + length + length % 2
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    return Header(width, height, len(data) >= size + 8, orientation)


def _bmp(data: bytes) -> Header:
    # BITMAPFILEHEADER (14 bytes), then the BITMAPCOREHEADER of OS/2 (12 bytes, 16-bit sides) or a longer header, whose
    # height is negative if the rows are stored from top to bottom.
    (size, start, length) = struct.unpack_from("<I4xII", data, 2)
    if length == 12:
        width, height, bits = struct.unpack_from("<HH2xH", data, 18)
        packed = 0
    else:
        width, height, bits, packed = struct.unpack_from("<ii2xHI", data, 18)
    if packed in (0, 3):  # not compressed, so the size is known; the size in the file is often wrong
        size = start + (max(width, 0) * bits + 31) // 32 * 4 * abs(height)
    return Header(width, abs(height), len(data) >= size)


def _orientation(exif: bytes) -> int:
    """The orientation tag of an EXIF block; 1 if the block is damaged, because the photo can be read without it."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, start)
        for index in range(count):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, start + 2 + 12 * index)
            if (tag, kind) == (0x112, 3):
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _other_type(data: bytes) -> str:
    kinds = {
        b"GIF8": "GIF",
        b"II*\0": "TIFF",
        b"MM\0*": "TIFF",
        b"%PDF": "PDF",
        b"PK\3\4": "ZIP",
        b"<": "HTML or XML",
    }
    for magic, kind in kinds.items():
        if data.startswith(magic):
            return f" but {kind}"
    return " but HEIC: convert it to JPEG" if data[4:12] in (b"ftypheic", b"ftypmif1", b"ftypavif") else ""
