"""The chunks of a PNG file (PNG specification, third edition, chapters 5 and 11)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from .image_header import MOST_PARTS, Header, TruncatedImageError, read_orientation

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
ANCILLARY = 0x20  # this bit of the first letter says that a decoder may skip the chunk
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # of each color type (table 12)


def parse_png(data: bytes) -> Header:
    """Read the header of a PNG file. Raises ValueError if it is damaged.

    The decoder gets the header, the palette and the image data: not the chunks of an animation, for which OpenCV needs
    code that crashed on damaged files, and no transparency, which is dropped anyway. The checksums of these chunks are
    checked here.
    """
    kept, size, orientation, order = [SIGNATURE], None, 1, b""
    for kind, chunk in _read_chunks(data):
        if size is None:
            size = _read_size(kind, chunk[8:-4])
        elif kind == b"IHDR":
            break
        elif kind in (b"PLTE", b"IDAT"):
            order += kind if not order.endswith(kind) or kind == b"PLTE" else b""
        elif kind == b"eXIf":
            orientation = read_orientation(chunk[8:-4])
        if kind in CRITICAL:
            kept.append(chunk)
        elif not kind[0] & ANCILLARY:
            break
        if kind == b"IEND" and order in (b"IDAT", b"PLTEIDAT"):
            return Header(*size, b"".join(kept), "PNG", orientation)
    raise ValueError("the PNG is damaged (its chunks are not those of an image)")


def _read_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each chunk with its kind: the length of the content, the kind, the content and a checksum.

    Raises ValueError if the checksum of a chunk that a decoder needs is wrong.
    """
    offset = len(SIGNATURE)
    for _ in range(MOST_PARTS):
        if offset + 12 > len(data):
            raise TruncatedImageError
        length, kind = struct.unpack_from(">I4s", data, offset)
        chunk = data[offset : offset + 12 + length]
        if len(chunk) < 12 + length:
            raise TruncatedImageError
        if not kind[0] & ANCILLARY and zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
            raise ValueError("the PNG is damaged (a checksum differs)")
        yield kind, chunk
        offset += len(chunk)


def _read_size(kind: bytes, body: bytes) -> tuple[int, int]:
    if kind == b"IHDR" and len(body) == 13:
        width, height, depth, color, packing, filtering, interlacing = struct.unpack(">IIBBBBB", body)
        if depth in DEPTHS.get(color, ()) and (packing, filtering) == (0, 0) and interlacing in (0, 1):
            return width, height
    raise ValueError("the PNG is damaged (its header is not valid)")
