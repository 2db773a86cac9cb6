"""Splits a stream of JPEG pictures back to back into pictures, by their markers (ITU-T T.81, annex B)."""

from __future__ import annotations

from ..vision.jpeg import BEGIN, END, NOTHING, MarkerReader

LARGEST = 64_000_000  # bytes of one picture: no camera sends larger ones
START = b"\xff\xd8\xff"


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
        self._reader: MarkerReader | None = None  # of the first picture

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
        if self._reader is None:
            start = self._data.find(START)
            if start < 0:
                del self._data[: max(0, len(self._data) - len(START) + 1)]
                return None
            self._drop(start)
            self._reader = MarkerReader()
        if len(self._data) > LARGEST:
            return self._broken(2)
        try:
            while segment := self._reader.read(self._data):
                if segment.kind == END:
                    return segment.stop
                if segment.kind in (BEGIN, NOTHING):  # bytes are missing before it
                    return self._broken(segment.start)
        except ValueError:
            return self._broken(2)
        return None

    def _broken(self, length: int) -> int:
        self.broken += 1
        self._drop(length)
        return 0

    def _drop(self, length: int) -> None:
        del self._data[:length]
        self._reader = None
