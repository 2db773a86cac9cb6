"""Aligned faces that were stored for one recognizer serve another one, whatever crop it takes."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from rkface.runtime.core.crop_template import ARCFACE_112, TEMPLATES, CropTemplate
from rkface.runtime.enrollment.stored_crop import HEADER, KEYWORD, decode_crop, encode_crop, read_stored_crop
from rkface.runtime.vision.align import align

OWN = CropTemplate("custom", 112, 112, ((40.0, 40.0), (80.0, 41.0), (60.0, 60.0), (45.0, 85.0), (75.0, 85.0)))
CROPS = [*TEMPLATES.values(), OWN]
LANDMARKS = np.array(ARCFACE_112.points) * 2 + 100


@pytest.fixture
def image():
    y, x = np.mgrid[0:480, 0:480]
    return np.dstack([127 + 60 * np.sin(x / 19 + k) + 60 * np.cos(y / 23 - k) for k in range(3)]).astype(np.uint8)


@pytest.mark.parametrize("template", CROPS, ids=lambda one: one.name)
def test_a_stored_face_comes_back_without_loss_and_says_its_crop(image, template):
    crop = align(image, LANDMARKS, template)
    data = encode_crop(crop, template)
    np.testing.assert_array_equal(decode_crop(data, template), crop)
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(data, "u1"), cv2.IMREAD_COLOR), crop)  # any viewer
    assert read_stored_crop(data)[1].same_crop(template)


def test_the_file_of_the_first_crop_is_what_it_always_was(image):
    crop = align(image, LANDMARKS)
    assert encode_crop(crop, ARCFACE_112) == cv2.imencode(".png", crop)[1].tobytes()


@pytest.mark.parametrize("wanted", CROPS, ids=lambda one: one.name)
@pytest.mark.parametrize("made", CROPS, ids=lambda one: one.name)
def test_a_face_that_was_stored_in_another_crop_lies_right(image, made, wanted):
    """Where both crops show the face, they agree: two interpolations of a smooth picture differ by a few steps of 255;
    a shift by one pixel would be up to 6 in the mean."""
    moved = decode_crop(encode_crop(align(image, LANDMARKS, made), made), wanted).astype(int)
    direct = align(image, LANDMARKS, wanted).astype(int)
    seen = moved.max(axis=2) > 0
    seen = cv2.erode(seen.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert seen.mean() > 0.5
    assert np.abs(moved - direct)[seen].mean() < 2 + 2 * (made is OWN) + 2 * (wanted is OWN)


def with_chunk(data, text):
    body = b"tEXt" + KEYWORD + text
    return data[:HEADER] + struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)) + data[HEADER:]


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"null", b'{"name": "x"}', b"\xff",
     b'{"name":"x","width":1e9,"height":1,"points":[]}', b" " * 9000,
     b'{"name":"custom","width":150,"height":150,"points":[[9,9],[60,9],[30,30],[9,70],[60,70]]}'],
)  # fmt: skip
def test_a_file_whose_crop_is_unknown_or_not_its_own_is_no_face(image, text):
    data = encode_crop(align(image, LANDMARKS), ARCFACE_112)
    assert decode_crop(with_chunk(data, text), ARCFACE_112) is None


def test_another_file_is_not_a_face():
    for image in (np.zeros((100, 112, 3), np.uint8), np.zeros((8, 8, 3), np.uint8)):
        assert decode_crop(cv2.imencode(".png", image)[1].tobytes(), ARCFACE_112) is None
    assert decode_crop(b"nonsense", ARCFACE_112) is None
