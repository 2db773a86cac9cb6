"""Read photos. Their headers are checked first, and a process of its own decodes them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, WorkError
from ..core.files import read_file
from ..core.paths import as_path
from .decoder import DecodeError, decode
from .decoder_worker import decode_opencv
from .image_formats import parse_header
from .image_header import Header, TruncatedImageError, UnsupportedImageError

# Enough for a photo of a 108-megapixel phone, and a limit for small files that would unpack to gigabytes.
MAX_PIXELS = 128_000_000
MAX_BYTES = 4 * MAX_PIXELS + 1_000_000  # an uncompressed file with an alpha channel
MAX_FRAME_PIXELS = 40_000_000  # of a picture from a camera; 8K has 33 million


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """Read a photo, turned the right way up.

    Unlike ``cv2.imread``, it says why a file cannot be read, refuses a truncated file, and survives a damaged file that
    crashes the decoder: a process of its own decodes it, with limits on memory and time. The EXIF orientation is
    applied. Gray, 16-bit and CMYK photos are converted to three 8-bit channels. An alpha channel is dropped. Of an
    animation, the first picture is read.

    Args:
        path: A JPEG, PNG, WebP or BMP file of at most 128 megapixels; with pillow-heif installed
            (``pip install 'rkface[heif]'``), also HEIC.

    Returns:
        H×W×3 uint8, BGR.

    Raises:
        InputError: The file is missing, not a file, empty, truncated, too large, or cannot be decoded.
        WorkError: There is too little memory, or the process that decodes photos cannot be started.
    """
    return read_photo(path).image


class ReadPhoto(NamedTuple):
    """A photo's file, which was read once: its ``content``, and the ``image`` in it (H×W×3 uint8 BGR). They and the
    digest belong together, although the file may be replaced at any time."""

    path: Path
    image: NDArray[np.uint8]
    content: bytes

    @property
    def sha256(self) -> str:
        """The SHA-256 of the file, as 64 hexadecimal digits."""
        return hashlib.sha256(self.content).hexdigest()


def read_photo(path: str | Path) -> ReadPhoto:
    """As ``read_image``, with what was in the file."""
    return decode_photo(open_photo(path))


def decode_image(data: bytes, name: str, most_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode the content of an image file, like ``read_image``. Error messages call it ``name``."""
    return _decode(_parse(data, name, most_pixels), name)


class OpenedPhoto(NamedTuple):
    """A photo whose file was read, and its ``content``, but not decoded."""

    path: Path
    header: Header
    content: bytes

    @property
    def pixels(self) -> int:
        return self.header.width * self.header.height


def open_photo(path: str | Path) -> OpenedPhoto:
    """Read the file of a photo and check its header: the first half of ``read_photo``, which raises the same."""
    path = as_path(path, "a photo's path")
    content = read_image_file(path)
    return OpenedPhoto(path, _parse(content, str(path), MAX_PIXELS), content)


def decode_photo(photo: OpenedPhoto) -> ReadPhoto:
    """Decode a photo: the second half of ``read_photo``. Threads may call this."""
    return ReadPhoto(photo.path, _decode(photo.header, str(photo.path)), photo.content)


def _decode(header: Header, name: str) -> NDArray[np.uint8]:
    try:
        return _upright(decode(header), header.orientation)
    except DecodeError as error:
        raise InputError(f"{name}: {error}") from error.__cause__
    except WorkError as error:
        raise WorkError(f"{name}: {error}") from error
    except (MemoryError, cv2.error):
        raise WorkError(f"{name}: there is not enough memory to decode the image") from None


def decode_frame(data: bytes, name: str) -> NDArray[np.uint8]:
    """Decode one picture of a camera that sends JPEGs, like ``decode_image``, but in this process.

    A process of its own would cost each frame some milliseconds. Instead, libjpeg-turbo only gets baseline and
    progressive JPEGs without metadata whose markers were checked, of at most ``MAX_FRAME_PIXELS``.
    """
    return _decode_jpeg(_parse(data, name, MAX_FRAME_PIXELS), name)


def reduction(width: int, height: int, least: int) -> int:
    """By what a picture of ``width``×``height`` can be divided, so that its longer side has ``least`` pixels or more:
    4, 2 or 1."""
    return next((by for by in (4, 2) if max(width, height) // by >= least), 1)


def decode_reduced_frame(data: bytes, name: str, least: int) -> tuple[NDArray[np.uint8], tuple[int, int]] | None:
    """Like ``decode_frame``, at half or a quarter of the size, if the longer side then has ``least`` pixels or more.

    Returns the image, and width and height in full size; None if the picture is too small for that.
    """
    header = _parse(data, name, MAX_FRAME_PIXELS)
    by = reduction(header.width, header.height, least)
    if by == 1:
        return None
    image = _decode_jpeg(header, name, by)
    return image, header.upright_size


def _decode_jpeg(header: Header, name: str, by: int = 1) -> NDArray[np.uint8]:
    if header.kind != "JPEG":
        raise InputError(f"{name}: not a JPEG")
    try:
        image = decode_opencv(header.content, by)
    except cv2.error:
        image = None
    if image is None:
        raise InputError(f"{name}: the image is damaged and cannot be decoded")
    return _upright(image, header.orientation)


def _parse(data: bytes, name: str, most_pixels: int) -> Header:
    try:
        header = parse_header(data)
    except TruncatedImageError:
        raise InputError(f"{name}: the image is truncated ({len(data)} bytes): copy it again") from None
    except UnsupportedImageError as error:
        raise InputError(f"{name}: {error}") from None
    except ValueError as error:
        raise InputError(f"{name}: {error}: copy it again") from None
    except MemoryError:
        raise WorkError(f"{name}: there is not enough memory to read this image") from None
    width, height = header.width, header.height
    if width * height > most_pixels:
        raise InputError(
            f"{name}: {width}×{height} pixels is more than the limit of {most_pixels // 1_000_000} MP: make it smaller"
        )
    return header


def read_image_file(path: Path) -> bytes:
    """The content of a photo's file, or of a pipe (``<(…)`` in a shell). Raises as ``read_image``."""
    try:
        data = read_file(path, MAX_BYTES, "a photo")
    except MemoryError:
        raise WorkError(f"{path}: there is not enough memory to read this file") from None
    if not data:
        raise InputError(f"{path}: the file is empty")
    return data


def _upright(image: NDArray[Any], orientation: int) -> NDArray[np.uint8]:
    """Undo the EXIF 2.3 orientation: 5 to 8 are stored with rows and columns swapped; the others are mirrored."""
    if orientation > 4:
        image = cv2.transpose(image)
    mirror = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)  # OpenCV's flip codes; -1 flips both axes
    return np.asarray(image if mirror is None else cv2.flip(image, mirror), np.uint8)
