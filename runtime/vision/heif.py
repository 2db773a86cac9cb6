"""The boxes of an HEIC photo (ISO/IEC 14496-12 and 23008-12), as far as its size."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from .image_header import MOST_PARTS, Header, TruncatedImageError

BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"})
PATH = (b"meta", b"iprp", b"ipco", b"ispe")  # the properties of all pictures; each ispe has the size of some of them


def read_brands(data: bytes) -> frozenset[bytes]:
    """The brands in the first box of the file; empty if it is no such file."""
    length, kind = struct.unpack_from(">I4s", data) if len(data) >= 8 else (0, b"")
    if kind != b"ftyp":
        return frozenset()
    end = min(length, len(data), 1024)
    return frozenset(data[at : at + 4] for at in (8, *range(16, end - 3, 4)))


def parse_heif(data: bytes) -> Header:
    """Read the header of an HEIC file: the size of its largest picture. Raises ValueError if it is damaged.

    The decoder gets the whole file. It turns the picture itself.
    """
    sizes = [struct.unpack_from(">II", body, 4) for body in _find_boxes(data, PATH) if len(body) >= 12]
    if not sizes:
        raise ValueError("the HEIC photo is damaged (it does not say its size)")
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    return Header(width, height, data, "HEIC")


def _find_boxes(data: bytes, path: tuple[bytes, ...]) -> Iterator[bytes]:
    """The content of the boxes below ``path``."""
    offset = 0
    for _ in range(MOST_PARTS):
        if offset + 8 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, offset)
        head = 8
        if length == 1 and offset + 16 <= len(data):  # a length of 64 bits follows
            (length,) = struct.unpack_from(">Q", data, offset + 8)
            head = 16
        elif length == 0:  # until the end
            length = len(data) - offset
        if length < head:
            raise ValueError("the HEIC photo is damaged (a box has no valid length)")
        if offset + length > len(data):
            raise TruncatedImageError
        if kind == path[0]:
            body = data[offset + head : offset + length]
            if len(path) == 1:
                yield body
            else:
                yield from _find_boxes(body[4:] if kind == b"meta" else body, path[1:])  # meta has a version first
        offset += length
