"""The markers of a JPEG file or stream (ITU-T T.81, annex B), and what they say about the picture.

Only this module reads markers, so that a picture's size is the one that the decoder finds. It reads like libjpeg: bytes
that belong to no segment are skipped, and in a scan every marker except a restart marker ends the data.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .image_header import MOST_PARTS, Header, TruncatedImageError, UnsupportedImageError, read_orientation

BEGIN, END, SCAN = 0xD8, 0xD9, 0xDA
NOTHING = 0  # the kind of bytes that belong to no segment
BARE = frozenset({0x01, *range(0xD0, 0xDA)})  # markers without a length: TEM, RST0 to RST7, SOI, EOI
TABLES = frozenset({0xC4, 0xDB, 0xDD})  # DHT, DQT, DRI
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15, without DHT, JPG and DAC
READABLE = frozenset({0xC0, 0xC1, 0xC2})  # Huffman coding: baseline, extended, progressive
IGNORED = frozenset({NOTHING, 0x01, *range(0xD0, 0xD8), 0xCC, 0xDC, 0xFE, *range(0xE0, 0xF0)})  # DAC, DNL, COM, APPn
COLORS = ((0xE0, b"JFIF\0"), (0xEE, b"Adobe"))  # application segments from which the decoder learns the color space
MOST_SCANS = 100  # a progressive picture has about ten; each one costs the decoder a pass over the whole picture
# In a scan, 0xFF before 0 is data, before another 0xFF it is fill, and before 0xD0 to 0xD7 it is a restart marker.
SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
MARKER = re.compile(rb"\xff[^\x00\xff]")
FILL = re.compile(rb"\xff*(?=\xff)")  # before a marker, any number of bytes 0xFF may stand
DAMAGED = "the JPEG's structure is damaged"


@dataclass(frozen=True)
class Segment:
    """``data[start:stop]`` of a picture: a marker with what belongs to it; of a scan also the compressed data.

    kind  the second byte of the marker, or ``NOTHING``
    """

    kind: int
    start: int
    stop: int


class MarkerReader:
    """Reads the segments behind the start marker of one picture. The data may grow between two calls."""

    def __init__(self) -> None:
        self._at = 2
        self._scan: int | None = None  # where the scan that is being read begins

    def read(self, data: bytes | bytearray) -> Segment | None:
        """The next segment; None if more data is needed. Raises ValueError for an impossible length."""
        if self._scan is None:
            segment = self._read_marker(data)
            if segment is None or segment.kind != SCAN:
                return segment
            self._scan = segment.start
        found = SCAN_END.search(data, self._at)
        if found is None:
            self._at = max(self._at, len(data) - 1)
            return None
        segment = Segment(SCAN, self._scan, found.start())
        self._at, self._scan = found.start(), None
        return segment

    def _read_marker(self, data: bytes | bytearray) -> Segment | None:
        """The next segment, of a scan only its header."""
        fill = FILL.match(data, self._at)
        at = self._at = fill.end() if fill else self._at
        if at + 2 > len(data):
            return None
        kind = data[at + 1]
        if data[at] != 0xFF or kind == 0:
            found = MARKER.search(data, at)
            self._at = found.start() if found else max(at + 1, len(data) - 1)
            return Segment(NOTHING, at, self._at)
        length = 0
        if kind not in BARE:
            length = int.from_bytes(data[at + 2 : at + 4], "big")
            if length < 2 and at + 4 <= len(data):
                raise ValueError(DAMAGED)
            if at + 4 > len(data) or at + 2 + length > len(data):
                return None
        self._at = at + 2 + length
        return Segment(kind, at, self._at)


def parse_jpeg(data: bytes) -> Header:
    """Read the header of a JPEG file. Raises ValueError if it is damaged, or of a kind that is not supported."""
    reader, size, orientation, scans = MarkerReader(), None, 1, 0
    kept = [data[:2]]
    for _ in range(MOST_PARTS):
        segment = reader.read(data)
        if segment is None:
            raise TruncatedImageError
        kind, part = segment.kind, data[segment.start : segment.stop]
        if kind in FRAMES and size is None:
            size = _read_size(kind, part)
        elif kind == SCAN and size is not None and scans < MOST_SCANS:
            scans += 1
        elif kind == END and size is not None and scans:
            return Header(*size, b"".join([*kept, part]), "JPEG", orientation)
        elif kind in IGNORED:
            if kind == 0xE1 and part[4:10] == b"Exif\0\0" and orientation == 1:
                orientation = read_orientation(part[4:])
            if not any(kind == color and part[4:].startswith(name) for color, name in COLORS):
                continue
        elif kind not in TABLES:  # also a second frame header, a scan without one, or too many scans
            break
        kept.append(part)
    raise ValueError(DAMAGED)


def _read_size(kind: int, part: bytes) -> tuple[int, int]:
    """Width and height in a frame header: marker, length, bits, height, width, components of three bytes each."""
    if kind not in READABLE or part[4:5] != b"\x08":
        raise UnsupportedImageError(
            "a JPEG with lossless, arithmetic or 12-bit coding is not supported: save it as an ordinary JPEG"
        )
    if len(part) < 10 or part[9] not in (1, 3, 4) or len(part) != 10 + 3 * part[9]:
        raise ValueError(DAMAGED)
    return int.from_bytes(part[7:9], "big"), int.from_bytes(part[5:7], "big")
