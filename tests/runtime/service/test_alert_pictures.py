"""Pictures of alerts: which face is shown, that all others are blurred, and what happens when it is not certain."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from rkface.runtime.core.faces import Faces
from rkface.runtime.events import PictureLimits, PictureStore
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.match import Match
from rkface.runtime.inference.frames import Frame, Result
from rkface.runtime.service.alert_pictures import AlertPictures, encode_jpeg
from rkface.runtime.service.appearance_log import AppearanceLog
from rkface.runtime.service.problems import Problems
from rkface.runtime.service.publisher import Publisher
from rkface.runtime.service.settings import Keep
from rkface.runtime.tracking.appearance import Appearance
from rkface.runtime.tracking.watcher import VisibleFace

WIDTH, HEIGHT = 1600, 1200
ADA, STRANGER = (200, 300, 320, 440), (600, 300, 720, 440)
DOUBTFUL, UNTRACKED = (900, 200, 960, 280), (1200, 700, 1300, 820)


def picture():
    """Stripes of one pixel: whatever is blurred has none."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:, ::2] = 255
    return image


def result(*boxes, image=None):
    scores = np.linspace(0.9, 0.26, len(boxes), dtype=np.float32)
    faces = Faces(np.float32(boxes).reshape(-1, 4), scores, np.zeros((len(boxes), 5, 2), np.float32))
    return Result(Frame(picture() if image is None else image, source="door"), faces, None, 0, 0.0, 0.0)


def visible(box, appearance):
    return VisibleFace(tuple(np.divide(box, (WIDTH, HEIGHT, WIDTH, HEIGHT))), appearance, None, None)


def appearance(match=None):
    return Appearance("a-1", "door", "start", match, 0.4, 1.8e9, 1.8e9, 0.0, (0.0, 0.0, 1.0, 1.0), 0.9, 0.8, 5)


class Sink:
    def __init__(self, picture):
        self.picture, self.sent = picture, []

    def send(self, alert):
        self.sent.append(alert)


class World:
    """Everything around ``AlertPictures``."""

    def __init__(self, store, log):
        self.store, self.log, self.problems, self.faces, self.shots = store, log, Problems(), [], []
        watcher = SimpleNamespace(visible_faces=lambda: tuple(self.faces))
        self.pictures = AlertPictures(store, log, {"door": watcher}, lambda _: self.shots, self.problems)

    def alert(self, *kinds, match=None):
        sinks = [Sink(kind) for kind in kinds]
        self.pictures.send({"schema": "rkface.alert", "rule": "night"}, appearance(match), sinks)
        return [sink.sent[0]["picture"] for sink in sinks]

    def decode(self, reference):
        return cv2.imdecode(np.frombuffer(self.store.jpeg(reference["id"]), np.uint8), 1)


@pytest.fixture
def world(tmp_path):
    with PictureStore(tmp_path / "g.alert-pictures") as store, AppearanceLog(tmp_path / "g.appearances") as log:
        yield World(store, log)


def contrast(image, box, width=WIDTH):
    """How much neighbors in a row differ in the middle of ``box``, given for a picture of ``width``."""
    x1, y1, x2, y2 = (round(value * image.shape[1] / width) for value in box)
    part = image[y1 + 5 : y2 - 5, x1 + 5 : x2 - 5, 0].astype(int)
    return np.abs(np.diff(part, axis=1)).mean()


def test_in_the_frame_all_faces_but_one_are_blurred(world):
    """Also one that is only found with a low score, one that is not tracked yet, and one that is tracked, but was not
    found in this frame."""
    lost = (300, 800, 400, 920)
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), np.uint8)
    image = np.kron(noise, np.ones((8, 8, 1), np.uint8))
    world.pictures.note_result(result(ADA, STRANGER, UNTRACKED, DOUBTFUL, image=image))
    world.faces = [visible(ADA, "a-1"), visible(STRANGER, ""), visible(lost, "a-7")]
    (frame,) = world.alert("frame")
    assert (frame["kind"], frame["type"], frame["width"], frame["height"]) == ("frame", "image/jpeg", 1280, 960)
    shown = world.decode(frame)
    assert contrast(shown, ADA) > 10
    for hidden in (STRANGER, DOUBTFUL, UNTRACKED, lost):
        assert contrast(shown, hidden) < 3, hidden


def test_each_receiver_gets_what_it_may_see(world):
    world.pictures.note_result(result(ADA, STRANGER))
    world.faces = [visible(ADA, "a-1")]
    none, face, frame, again = world.alert("none", "face", "frame", "face")
    assert none is None and face == again and face["kind"] == "face" and frame["kind"] == "frame"
    assert world.store.count() == 2, "each picture is made and stored once"
    assert (face["width"], face["height"]) == (280, 280)  # twice the longer side of the face


def test_a_large_face_is_reduced_and_a_neighbor_in_it_is_blurred(world):
    large, neighbor = (400, 200, 1000, 900), (1050, 300, 1350, 700)
    world.pictures.note_result(result(large, neighbor))
    world.faces = [visible(large, "a-1")]
    (face,) = world.alert("face")
    shown = world.decode(face)
    assert max(face["width"], face["height"]) == 320
    assert np.std(shown[130:190, -40:, 0].astype(int)) < 6


@pytest.mark.parametrize(
    ("found", "seen"),
    [
        ([STRANGER], [visible(ADA, "a-1")]),  # this person is not found in this frame
        ([ADA], []),  # this person's visit has ended
        ([ADA], [visible(STRANGER, "a-1")]),  # the track is somewhere else
        ([ADA], [visible((230, 300, 350, 440), "a-1"), visible(ADA, "a-2")]),  # the face may be that of the other track
        ([], [visible(ADA, "a-1")]),
    ],
)
@pytest.mark.parametrize("kind", ["face", "frame"])
def test_if_it_is_not_certain_who_it_is_only_the_best_shot_is_shown(world, found, seen, kind):
    world.pictures.note_result(result(*found))
    world.faces = seen
    world.shots = [SimpleNamespace(crop=np.full((112, 112, 3), 77, np.uint8))]
    (shown,) = world.alert(kind)
    assert (shown["kind"], shown["width"]) == ("face", 112) and abs(int(world.decode(shown).mean()) - 77) < 3
    world.shots = []
    assert world.alert(kind) == [None]


@pytest.mark.parametrize("kind", ["face", "frame"])
def test_a_face_that_others_cover_is_shown_by_its_best_shot(world, kind):
    """What covers it is blurred, so that little of it would be seen; without a best shot, that must do."""
    in_front, beside = (270, 330, 400, 470), (310, 300, 420, 440)
    world.shots = [SimpleNamespace(crop=np.full((112, 112, 3), 77, np.uint8))]
    world.faces = [visible(ADA, "a-1")]
    world.pictures.note_result(result(ADA, in_front))
    (shown,) = world.alert(kind)
    assert shown["kind"] == "face" and abs(int(world.decode(shown).mean()) - 77) < 3
    world.pictures.note_result(result(ADA, beside))
    assert world.alert(kind)[0]["width"] > 112
    world.shots = []
    world.pictures.note_result(result(ADA, in_front))
    assert world.alert(kind)[0]["width"] > 112


def test_a_picture_belongs_to_the_person_even_if_the_person_is_recognized_later(world):
    world.pictures.note_result(result(ADA))
    world.faces = [visible(ADA, "a-1")]
    (known,) = world.alert("face", match=Match("p-1", "Ada", 0.7))
    (stranger,) = world.alert("face")
    world.pictures.note_match(appearance(Match("p-1", "Ada", 0.7)))
    world.store.erase({"p-1"})
    assert not world.store.has(known["id"]) and not world.store.has(stranger["id"])


def test_a_stranger_who_was_named_afterwards_is_found_by_the_log_before_it_forgets_the_person(world, tmp_path):
    """Only the log says who it was, and pruning deletes from it everybody who is no longer in the gallery."""
    world.pictures.note_result(result(ADA))
    world.faces = [visible(ADA, "a-1")]
    (stranger,) = world.alert("face")
    with Gallery(tmp_path / "g", create=True) as gallery:
        publisher = Publisher(gallery, world.log, [], world.problems, pictures=world.pictures, rules=dict)
        publisher.prune(Keep())
        assert world.store.has(stranger["id"])
        world.log.record(appearance(Match("p-1", "Ada", 0.7)))  # she is not in the gallery any more
        publisher.prune(Keep())
        assert not world.store.has(stranger["id"]) and not list(world.problems)


def test_a_store_that_fails_holds_back_no_alert(world):
    world.pictures.note_result(result(ADA))
    world.faces = [visible(ADA, "a-1")]
    world.store.close()
    assert world.alert("face") == [None]
    assert any("alert-pictures" in problem for problem in world.problems)


def test_without_a_store_no_frame_is_kept(tmp_path):
    pictures = AlertPictures(None, None, {}, lambda _: [], Problems())
    pictures.note_result(result(ADA))
    assert pictures._results == {}
    sink = Sink("none")
    pictures.send({}, appearance(), [sink])
    assert sink.sent == [{"picture": None}]


def test_pictures_are_never_larger_than_a_megabyte():
    noise = np.random.default_rng(0).integers(0, 256, (1280, 1280, 3), np.uint8)
    assert len(encode_jpeg(noise)) <= 1 << 20
    assert encode_jpeg(np.random.default_rng(0).integers(0, 256, (5000, 5000, 3), np.uint8)) is None
    assert PictureLimits().bytes >= 1 << 20
