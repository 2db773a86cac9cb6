"""The quality of a face does not depend on the recognizer's crop."""

import numpy as np
import pytest

from rkface.calibration.collect import collect_faces
from rkface.runtime.core.crop_template import ARCFACE_112, TEMPLATES
from rkface.runtime.vision.bare_onnx import open_detector
from rkface.runtime.vision.detect import Detector

pytestmark = pytest.mark.slow

OTHERS = [name for name in TEMPLATES if name != ARCFACE_112.name]


@pytest.fixture(scope="module")
def photos(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for number in (1, 4, 10, 20, 40):
        (folder / f"img{number}.jpg").symlink_to(shared / f"data/people/img{number}.jpg")
    return folder


@pytest.fixture(scope="module")
def detector(shared):
    return Detector(*open_detector(shared / "models/scrfd_2.5g_kps.onnx"))


@pytest.mark.parametrize("name", OTHERS)
def test_faces_are_as_good_in_any_crop(photos, detector, name):
    """The measurements are those of the photo, so they are equal, and so are what is left out and why."""
    usual, other = (collect_faces(photos, detector, template) for template in (ARCFACE_112, TEMPLATES[name]))
    assert len(usual.candidates) >= 5 and usual.skipped == other.skipped
    assert [face.quality for face in usual.candidates] == [face.quality for face in other.candidates]
    assert [face.appearance for face in usual.candidates] == [face.appearance for face in other.candidates]
    shape = (TEMPLATES[name].height, TEMPLATES[name].width, 3)
    assert all(face.crop.shape == shape and face.crop.dtype == np.uint8 for face in other.candidates)
