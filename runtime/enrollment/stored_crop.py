"""Aligned faces as they are stored beside their embeddings, so that another model can embed them again: PNG files.

A recognizer may take another crop than the one that a face was stored in. So the file says which crop it is, in a text
chunk, unless it is ArcFace's 112×112, as in all files of older versions.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import asdict

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.crop_template import ARCFACE_112, TEMPLATES, CropTemplate
from ..core.errors import InputError
from ..core.files import parse_json
from ..core.manifest_reader import read_crop
from ..vision.align import align
from ..vision.image import decode_image

CROP_PIXELS = 1_100_000  # of the largest crop, and a little more
HEADER = 33  # bytes of a PNG file before the second chunk: the signature and IHDR (PNG specification, chapter 5)
KEYWORD = b"rkface crop\0"
MOST_TEXT = 4096  # bytes of our chunk: five points and a name need a tenth of it


def encode_crop(crop: NDArray[np.uint8], template: CropTemplate) -> bytes:
    """``crop`` (H×W×3 uint8 BGR), aligned as ``template`` wants it, as a PNG file: without loss, so that the same model
    embeds it the same again."""
    data = cv2.imencode(".png", crop)[1].tobytes()
    if template.same_crop(ARCFACE_112):
        return data
    text = b"tEXt" + KEYWORD + json.dumps(asdict(template)).encode("ascii")
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    return data[:HEADER] + chunk + data[HEADER:]


def decode_crop(data: bytes, template: CropTemplate) -> NDArray[np.uint8] | None:
    """The face in the PNG file ``data`` as ``template`` wants it, uint8 BGR. None if the file is damaged, too large, or
    of an unknown crop: a gallery may come from somebody else.

    A face that was stored in another crop is moved and scaled. What the stored crop does not show is black.
    """
    found = read_stored_crop(data)
    if found is None:
        return None
    crop, made = found
    return crop if made.same_crop(template) else align(crop, np.array(made.points), template)


def read_stored_crop(data: bytes) -> tuple[NDArray[np.uint8], CropTemplate] | None:
    """The image in the PNG file ``data``, as it was stored, and its crop; None as for ``decode_crop``."""
    try:
        image = decode_image(data, "crop", CROP_PIXELS)
        made = _read_template(data) or _template_of_size(image.shape[1], image.shape[0])
    except (InputError, KeyError, TypeError, ValueError, OverflowError):
        return None
    return (image, made) if made and image.shape[:2] == (made.height, made.width) else None


def _read_template(data: bytes) -> CropTemplate | None:
    """The template in our text chunk; None without one."""
    start = HEADER + 8
    if data[HEADER + 4 : start + len(KEYWORD)] != b"tEXt" + KEYWORD:
        return None
    (length,) = struct.unpack_from(">I", data, HEADER)
    if length > MOST_TEXT:
        raise ValueError("the chunk is too long")
    return read_crop(parse_json(data[start + len(KEYWORD) : start + length].decode("ascii")))


def _template_of_size(width: int, height: int) -> CropTemplate | None:
    return next((one for one in TEMPLATES.values() if (one.width, one.height) == (width, height)), None)
