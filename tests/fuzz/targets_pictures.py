"""Readers of pictures: photos of all formats, HEIC, JPEG headers, and streams of JPEGs."""

import struct

import cv2
import numpy as np
from fuzz_target import Target

from rkface.runtime.cameras.mjpeg import JpegSplitter
from rkface.runtime.core.crop_template import ARCFACE_112, TEMPLATES, CropTemplate
from rkface.runtime.core.errors import InputError
from rkface.runtime.enrollment.stored_crop import decode_crop, encode_crop
from rkface.runtime.vision.image import decode_frame, decode_image
from rkface.runtime.vision.image_formats import parse_header

PIXELS = 1_000_000  # at most, so that each input stays within the limits of a target
SHADES = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
IMAGE = np.kron(SHADES, np.ones((4, 4, 1), np.uint8))
JPEG = ((), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 1))


def encode(suffix: str, image: np.ndarray, *options: int) -> bytes:
    return cv2.imencode(suffix, image, options)[1].tobytes()


def jpegs() -> list[bytes]:
    found = [encode(".jpg", IMAGE, *options) for options in JPEG] + [encode(".jpg", IMAGE[..., 0])]
    whole = found[0]
    exif = b"Exif\0\0MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x112, 3, 1, 6, 0, 0)
    return [*found, whole[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + whole[2:]]


def photos() -> list[bytes]:
    transparent = np.dstack([IMAGE, IMAGE[..., 0]])
    pngs = [encode(".png", one) for one in (IMAGE, IMAGE[..., 0], transparent, IMAGE.astype(np.uint16) * 257)]
    lossy, lossless = (cv2.IMWRITE_WEBP_QUALITY, 80), (cv2.IMWRITE_WEBP_QUALITY, 101)
    webps = [encode(".webp", one, *how) for one in (IMAGE, transparent) for how in (lossy, lossless)]
    return [*jpegs(), *pngs, *webps, encode(".bmp", IMAGE), encode(".bmp", IMAGE[..., 0])]


def read_photo(data: bytes) -> None:
    image = decode_image(data, "photo", PIXELS)
    assert image.dtype == np.uint8 and image.shape[2] == 3 and image.shape[0] * image.shape[1] <= PIXELS


def read_frame(data: bytes) -> None:
    """In this process, as pictures of cameras are decoded: the picture has the size that the markers say."""
    header = parse_header_of(data)
    if header.width * header.height > PIXELS or header.kind != "JPEG":
        raise InputError("too large, or not a JPEG")
    image = decode_frame(data, "frame")
    assert sorted(image.shape[:2]) == sorted((header.width, header.height))


def parse_header_of(data: bytes):
    try:
        return parse_header(data)
    except ValueError as error:
        raise InputError(str(error)) from None


def split_stream(data: bytes) -> None:
    """The pictures do not depend on how the stream arrives, and each one begins and ends with its markers."""
    at_once, in_pieces = JpegSplitter(), JpegSplitter()
    pictures = at_once.feed(data)
    step = 1 + len(data) // 7
    found = [one for start in range(0, len(data), step) for one in in_pieces.feed(data[start : start + step])]
    assert found == pictures and in_pieces.broken == at_once.broken
    assert all(one[:2] == b"\xff\xd8" and one[-2:] == b"\xff\xd9" for one in pictures)


def heics() -> list[bytes]:
    """HEIC photos if pillow-heif is installed, and a file with nothing but the boxes that say its size."""
    boxes = struct.pack(">I4sIII", 20, b"ispe", 0, 64, 48)
    for kind, head in ((b"ipco", b""), (b"iprp", b""), (b"meta", bytes(4))):
        boxes = struct.pack(">I4s", 8 + len(head) + len(boxes), kind) + head + boxes
    bare = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + boxes
    try:
        import io

        import pillow_heif
    except ImportError:
        return [bare]
    file = io.BytesIO()
    large = cv2.resize(IMAGE, (64, 64), interpolation=cv2.INTER_CUBIC)
    pillow_heif.from_bytes("BGR", (64, 64), large.tobytes()).save(file, quality=50)
    return [bare, file.getvalue()]


def stored_faces() -> list[bytes]:
    """Aligned faces as a gallery keeps them, in the crops of several recognizers."""
    small = CropTemplate("custom", 32, 40, ((8, 10), (24, 10), (16, 18), (10, 30), (22, 30)))
    crops = [small, ARCFACE_112, TEMPLATES["dlib-150"]]
    return [encode_crop(cv2.resize(IMAGE, (one.width, one.height)), one) for one in crops]


def read_stored_face(data: bytes) -> None:
    face = decode_crop(data, ARCFACE_112)
    assert face is None or (face.shape == (112, 112, 3) and face.dtype == np.uint8)


def header_seeds() -> list[bytes]:
    return [*photos(), *heics()]


TARGETS = (
    Target("picture", read_photo, photos),
    Target("picture-header", parse_header_of, header_seeds, mutations=2000),
    Target("camera-frame", read_frame, jpegs, mutations=1000),
    Target("camera-stream", split_stream, lambda: [b"--frame\r\n\r\n".join(jpegs()), b"".join(jpegs())]),
    Target("heic", read_photo, heics, mutations=100),
    Target("stored-face", read_stored_face, stored_faces),
)
