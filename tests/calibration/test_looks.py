"""Photos on their side and close-ups in calibration; photos that show a face plainly stay what they are."""

import cv2
import numpy as np
import pytest

from rkface.calibration.collect import SEVERAL, WHICH_WAY_UP, Collection, collect_faces, find_labeled_face
from rkface.runtime.core.crop_template import ARCFACE_112
from rkface.runtime.core.faces import Faces
from rkface.runtime.vision.align import TEMPLATE, align
from rkface.runtime.vision.bare_onnx import open_detector
from rkface.runtime.vision.detect import Detector
from rkface.runtime.vision.detectors.scrfd import SCRFD
from rkface.runtime.vision.image import read_image
from rkface.runtime.vision.photo import find_faces, turn_image
from rkface.runtime.vision.photo_files import find_images
from rkface.runtime.vision.quality import roll_of


@pytest.fixture(scope="module")
def real(shared):
    return Detector(*open_detector(shared / "models/scrfd_500m_kps.onnx"))


def check_plain_crops(detector, folder):
    """Every face that one look shows plainly has the same crop, to the bit, in a photo that is searched again."""
    checked = 0
    for path in find_images(folder):
        image = read_image(path)
        before, after = detector.detect(image, 0.5), find_faces(detector, image, 0.5)
        for score, landmarks in zip(before.scores, before.landmarks, strict=True):
            if score >= detector.family.plain and abs(roll_of(landmarks)) <= 45:
                crops = [align(after.image, one).tobytes() for one in after.faces.landmarks]
                assert align(image, landmarks).tobytes() in crops, path.name
                checked += 1
    return checked


def test_plain_faces_of_people_stay_the_same_to_the_bit(real, shared):
    assert check_plain_crops(real, shared / "data/people") >= 40


def test_plain_faces_of_the_demo_pack_stay_the_same_to_the_bit(tmp_path):
    from rkface.convert.demo.render import EVALUATE, write_photos
    from rkface.convert.packs.pack import DEMO

    write_photos(tmp_path, [*EVALUATE[3:4], *EVALUATE[8:10]], 2, seed=0)
    assert check_plain_crops(Detector(*open_detector(DEMO / "detector.onnx")), tmp_path) >= 5


def test_turned_photos_and_close_ups_calibrate_with_upright_faces(real, shared, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    image = read_image(shared / "data/people/img1.jpg")
    faces = real.detect(image)
    x1, y1, x2, y2 = np.maximum(faces.boxes[faces.largest()], 0).astype(int)
    for turn in (0, 90, 180, 270):
        cv2.imwrite(str(folder / f"{turn}.png"), turn_image(image, turn))
    cv2.imwrite(str(folder / "close.png"), image[y1:y2, x1:x2])
    found = collect_faces(folder, real, ARCFACE_112)
    by_name = {face.name: face for face in found.candidates}
    assert {name: face.turned for name, face in by_name.items()} == {
        "0.png": 0, "90.png": 270, "180.png": 180, "270.png": 90, "close.png": 0
    }  # fmt: skip
    assert by_name["close.png"].again and not by_name["0.png"].again
    for name in ("90.png", "180.png", "270.png"):
        assert abs(by_name[name].crop.astype(int) - by_name["0.png"].crop).mean() < 10, "the same face, upright"
    assert found.notes == (
        "photos that were turned the right way up: 3",
        "photos with a face found only at a second look, close up: 1",
    )
    one_look = collect_faces(folder, real, ARCFACE_112, one_look=True)
    assert not any(face.turned for face in one_look.candidates) and not one_look.notes


class Scripted:
    """Finds the same upright faces in a photo however it is turned: (score, x, width)."""

    nms_iou, threshold, family = 0.4, 0.5, SCRFD

    def __init__(self, *faces):
        self.faces = faces

    def detect(self, image, threshold):
        boxes = np.float32([(x, 5, x + width, 5 + width) for _, x, width in self.faces])
        landmarks = np.float32([TEMPLATE * (width / 112) + (x, 5) for _, x, width in self.faces])
        return Faces(boxes, np.float32([score for score, *_ in self.faces]), landmarks)

    detect_with_margin = detect


def collect(tmp_path, *faces):
    image = np.random.default_rng(0).integers(6, 249, (400, 400, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "photo.png"), image)
    return collect_faces(tmp_path, Scripted(*faces), ARCFACE_112)


def test_a_photo_that_may_be_either_way_up_is_left_out_with_the_reason(tmp_path):
    found = collect(tmp_path, (0.7, 5, 100))
    assert not found.candidates and [skip.reason for skip in found.skipped] == [WHICH_WAY_UP]
    assert len(found.photos) == 1 and found.notes[0].endswith(": 1") and "left out" in found.notes[0]


def test_of_several_faces_only_a_much_larger_one_is_that_of_a_label(tmp_path):
    found = collect(tmp_path, (0.9, 5, 100), (0.9, 200, 60))
    assert len(found.candidates) == 2, "both calibrate"
    assert [one.reason for one in found.nameless] == [SEVERAL]
    assert not collect(tmp_path, (0.9, 5, 100), (0.9, 200, 45)).nameless
    unusable = collect(tmp_path, (0.9, 5, 30), (0.9, 200, 12))
    assert [one.reason for one in unusable.nameless] == ["face too small"]


def test_the_labeled_face_is_the_largest_and_without_rival():
    for widths, expected in (((50,), 0), ((40, 100), 1), ((49, 100), 1), ((50, 100), None), ((100, 100), None)):
        boxes = np.float32([(0, 0, width, width) for width in widths])
        faces = Faces(boxes, np.ones(len(widths), np.float32), np.zeros((len(widths), 5, 2), np.float32))
        assert find_labeled_face(faces) == expected
    assert not Collection(None, (), (), ()).notes
