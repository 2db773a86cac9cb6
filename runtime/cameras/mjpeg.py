"""Splits a stream of JPEG pictures back to back into pictures, by their markers (ITU-T T.81, annex B)."""

from __future__ import annotations

import re

LARGEST = 64_000_000  # bytes of one picture: no camera sends larger ones
START = b"\xff\xd8\xff"
SCAN, END, BEGIN = 0xDA, 0xD9, 0xD8
# In a scan, 0xFF before 0 is data, before another 0xFF it is fill, and before 0xD0 to 0xD7 it is a restart marker.
MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length


class JpegSplitter:
    """Accepts bytes as they arrive, and returns complete pictures. Bytes between pictures, such as multipart headers,
    are skipped.

    A picture that is incomplete or has a broken structure is dropped and counted in ``broken``; the splitter then
    continues with the next picture. A thumbnail inside a picture's EXIF data stays part of the picture, because
    segments are skipped by their length.
    """

    def __init__(self) -> None:
        self.broken = 0
        self._data = bytearray()
        self._at = 0  # how many bytes of the first picture were examined
        self._scanning = False

    def feed(self, data: bytes) -> list[bytes]:
        """Return the pictures that are complete with ``data``, each from its start marker to its end marker."""
        self._data += data
        pictures = []
        while (length := self._length()) is not None:
            if length:
                pictures.append(bytes(self._data[:length]))
                self._drop(length)
        return pictures

    def _length(self) -> int | None:
        """Return the length of the first picture; None if more data is needed, 0 if a broken picture was dropped."""
        if self._at == 0:
            start = self._data.find(START)
            if start < 0:
                del self._data[: max(0, len(self._data) - len(START) + 1)]
                return None
            self._drop(start)
            self._at = 2
        if len(self._data) > LARGEST:
            return self._broken(2)
        return self._scan() if self._scanning else self._segment()

    def _segment(self) -> int | None:
        while self._at + 4 <= len(self._data):
            mark, kind = self._data[self._at], self._data[self._at + 1]
            if mark != 0xFF or kind == BEGIN:
                return self._broken(self._at)
            if kind == END:
                return self._at + 2
            if kind == 0xFF:
                self._at += 1
            elif kind in BARE:
                self._at += 2
            else:
                length = int.from_bytes(self._data[self._at + 2 : self._at + 4], "big")
                if length < 2:
                    return self._broken(self._at)
                self._at += 2 + length
                if kind == SCAN:
                    self._scanning = True
                    return self._scan()
        # The end marker may be the last two bytes of the data.
        return self._at + 2 if self._data[self._at : self._at + 2] == bytes([0xFF, END]) else None

    def _scan(self) -> int | None:
        found = MARKER.search(self._data, self._at)
        if found is None:
            self._at = max(self._at, len(self._data) - 1)
            return None
        self._at, kind = found.start(), self._data[found.start() + 1]
        if kind == END:
            return self._at + 2
        if kind == BEGIN:
            return self._broken(self._at)
        self._scanning = False  # a progressive picture's next tables or scan
        return self._segment()

    def _broken(self, length: int) -> int:
        self.broken += 1
        self._drop(length)
        return 0

    def _drop(self, length: int) -> None:
        del self._data[:length]
        self._at, self._scanning = 0, False
