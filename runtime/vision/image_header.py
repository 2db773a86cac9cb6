"""What the header of an image file says, and the part of the file that a decoder needs."""

from __future__ import annotations

import struct
from dataclasses import dataclass

MOST_PARTS = 100_000  # chunks or segments of one file: reading more would take seconds, and no program writes them


@dataclass(frozen=True)
class Header:
    """What a header says.

    width, height  pixels, as stored. Of HEIC: of its largest picture, because only the decoder knows which one it uses.
    content        the file for the decoder. It is made of the parts that were checked and that the decoder needs:
                   without metadata, animation, thumbnails, and bytes that belong to nothing.
    orientation    EXIF orientation, 1 (upright) to 8
    kind           "JPEG", "PNG", "WebP", "BMP" or "HEIC"
    """

    width: int
    height: int
    content: bytes
    kind: str
    orientation: int = 1

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height in pixels after the orientation was applied (EXIF 2.3: 5 to 8 swap rows and columns)."""
        return (self.height, self.width) if self.orientation > 4 else (self.width, self.height)


class TruncatedImageError(ValueError):
    """The file ends before the image does."""


class UnsupportedImageError(ValueError):
    """The file may be good, but is not one that rkface reads. The message says what to do."""


def read_orientation(exif: bytes) -> int:
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
