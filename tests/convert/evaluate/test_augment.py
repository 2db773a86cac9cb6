"""Changed faces to evaluate on: deterministic, of the right size, evenly mixed, and with real pixels in the corners."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from rkface.convert.evaluate.augment import ANGLE, CHANGES, augment_faces, turn_face
from rkface.runtime.core.crop_template import TEMPLATES
from rkface.runtime.core.faces import Faces
from rkface.runtime.vision.align import TEMPLATE, align
from rkface.runtime.vision.photo import turn_image

SIDE = 400
LANDMARKS = np.float32(TEMPLATE * 1.2 + 120)


@pytest.fixture
def photos(tmp_path):
    """Writes a bright photo for each of ``count`` faces, all turned by ``turned``, and returns the faces."""

    def write(count, template=TEMPLATES["arcface-112"], turned=0):
        faces = []
        for seed in range(count):
            random = np.random.default_rng(seed)
            coarse = random.integers(60, 250, (20, 20, 3)).astype(np.float32)
            image = np.clip(cv2.resize(coarse, (SIDE, SIDE)), 50, 250).astype(np.uint8)
            path = tmp_path / f"{turned}-{seed}.png"
            cv2.imwrite(str(path), turn_image(image, -turned % 360))
            found = Faces(np.float32([[120, 120, 260, 260]]), np.float32([0.9]), LANDMARKS[None])
            crop = align(image, LANDMARKS, template)
            faces.append(SimpleNamespace(photo=path, faces=found, turned=turned, crop=crop))
        return faces

    return write


@pytest.mark.parametrize("name", TEMPLATES)
def test_each_face_is_changed_once_and_every_change_is_as_frequent(photos, name):
    template = TEMPLATES[name]
    faces = photos(2 * len(CHANGES), template)
    found = augment_faces(faces, template, 10, 100)
    assert found.crops.shape == (len(faces), template.height, template.width, 3)
    assert sorted(found.origins) == list(range(len(faces))) and sorted(found.changes) == sorted([*CHANGES] * 2)
    for crop, origin in zip(found.crops, found.origins, strict=True):
        assert np.abs(crop[..., ::-1].astype(int) - faces[origin].crop).mean() > 0.5, "unchanged"
    np.testing.assert_array_equal(augment_faces(faces, template, 10, 100).crops, found.crops)


@pytest.mark.parametrize("count", [1, 7, 10, 13, 29])
def test_few_faces_are_changed_several_times_and_never_twice_in_the_same_way(photos, count):
    found = augment_faces(photos(count), TEMPLATES["arcface-112"], 60, 100)
    made = [*zip(found.origins, found.changes, strict=True)]
    assert len(made) == len({*made}) >= min(60, count * len(CHANGES))
    assert all(found.origins.count(face) == len(made) // count for face in range(count))


def test_there_are_never_more_than_asked_for_and_they_are_spread(photos):
    faces = photos(40)
    found = augment_faces(faces, TEMPLATES["arcface-112"], 5, 10)
    assert len(augment_faces(faces, TEMPLATES["arcface-112"], 60, 70).changes) == 70
    assert len(found.crops) == 10 and found.origins[0] == 0 and found.origins[-1] == 39
    assert len(augment_faces([], TEMPLATES["arcface-112"], 5, 10).crops) == 0


@pytest.mark.parametrize("turned", [0, 90])
def test_a_turned_face_has_the_pixels_of_the_photo_in_its_corners(photos, turned):
    template = TEMPLATES["arcface-112"]
    (face,) = photos(1, turned=turned)
    crop = turn_face(face, template, ANGLE)
    assert crop.min() >= 45, "a black corner"  # the photo is nowhere darker than 50
    for name in ("turned left", "narrow", "close"):
        assert CHANGES[name](face, template).min() >= 45, name
    # Turned back around the middle of the landmarks, it is the plain crop, but for interpolation.
    back = cv2.warpAffine(crop, cv2.getRotationMatrix2D(TEMPLATE.mean(axis=0).tolist(), ANGLE, 1), (112, 112))
    before, after = (np.abs(one.astype(int) - face.crop)[40:90, 36:76].mean() for one in (crop, back))
    assert after < 1 and before > 10  # gray values
