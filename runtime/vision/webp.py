"""The chunks of a WebP file (RFC 9649), and the sizes in its frames (RFC 6386 9.1 and RFC 9649 3.4)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from .image_header import MOST_PARTS, Header, TruncatedImageError, read_orientation

LOSSY, LOSSLESS = b"VP8 ", b"VP8L"


def parse_webp(data: bytes) -> Header:
    """Read the header of a WebP file. Raises ValueError if it is damaged.

    The decoder gets one frame, without transparency, which is dropped anyway: the first one of an animation.
    """
    (size,) = struct.unpack_from("<I", data, 4)
    if len(data) < size + 8:
        raise TruncatedImageError
    frame, canvas, orientation, animated = None, None, 1, False
    for kind, body in _read_chunks(data[12 : size + 8]):
        if kind == b"VP8X" and len(body) >= 10:
            canvas = int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
        elif kind in (LOSSY, LOSSLESS):
            frame = frame or (kind, body)
        elif kind == b"ANMF" and frame is None:
            frame = next((one for one in _read_chunks(body[16:]) if one[0] in (LOSSY, LOSSLESS)), None)
            animated = True
        elif kind == b"EXIF":
            orientation = read_orientation(body)
    if frame is None:
        raise ValueError("the WebP is damaged (it has no image)")
    width, height = _read_size(*frame)
    if canvas not in (None, (width, height)) and not animated:
        raise ValueError("the WebP is damaged (its header and its image differ in size)")
    kind, body = frame
    chunk = kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
    content = b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk
    return Header(width, height, content, "WebP", orientation)


def _read_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each chunk: four letters, the length, the content, and a byte after an odd length."""
    offset = 0
    for _ in range(MOST_PARTS):
        if offset + 8 > len(data):
            return
        kind, length = struct.unpack_from("<4sI", data, offset)
        if offset + 8 + length > len(data):
            raise TruncatedImageError
        yield kind, data[offset + 8 : offset + 8 + length]
        offset += 8 + length + length % 2
    raise ValueError("the WebP is damaged (it has too many chunks)")


def _read_size(kind: bytes, body: bytes) -> tuple[int, int]:
    if kind == LOSSY and len(body) >= 10 and not body[0] & 1 and body[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", body, 6)
        return width & 0x3FFF, height & 0x3FFF
    if kind == LOSSLESS and len(body) >= 5 and body[0] == 0x2F:
        (bits,) = struct.unpack_from("<I", body, 1)
        if bits >> 29 == 0:  # the version
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    raise ValueError("the WebP is damaged (the header of its image is not valid)")
