"""Photos that are not upright, close-ups, and photos that could be either way up."""

import csv

import cv2
import numpy as np
import pytest

from rkface import Faces, open_bundle, read_image
from rkface.runtime.cli.main import main
from rkface.runtime.vision.align import TEMPLATE
from rkface.runtime.vision.detect import Detector
from rkface.runtime.vision.detectors.scrfd import SCRFD
from rkface.runtime.vision.detectors.yunet import YUNET
from rkface.runtime.vision.photo import TURNS, find_faces, turn_image
from rkface.runtime.vision.quality import measure, roll_of


def faces_at(*found):
    """Faces, each (score, roll in degrees, box)."""
    landmarks = []
    for _, roll, (x1, y1, x2, y2) in found:
        angle = np.radians(roll)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        landmarks.append((TEMPLATE - 56) @ turn.T * (x2 - x1) / 112 + ((x1 + x2) / 2, (y1 + y2) / 2))
    return Faces(
        np.float32([box for *_, box in found]).reshape(-1, 4),
        np.float32([score for score, *_ in found]),
        np.float32(landmarks).reshape(-1, 5, 2),
    )


PLAIN, CLEAR = SCRFD.plain, SCRFD.clear
INSIDE, BORDER = (20, 20, 60, 60), (0, 20, 60, 80)


class Scripted:
    """A detector that finds the scripted faces: by the corner that is white, which tells how the photo is turned."""

    nms_iou = 0.4

    def __init__(self, looks, margins=None, family=SCRFD):
        self.looks, self.margins, self.family, self.runs = looks, margins or {}, family, []

    def _find(self, kind, image, faces):
        turn = next(
            turn
            for turn, corner in {0: (0, 0), 90: (0, -1), 180: (-1, -1), 270: (-1, 0)}.items()
            if image[corner].any()
        )
        self.runs.append((kind, turn))
        return faces_at(*faces.get(turn, []))

    def detect(self, image, threshold):
        return self._find("plain", image, self.looks)

    def detect_with_margin(self, image, threshold):
        return self._find("margin", image, self.margins)


def search(looks, margins=None, family=SCRFD, threshold=0.5):
    image = np.zeros((90, 120, 3), np.uint8)
    image[0, 0] = 255
    detector = Scripted(looks, margins, family)
    return find_faces(detector, image, threshold), detector.runs


def test_a_plainly_upright_face_takes_one_look():
    for faces in ([(PLAIN, 0, INSIDE)], [(0.9, -40, INSIDE)], [(0.6, 170, INSIDE), (0.85, 3, (70, 20, 100, 50))]):
        photo, runs = search({0: faces})
        assert runs == [("plain", 0)] and photo.turned == 0 and photo.sure and not photo.notes
        assert len(photo.faces) == len(faces)


@pytest.mark.parametrize(
    ("scores", "turned", "sure"),  # of an upright face in the photo turned by 0, 90, 180 and 270 degrees
    [
        ((0.7, 0, 0, 0), 0, True),
        ((0.65, 0, 0.85, 0), 180, True),
        ((0, 0.7, 0, 0), 90, True),
        ((0, 0.6, 0, 0.75), 270, True),
        ((0.7, 0.5, 0.7 - CLEAR / 2, 0), 0, False),
        ((0.7, 0, 0.7 + CLEAR / 2, 0), 0, False),
        ((0, 0.7, 0, 0.69), 90, False),
        ((0, 0, 0.55, 0), 0, True),  # found only by another look, and hardly: a false face
        ((0, 0, 0, 0), 0, True),
    ],
)
def test_the_turn_with_the_best_upright_face_is_taken(scores, turned, sure):
    looks = {turn: [(score, 5, INSIDE)] for turn, score in zip(TURNS, scores, strict=True) if score}
    photo, _ = search(looks)
    assert (photo.turned, photo.sure) == (turned, sure)
    assert len(photo.faces) == bool(scores[TURNS.index(turned)] if turned or scores[0] else 0)
    assert photo.image.shape == ((120, 90, 3) if turned % 180 else (90, 120, 3))
    assert bool(photo.notes) == (bool(turned) or not sure)


def test_a_face_on_its_side_does_not_count_as_upright_however_sure_the_detector_is():
    photo, _ = search({0: [(0.95, 90, INSIDE)], 270: [(0.7, 0, INSIDE)]})
    assert photo.turned == 270 and photo.sure


def test_the_margin_is_for_photos_without_a_face_and_for_faces_at_the_border():
    photo, runs = search({}, {0: [(0.85, 0, BORDER)]})
    assert runs == [("plain", 0), ("margin", 0)] and len(photo.faces) == 1
    part = (10, 30, 40, 60)  # an eye of the face that fills the photo
    photo, runs = search({0: [(0.6, 0, BORDER), (0.55, 0, part)]}, {0: [(0.9, 0, (0, 15, 62, 82))]})
    assert runs == [("plain", 0), ("margin", 0)]
    assert photo.faces.scores.tolist() == [np.float32(0.9)], "each face once, without its parts"
    photo, _ = search({0: [(0.85, 0, BORDER)]}, {0: [(0.55, 0, (70, 20, 100, 50))]})
    assert len(photo.faces) == 1, "a doubtful face that only the margin shows is left out"


def test_a_plain_face_at_the_border_stays_as_the_first_look_shows_it():
    better = (2, 21, 61, 79)
    photo, _ = search({0: [(PLAIN, 0, BORDER)]}, {0: [(0.95, 0, better), (0.9, 0, (70, 20, 100, 50))]})
    assert photo.faces.boxes.tolist() == [[70, 20, 100, 50], list(BORDER)], "best score first"
    assert photo.again, "the other face is found only with the margin"
    photo, _ = search({0: [(PLAIN - 0.01, 0, BORDER)]}, {0: [(0.95, 0, better)]})
    assert photo.faces.boxes.tolist() == [list(better)] and not photo.again


def test_a_face_that_only_the_margin_shows_is_reported():
    assert search({}, {0: [(0.85, 0, BORDER)]})[0].again
    assert search({}, {180: [(0.85, 0, BORDER)]})[0].again
    assert not search({180: [(0.85, 0, INSIDE)]}, {0: [(0.55, 0, BORDER)]})[0].again
    assert not search({}, {})[0].again


@pytest.mark.parametrize("family", [SCRFD, YUNET], ids=lambda family: family.name)
def test_an_additional_look_must_be_surer_by_what_the_family_needs(family):
    least = family.threshold + family.again
    for score, found in ((least - 0.01, 0), (least + 0.01, 1)):
        for looks, margins in (({180: [(score, 0, INSIDE)]}, {}), ({}, {0: [(score, 0, INSIDE)]})):
            assert len(search(looks, margins, family, family.threshold)[0].faces) == found
    # A high threshold leaves turned photos their faces.
    assert len(search({180: [(0.97, 0, INSIDE)]}, {}, family, 0.95)[0].faces) == 1


def test_turning_back_is_the_opposite():
    image = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    for turn in TURNS:
        np.testing.assert_array_equal(turn_image(turn_image(image, turn), -turn % 360), image)


@pytest.mark.parametrize("roll", [0, 30, -45, 90, 179, -120])
def test_the_roll_of_a_face_is_measured_and_limited(roll):
    landmarks = faces_at((0.9, roll, (20, 20, 132, 132))).landmarks[0]
    assert roll_of(landmarks) == pytest.approx(roll, abs=0.5)
    crop = np.random.default_rng(1).integers(30, 220, (112, 112, 3)).astype(np.uint8)
    flaw = measure(crop, landmarks, 0.9).flaw()
    assert (flaw is not None and "on its side" in flaw.reason) == (abs(roll) > 60)


PEOPLE = ("img1.jpg", "img16.jpg", "img30.jpg", "img34.jpg")


@pytest.fixture(scope="module")
def real(real_bundle):
    with open_bundle(real_bundle, "reference") as pipeline:
        yield pipeline


@pytest.fixture(scope="module")
def portraits(real, shared):
    """Photos, each with the box and the embedding of its largest face."""
    found = []
    for name in PEOPLE:
        image = read_image(shared / "data/people" / name)
        faces = real.recognize(image)
        largest = faces.largest()
        found.append((image, faces.boxes[largest], faces.embeddings[largest]))
    return found


def best(photo):
    return photo.faces.embeddings[0]


@pytest.mark.slow
def test_real_faces_are_recognized_whichever_way_up_the_photo_is(real, portraits):
    for image, _, embedding in portraits:
        for turn in TURNS:
            photo = real.recognize_photo(turn_image(image, turn))
            assert (photo.turned, photo.sure) == (-turn % 360, True)
            assert float(best(photo) @ embedding) > 0.9


@pytest.mark.slow
def test_real_close_ups_are_found_and_recognized(real, portraits):
    for image, (x1, y1, x2, y2), embedding in portraits:
        for share in (1.2, 0.85):
            width, height, x, y = (x2 - x1) * share / 2, (y2 - y1) * share / 2, (x1 + x2) / 2, (y1 + y2) / 2
            tight = image[max(0, int(y - height)) : int(y + height), max(0, int(x - width)) : int(x + width)]
            assert not len(real.detect(tight)), "one look misses it"
            photo = real.recognize_photo(tight)
            assert len(photo.faces) == 1 and photo.turned == 0
            assert float(best(photo) @ embedding) > real.thresholds.match
            assert len(real.near().detect(tight)) == 1


@pytest.mark.slow
def test_the_commands_turn_photos_and_say_so(real_bundle, shared, portraits, tmp_path, capsys):
    upright, sideways = tmp_path / "upright.jpg", tmp_path / "sideways.jpg"
    cv2.imwrite(str(upright), portraits[0][0])
    cv2.imwrite(str(sideways), turn_image(portraits[0][0], 270))
    common = ["--bundle", str(real_bundle), "--backend", "reference"]
    assert main(["compare", *common, str(upright), str(sideways)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("same") and "turned by 90°" in err
    assert main(["detect", *common, str(sideways)]) == 0
    assert "turned by 90°" in capsys.readouterr().out
    gallery = ["--gallery", str(tmp_path / "gallery.sqlite")]
    assert main(["enroll", *common, *gallery, "Ada", str(upright), str(sideways)]) == 0
    assert "the photo was turned by 90°" in capsys.readouterr().out


def test_a_real_person_on_a_wrong_photo_can_still_be_enrolled(real_bundle, shared, tmp_path, capsys):
    """The photos are of a pair that master.csv says to be different people."""
    folder = shared / "data/people"
    with (folder / "master.csv").open() as file:
        different = [row for row in csv.DictReader(file) if row["Decision"] == "No"]
    right, wrong = (str(folder / different[0][column]) for column in ("file_x", "file_y"))
    common = ["enroll", "--bundle", str(real_bundle), "--backend", "reference", "--gallery", str(tmp_path / "g.sqlite")]
    assert main([*common, "Ada", right]) == 0
    assert main([*common, "Ada", wrong]) == 1
    assert "unlike the other samples" in capsys.readouterr().out
    assert main([*common, "Grace", wrong]) == 0
    assert main([*common, "Couple", str(folder / "couple.jpg")]) == 1
    assert "2 faces: which one is 'Couple'?" in capsys.readouterr().out


def test_a_margin_moves_no_coordinates(real, portraits):
    for image, box, _ in portraits:
        found = real._detector.detect_with_margin(image, 0.5)
        side = box[2] - box[0]
        assert abs(found.boxes[found.largest()] - box).max() < 0.1 * side


def test_detect_stays_one_look_at_the_picture_as_it_is(real, portraits):
    """What rkface and InsightFace's code agree on (tests/parity) is ``detect``."""
    image = turn_image(portraits[0][0], 180)
    plain = real.detect(image)
    name = real._detector._fitting(image.shape[1], image.shape[0])
    direct = Detector.detect(real._detector._shape(name), image, real.thresholds.detection)
    np.testing.assert_array_equal(plain.boxes, direct.boxes)
