"""Visits: one appearance for each, although people cross, hide and return, faces flicker, and clocks jump.

Faces are squares of noise whose blue channel encodes the person. The stand-in for the recognizer reads it and returns
that person's vector with noise, about as much as between real photos. All other parts are the real ones.
"""

from functools import cache

import numpy as np
import pytest

from rkface.runtime.cameras.frame_gate import FrameGate
from rkface.runtime.core.crop_template import ARCFACE_112
from rkface.runtime.core.errors import DeviceError
from rkface.runtime.core.faces import Faces
from rkface.runtime.core.manifest import Thresholds
from rkface.runtime.gallery.match import Match
from rkface.runtime.inference.frames import Frame, Result
from rkface.runtime.tracking.rules import RecognitionRules
from rkface.runtime.tracking.visit import decide
from rkface.runtime.tracking.watch import watch_results
from rkface.runtime.tracking.watcher import Watcher
from rkface.runtime.tracking.zones import WatchedArea
from rkface.runtime.vision import align as alignment
from rkface.runtime.vision.embed import unit
from rkface.runtime.vision.liveness import crop_around

RATE = 0.1  # seconds a frame
SIDE = 80  # pixels of a face
MATCH = 0.4
UTC = 1_800_000_000.0
PEOPLE = unit(np.random.default_rng(0).normal(size=(30, 128)).astype(np.float32))
PATTERN = np.random.default_rng(1).integers(60, 200, (SIDE // 4, SIDE // 4), np.uint8).repeat(4, 0).repeat(4, 1)
WIDTH, HEIGHT = 1280, 720


@cache
def wall(width, height):
    """A picture of nobody; shared by all frames, because filling one takes as long as watching it."""
    image = np.full((height, width, 3), 90, np.uint8)
    image.setflags(write=False)
    return image


@cache
def face(who, sharp):
    square = np.stack([np.full_like(PATTERN, 20 + 7 * who), PATTERN, PATTERN], axis=-1)
    if not sharp:
        square[..., 1:] = np.linspace(60, 200, SIDE).astype(np.uint8)[:, None]
    return square


class Pipe:
    """A stand-in for the pipeline. ``similar``: cosine of a shot with the person's vector; 0.8 means 0.64 between two
    shots."""

    thresholds = Thresholds(0.5, 0.4, MATCH)
    crop = ARCFACE_112

    def __init__(self, similar=0.8):
        self.similar, self.embedded, self.batches = similar, [], []
        self._random = np.random.default_rng(5)

    def align(self, image, landmarks):
        return alignment.align(image, landmarks)

    def embed(self, crops):
        people = [round((float(np.median(crop[40:90, 30:82, 0])) - 20) / 7) for crop in crops]
        self.embedded += people
        self.batches.append(len(crops))
        noise = unit(self._random.normal(size=(len(crops), 128)).astype(np.float32))
        return unit(self.similar * PEOPLE[people] + np.sqrt(1 - self.similar**2) * noise)


class Camera:
    """Draws frames with faces and passes them to ``watcher``; ``told`` are the appearances that it returned."""

    def __init__(self, known=(0, 1, 2), similar=0.8, name="door", search=None, rules=None, **options):
        self.known, self.size, self.time, self.number, self.beats = list(known), (WIDTH, HEIGHT), 100.0, 0, 0.0
        self.name = name
        self.pipe = Pipe(similar)
        self.told = []
        self.watcher = Watcher(
            name,
            self.pipe,
            search or self.search,
            rules,
            to_utc=lambda time: UTC + time,
            monotonic=lambda: self.beats,
            **options,
        )

    def search(self, vectors, k):
        found = []
        for cosines in vectors @ PEOPLE[self.known].T:
            best = np.argsort(-cosines)[:k]
            found.append([Match(f"p{self.known[i]}", f"Person {self.known[i]}", float(cosines[i])) for i in best])
        return found

    def see(self, *people, seconds=RATE, step=RATE, score=0.8, sharp=True):
        """Show ``people`` for ``seconds``: each (who, x, y) with its center, or (who, x, y, dx, dy) that moves in each
        frame."""
        for number in range(max(1, round(seconds / step))):
            width, height = self.size
            image = wall(width, height)
            image = image.copy() if people else image
            corners = []
            for who, x, y, *speed in people:
                dx, dy = speed or (0, 0)
                left, top = round(x + number * dx - SIDE / 2), round(y + number * dy - SIDE / 2)
                image[top : top + SIDE, left : left + SIDE] = face(who, sharp)
                corners.append((left, top))
            corners = np.array(corners, np.float32).reshape(-1, 2)
            boxes = np.concatenate([corners, corners + SIDE], axis=1)
            landmarks = (alignment.TEMPLATE * (SIDE / 112) + corners[:, None]).astype(np.float32)
            faces = Faces(boxes, np.full(len(boxes), score, np.float32), landmarks)
            self.time += step
            self.number += 1
            self.told += self.watcher.update(Frame(image, self.number, self.time, self.name), faces)

    def stages(self):
        return [(one.stage, one.match.person if one.match else None) for one in self.told]

    def by_visit(self):
        visits = {}
        for one in self.told:
            visits.setdefault(one.id, []).append(one)
        return list(visits.values())


def test_a_visit_is_one_appearance_with_start_and_end():
    camera = Camera()
    camera.see(seconds=1)
    camera.see((1, 200, 300, 5, 0), seconds=4)
    camera.see(seconds=20)
    assert camera.stages() == [("start", "p1"), ("end", "p1")]
    start, end = camera.told
    assert start.id == end.id and start.source == "door" and start.threshold == MATCH
    # Seen from 101.1 to 105.0 on the clock of the frames, to which UTC is added here.
    assert end.started == pytest.approx(UTC + 101.1, abs=0.05) and end.ended == pytest.approx(UTC + 105.0, abs=0.05)
    assert start.ended == 0 and end.frames == 40 and camera.watcher.state.appearances == 1
    assert end.started <= end.best <= end.ended
    x1, y1, x2, y2 = end.box
    assert (y2 - y1) * HEIGHT == pytest.approx(SIDE) and 160 / WIDTH <= x1 < x2 < 1
    assert (start.score, start.liveness) == (pytest.approx(0.8), None) and 0.6 < start.quality <= 1


def test_a_smaller_version_of_a_picture_breaks_no_track():
    camera = Camera()
    camera.see((1, 300, 300), seconds=1)
    [before] = camera.watcher.visible_faces()
    camera.time += RATE
    small = np.full((HEIGHT // 2, WIDTH // 2, 3), 90, np.uint8)
    nobody = Faces(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))
    camera.watcher.update(Frame(small, 99, camera.time, camera.name, full=lambda: small), nobody)
    [after] = camera.watcher.visible_faces()
    assert after.box == pytest.approx(before.box, abs=0.01) and camera.watcher.tracked_faces == 1
    camera.see((1, 300, 300))
    assert len(camera.watcher.visible_faces()) == 1 and camera.watcher.tracked_faces == 1


def test_only_a_few_faces_of_a_track_are_embedded():
    camera = Camera()
    camera.see((0, 300, 300), seconds=30)
    # Five in the first seconds, one in five seconds after that.
    assert 5 <= len(camera.pipe.embedded) <= 5 + 30 / 5
    assert camera.watcher.state.embeddings == len(camera.pipe.embedded)


def test_a_known_person_is_named_within_half_a_second():
    camera = Camera()
    camera.see((2, 300, 300), seconds=0.6)
    assert camera.stages() == [("start", "p2")]


@pytest.mark.parametrize(("rate", "looks"), [(30, 8), (15, 4), (10, 3), (8, 3), (5, 2)])
def test_the_second_shot_is_of_the_look_that_is_at_most_a_little_too_early(rate, looks):
    camera = Camera()
    camera.see((1, 600, 300), step=1 / rate, seconds=2 / rate)  # the first shot is of the second frame
    assert camera.watcher.state.embeddings == 1
    camera.see((1, 600, 300), step=1 / rate, seconds=(looks - 1) / rate)
    assert camera.watcher.state.embeddings == 1
    camera.see((1, 600, 300), step=1 / rate)
    assert camera.watcher.state.embeddings == 2 and camera.stages() == [("start", "p1")]


def test_unknown_people_are_reported_later_and_separately():
    camera = Camera()
    camera.see((10, 200, 300), (11, 800, 300), seconds=0.9)
    assert camera.told == []  # a person who is not recognized at once may be a moment later
    camera.see((10, 200, 300), (11, 800, 300), seconds=1)
    assert camera.stages() == [("start", None), ("start", None)]
    assert len(camera.by_visit()) == 2


@pytest.mark.parametrize("who", [1, 10], ids=["known", "unknown"])
def test_a_person_who_returns_within_the_window_continues_the_visit(who):
    camera = Camera(rules=RecognitionRules(MATCH, window=10.0))
    camera.see((who, 200, 300), seconds=3)
    camera.see(seconds=8)
    camera.see((who, 900, 500), seconds=3)
    camera.see(seconds=15)
    [visit] = camera.by_visit()
    assert [one.stage for one in visit] == ["start", "end"]
    assert visit[-1].ended - visit[-1].started == pytest.approx(14, abs=0.2)
    assert visit[-1].frames == 60


@pytest.mark.parametrize("who", [1, 10], ids=["known", "unknown"])
def test_a_person_who_returns_after_the_window_starts_a_new_visit(who):
    camera = Camera(rules=RecognitionRules(MATCH, window=10.0))
    camera.see((who, 200, 300), seconds=3)
    camera.see(seconds=12)
    camera.see((who, 200, 300), seconds=3)
    camera.see(seconds=15)
    assert [[one.stage for one in visit] for visit in camera.by_visit()] == [["start", "end"]] * 2


def test_another_person_within_the_window_is_another_visit():
    camera = Camera()
    camera.see((10, 200, 300), seconds=3)
    camera.see(seconds=2)
    camera.see((11, 200, 300), seconds=3)
    camera.see(seconds=20)
    assert [[one.stage for one in visit] for visit in camera.by_visit()] == [["start", "end"]] * 2


def test_two_similar_people_of_the_gallery_are_two_visits():
    twin = ["ada"]
    camera = Camera(search=lambda vectors, k: [[Match(twin[0], twin[0], 0.7)] for _ in vectors])
    camera.see((10, 200, 300), seconds=2)
    camera.see(seconds=2)
    twin[0] = "eva"
    camera.see((10, 200, 300), seconds=2)
    camera.see(seconds=20)
    assert [{one.match.person for one in visit} for visit in camera.by_visit()] == [{"ada"}, {"eva"}]


def test_a_window_shorter_than_the_life_of_a_track_does_not_end_its_visit():
    camera = Camera(rules=RecognitionRules(MATCH, window=0.1, keep=1.0))
    camera.see((1, 300, 300), seconds=1)
    camera.see(seconds=0.5)
    camera.see((1, 300, 300), seconds=1)
    camera.see(seconds=2)
    assert camera.stages() == [("start", "p1"), ("end", "p1")] and camera.told[-1].frames == 20


def test_one_similar_shot_does_not_continue_an_earlier_visit():
    camera = Camera()
    camera.see((10, 200, 300), seconds=3)
    camera.see(seconds=2)
    honest = camera.pipe.embed
    camera.pipe.embed = lambda crops: PEOPLE[[10] * len(crops)]
    camera.see((11, 900, 300), seconds=0.2)  # the first shot, turned away or partly hidden
    camera.pipe.embed = honest
    camera.see((11, 900, 300), seconds=3)
    camera.see(seconds=20)
    first, second = camera.by_visit()
    assert first[-1].ended == pytest.approx(UTC + 103, abs=0.05) and second[-1].frames > 25


def test_crossing_people_keep_their_identities():
    camera = Camera()
    camera.see((0, 200, 300, 20, 0), (1, 980, 340, -20, 0), seconds=4)
    camera.see(seconds=20)
    visits = camera.by_visit()
    assert [{one.match.person for one in visit} for visit in visits] in ([{"p0"}, {"p1"}], [{"p1"}, {"p0"}])
    assert all([one.stage for one in visit] == ["start", "end"] for visit in visits)


def test_a_track_that_switched_to_another_person_is_two_visits():
    """One person replaces another within two frames without a face: for the tracker it is the same face."""
    camera = Camera()
    camera.see((0, 400, 300), seconds=6)  # so long that an embedding is due every five seconds only
    camera.see(seconds=0.2)
    camera.see((1, 405, 300), seconds=1)
    assert camera.watcher.state.slips == 1 and camera.stages() == [("start", "p0"), ("start", "p1")]
    camera.see(seconds=20)
    assert [{one.match.person for one in visit} for visit in camera.by_visit()] == [{"p0"}, {"p1"}]


def test_somebody_similar_who_takes_a_place_between_two_frames_is_another_visit():
    """Their cosine is over half the threshold, as of many people, and they never overlap in one frame."""
    camera = Camera(known=(0,))
    alike = unit(0.3 * PEOPLE[0] + PEOPLE[1])
    honest = camera.pipe.embed

    camera.pipe.embed = lambda crops: np.stack([alike if one @ PEOPLE[1] > 0.5 else one for one in honest(crops)])
    camera.see((0, 400, 300), seconds=1)
    camera.see((1, 440, 300), seconds=2)
    camera.see(seconds=20)
    assert [{one.match and one.match.person for one in visit} for visit in camera.by_visit()] == [{"p0"}, {None}]
    assert camera.watcher.state.slips == 1


def test_a_person_who_jumps_stays_one_visit():
    camera = Camera()
    camera.see((0, 400, 300), seconds=1)
    for number in range(6):
        camera.see((0, 400 + 50 * (number % 2), 300), seconds=0.2)
    camera.see(seconds=20)
    assert camera.stages() == [("start", "p0"), ("end", "p0")] and camera.watcher.state.slips == 0


def test_cosines_around_the_threshold_are_one_appearance():
    flicker = iter([0.38, 0.42, 0.37, 0.41, 0.36, 0.43, 0.38, 0.4] * 20)
    camera = Camera(
        search=lambda vectors, k: [[Match("p1", "Ada", next(flicker))] for _ in vectors],
        rules=RecognitionRules(MATCH, later=0.3, hysteresis=0.05),
    )
    camera.see((1, 300, 300), seconds=20)
    assert len(camera.pipe.embedded) > 40  # so many searches
    camera.see(seconds=20)
    assert camera.stages() == [("start", "p1"), ("end", "p1")]


def test_a_name_is_kept_within_the_hysteresis():
    ada, bob = (lambda cosine, name=name: Match(name, name, cosine) for name in ("ada", "bob"))
    assert decide(None, [ada(0.39)], 0.4, 0.05) is None
    assert decide(None, [ada(0.40)], 0.4, 0.05) == ada(0.40)
    assert decide(ada(0.5), [ada(0.36)], 0.4, 0.05) == ada(0.36)
    assert decide(ada(0.5), [ada(0.34)], 0.4, 0.05) is None
    assert decide(ada(0.5), [bob(0.44), ada(0.41)], 0.4, 0.05) == ada(0.41)
    assert decide(ada(0.5), [bob(0.47), ada(0.41)], 0.4, 0.05) == bob(0.47)
    assert decide(ada(0.5), [bob(0.39), ada(0.2)], 0.4, 0.05) is None
    assert decide(ada(0.5), [], 0.4, 0.05) is None


def test_a_clock_that_jumps_back_ends_no_visit_and_reverses_no_times():
    camera = Camera()
    camera.see((1, 300, 300), seconds=2)
    camera.time -= 3600
    camera.see((1, 300, 300), seconds=2)
    assert camera.stages() == [("start", "p1")]
    camera.see(seconds=20)
    end = camera.told[-1]
    assert end.stage == "end" and end.ended - end.started == pytest.approx(3.8, abs=0.2)


def test_fifty_faces_are_all_embedded_a_few_per_frame():
    places = [(column * 120 + 80, row * 135 + 80) for row in range(5) for column in range(10)]
    camera = Camera(known=range(10))
    people = [(number % 30, *place) for number, place in enumerate(places)]
    camera.see(*people, seconds=6)
    assert max(camera.pipe.batches) <= RecognitionRules(MATCH).batch
    # 50 faces of 30 people, some of them twice in a frame: each face is a visit of its own.
    assert len(camera.by_visit()) == 50
    assert sum(one.match is not None for one in camera.told if one.stage == "start") == 20


def test_frames_without_faces_report_nothing():
    camera = Camera()
    camera.see(seconds=5)
    assert camera.told == [] and camera.pipe.embedded == [] and camera.watcher.close() == []


@pytest.mark.parametrize("seen", [{"sharp": False}, {"score": 0.4}], ids=["blurred", "doubtful"])
def test_an_unusable_face_is_never_embedded(seen):
    camera = Camera()
    camera.see((1, 300, 300))
    camera.see((1, 300, 300), seconds=3, **seen)
    assert camera.pipe.embedded == [] and camera.told == []
    assert camera.watcher.visible_faces()  # but it is tracked


def test_a_visit_continues_after_a_change_of_resolution():
    camera = Camera()
    camera.see((1, 300, 300), seconds=2)
    camera.size = (640, 480)
    camera.see((1, 150, 150), seconds=2)
    camera.see(seconds=20)
    assert camera.stages() == [("start", "p1"), ("end", "p1")]


def test_the_visits_to_a_dead_camera_end():
    camera = Camera()
    camera.see((1, 300, 300), seconds=2)
    assert camera.watcher.visible_faces() and camera.watcher.tick() == []
    for second in range(20):
        camera.beats = second + 1.5
        camera.told += camera.watcher.tick()
    assert camera.stages() == [("start", "p1"), ("end", "p1")]
    assert camera.told[-1].ended == pytest.approx(UTC + 102, abs=0.05) and camera.watcher.visible_faces() == ()


def test_close_ends_open_visits_and_reports_a_glimpse_of_a_known_person():
    camera = Camera()
    camera.see((1, 300, 300), seconds=0.3)
    assert camera.told == [] and len(camera.pipe.embedded) == 1
    assert [one.stage for one in camera.watcher.close()] == ["start", "end"]
    assert camera.watcher.close() == []


def test_a_glimpse_of_an_unknown_person_is_only_counted():
    camera = Camera()
    camera.see((10, 300, 300), seconds=0.2)
    camera.see(seconds=20)
    assert len(camera.pipe.embedded) == 1
    assert camera.told == [] and camera.watcher.state.glimpses == 1


class Judge:
    """A stand-in for the liveness model: returns or raises ``says``. ``shown`` are the crops that it judged."""

    def __init__(self, says):
        self.says, self.shown = says, []

    def crop(self, image, box):
        return crop_around(image, box, 4.0, 40, 40)

    def live_probabilities(self, crops):
        if isinstance(self.says, Exception):
            raise self.says
        self.shown += crops
        return np.full(len(crops), self.says, np.float32)


def test_liveness_is_judged_from_the_surroundings_and_reported_in_the_appearance():
    judge = Judge(0.25)
    camera = Camera(liveness=judge)
    camera.see((1, 600, 300), seconds=4)
    assert {(one.liveness, one.live) for one in camera.told} == {(0.25, False)}
    assert len(judge.shown) == len(camera.pipe.embedded)
    # The face is a quarter of what is shown, in its middle; around it the scene is even.
    crop = judge.shown[0]
    assert (crop[:14] == 90).all() and (crop[26:] == 90).all() and (crop[16:24, 16:24, 0] == 27).all()
    assert camera.stages() == [("start", "p1")], "unless it is required, liveness is reported and decides nothing"


def test_if_liveness_is_required_a_picture_gets_no_name_until_it_is_judged_live():
    judge = Judge(0.45)
    camera = Camera(liveness=judge, rules=RecognitionRules(MATCH, live=0.5, need_live=True))
    camera.see((1, 600, 300), seconds=1.3)  # four shots: the fifth is not long after, and the sixth is
    assert camera.stages() == [("start", None)] and camera.told[0].live is False
    assert [one.match for one in camera.watcher.visible_faces()] == [None]
    judge.says = 1.0
    camera.see((1, 600, 300), seconds=3)
    assert camera.stages() == [("start", None), ("update", "p1")] and camera.told[1].live is True
    camera.see(seconds=20)
    assert camera.stages()[-1] == ("end", "p1")


def test_if_liveness_is_required_a_picture_does_not_continue_the_visit_of_its_person():
    judge = Judge(0.9)
    camera = Camera(liveness=judge, rules=RecognitionRules(MATCH, live=0.5, need_live=True))
    camera.see((1, 600, 300), seconds=2)
    camera.see(seconds=2)
    judge.says = 0.1
    camera.see((1, 600, 300), seconds=2)
    camera.see(seconds=20)
    assert [[(one.match and one.match.person, one.live) for one in visit] for visit in camera.by_visit()] == [
        [("p1", True)] * 2,
        [(None, False)] * 2,
    ]


@pytest.mark.parametrize(("required", "named"), [(False, "p1"), (True, None)])
def test_people_are_recognized_even_if_liveness_fails(required, named, caplog):
    camera = Camera(liveness=Judge(DeviceError("the NPU timed out")), rules=RecognitionRules(MATCH, need_live=required))
    camera.see((1, 600, 300), seconds=2)
    assert camera.stages() == [("start", named)]
    assert camera.told[0].liveness is None and camera.told[0].live is None
    assert camera.watcher.state.unjudged > 0 and camera.watcher.state.failures == 0
    assert "the NPU timed out" in caplog.text


def test_a_much_better_shot_is_embedded_early_and_reported():
    camera = Camera(known=(), rules=RecognitionRules(MATCH, better=1.1))
    camera.see((1, 300, 300), seconds=3, score=0.55)  # five are there: the next is due in five seconds
    before = len(camera.pipe.embedded)
    camera.see((1, 300, 300), seconds=0.5, score=0.95)
    assert len(camera.pipe.embedded) == before + 1
    assert [one.stage for one in camera.told] == ["start", "update"]
    assert camera.told[1].quality > camera.told[0].quality and camera.told[1].score == pytest.approx(0.95)


def test_ended_visits_leave_nothing_in_memory():
    camera = Camera(rules=RecognitionRules(MATCH, window=1.0))
    for who in range(20):
        camera.see((who, 300, 300), (29 - who, 800, 300), seconds=2, step=0.2)
        camera.see(seconds=3, step=0.5)
    watcher = camera.watcher
    assert watcher.state.appearances >= 40 and watcher.state.open == 0 and watcher.tracked_faces == 0
    assert not watcher._best_shots and not watcher._visits._by_track and not watcher._tracker._ids.size


def test_visible_faces_have_position_and_person():
    camera = Camera()
    camera.see((1, 320, 360), (20, 960, 360), seconds=2)
    left, right = sorted(camera.watcher.visible_faces(), key=lambda one: one.box)
    assert (left.match.person, right.match) == ("p1", None)
    assert {left.appearance, right.appearance} == {one.id for one in camera.told}
    assert left.box == pytest.approx((280 / WIDTH, 320 / HEIGHT, 360 / WIDTH, 400 / HEIGHT), abs=0.003)


def test_the_shots_of_a_visit_are_available_until_just_after_its_end():
    camera = Camera()
    camera.see((1, 300, 300), seconds=3)
    [start] = camera.told
    shots = camera.watcher.shots(start.id)
    assert len(shots) == RecognitionRules(MATCH).shots
    assert all(float(shot.embedding @ PEOPLE[1]) > 0.5 and shot.crop.shape == (112, 112, 3) for shot in shots)
    assert [shot.quality for shot in shots] == sorted((shot.quality for shot in shots), reverse=True)
    while camera.told[-1].stage != "end":
        camera.see()
    assert camera.watcher.shots(start.id)
    camera.see()
    assert camera.watcher.shots(start.id) == ()


def test_a_failed_inference_is_tried_again(caplog):
    camera = Camera()
    honest = camera.pipe.embed

    def fail(crops):
        raise DeviceError("the NPU timed out")

    camera.pipe.embed = fail
    camera.see((1, 300, 300), seconds=1)
    assert camera.told == [] and camera.watcher.state.failures > 0 and "the NPU timed out" in caplog.text
    camera.pipe.embed = honest
    camera.see((1, 300, 300), seconds=1)
    assert camera.stages() == [("start", "p1")]


def test_two_cameras_have_separate_visits_and_gates():
    cameras = {"door": Camera(), "gate": Camera(name="gate", known=(3, 4, 5))}
    results = []
    for camera, who in zip(cameras.values(), (1, 4), strict=True):
        step = camera.watcher.update
        camera.watcher.update = lambda frame, faces: results.append(Result(frame, faces, None, 0, 0.0, 0.0)) or []
        camera.see((who, 300, 300), seconds=2)
        camera.watcher.update = step
    results.sort(key=lambda result: result.frame.time)  # one frame of each camera in turn
    gates = {name: FrameGate(rate=10, idle_rate=1) for name in cameras}
    told = list(watch_results(results, {name: camera.watcher for name, camera in cameras.items()}, gates))
    assert sorted((one.source, one.match.person) for one in told) == [("door", "p1"), ("gate", "p4")]
    wanted = [gates["door"].accepts(Frame(np.zeros((9, 9, 3), np.uint8), n, n / 10)) for n in range(20)]
    assert sum(wanted) >= 19  # somebody is there, and the gate knows


def test_failed_frames_are_logged_and_skipped(caplog):
    camera = Camera()
    nobody = Faces(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))
    image = np.zeros((10, 10, 3), np.uint8)
    results = [
        Result(Frame(image, 7, 0.0, "door"), None, ValueError("the NPU coughed"), 0, 0.0, 0.0),
        Result(Frame(image, 8, 0.1, "door"), nobody, None, 0, 0.0, 0.0),
    ]
    assert list(watch_results(results, {"door": camera.watcher})) == []
    assert camera.watcher.state.frames == 1
    assert "door: frame 7 failed: the NPU coughed" in caplog.text


LEFT = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]
RIGHT = [[0.5, 0], [1, 0], [1, 1], [0.5, 1]]
BOTTOM = [[0, 0.5], [1, 0.5], [1, 1], [0, 1]]


def test_an_appearance_says_in_which_zones_its_face_was():
    camera = Camera(area=WatchedArea({"street": RIGHT, "door": LEFT, "steps": BOTTOM}))
    camera.see((1, 200, 200), seconds=2)
    assert [one.zones for one in camera.told] == [("door",)]
    camera.see((1, 200, 200, 12, 0), seconds=6)  # it walks to the right
    assert camera.told[-1].stage == "update" and camera.told[-1].zones == ("door", "street")
    camera.see(seconds=20)
    assert camera.told[-1].stage == "end" and camera.told[-1].zones == ("door", "street")
    assert len(camera.by_visit()) == 1 and len({one.zones for one in camera.told}) == 2


def test_a_visit_that_is_continued_keeps_its_zones():
    camera = Camera(area=WatchedArea({"street": RIGHT, "door": LEFT}))
    camera.see((1, 1000, 300), seconds=2)
    camera.see(seconds=3)
    camera.see((1, 200, 300), seconds=2)
    camera.see(seconds=20)
    [visit] = camera.by_visit()
    assert visit[-1].zones == ("street", "door")


def test_where_frames_are_few_the_zone_of_the_only_shot_counts():
    camera = Camera(area=WatchedArea({"door": LEFT}))
    for _ in range(4):
        camera.see((1, 200, 200), step=1.0)
    camera.see(step=1.0, seconds=40)
    assert {one.zones for one in camera.told} == {("door",)}


def test_faces_in_masks_and_small_faces_are_neither_tracked_nor_embedded():
    camera = Camera(area=WatchedArea(masks=[RIGHT], min_face=SIDE / HEIGHT))
    camera.see((0, 1000, 300), (1, 300, 300), seconds=2)
    assert camera.watcher.tracked_faces == 1 and set(camera.pipe.embedded) == {1}
    assert camera.watcher.state.ignored == 20 and camera.watcher.state.faces == 20
    camera.watcher.watch_area(WatchedArea(min_face=(SIDE + 1) / HEIGHT))
    camera.see((0, 1000, 300), (2, 300, 500), seconds=3)
    assert camera.watcher.tracked_faces == 0 and set(camera.pipe.embedded) == {1}
    camera.watcher.watch_area(WatchedArea())
    camera.see((0, 1000, 300), seconds=2)
    assert set(camera.pipe.embedded) == {0, 1}


def test_the_first_news_of_who_takes_a_persons_place_has_the_zone():
    camera = Camera(area=WatchedArea({"door": LEFT}), rules=RecognitionRules(MATCH, enough=1))
    camera.see((0, 400, 300), seconds=6)
    camera.see(seconds=0.2)
    camera.see((1, 405, 300), seconds=1)
    assert camera.watcher.state.slips == 1
    assert [one.zones for one in camera.told if one.stage == "start"] == [("door",), ("door",)]


def test_a_turned_or_resized_picture_has_the_same_zones():
    camera = Camera(area=WatchedArea({"door": LEFT}, masks=[RIGHT]))
    camera.size = (640, 360)
    camera.see((1, 160, 160), (0, 480, 160), seconds=2)
    assert [one.zones for one in camera.told] == [("door",)] and set(camera.pipe.embedded) == {1}


class IgnoringCamera(Camera):
    """Its ``search`` and ``anchor_cosines`` are like those of a gallery: people on the list ``ignored`` are nobody."""

    def __init__(self):
        self.ignored = []
        super().__init__(anchor_cosines=self.anchor_cosines)

    def search(self, vectors, k):
        found = super().search(vectors, k)
        cosines = self.anchor_cosines(vectors)
        return [
            [one for one in matches if one.cosine >= cosine] for matches, cosine in zip(found, cosines, strict=True)
        ]

    def anchor_cosines(self, vectors):
        return (vectors @ PEOPLE[self.ignored].T).max(axis=1) if self.ignored else np.full(len(vectors), -1, np.float32)


@pytest.fixture
def ignoring():
    """A camera that knows 0, 1 and 2; its list is empty."""
    return IgnoringCamera()


def test_of_an_ignored_face_nothing_is_reported(ignoring):
    ignoring.ignored.append(7)
    ignoring.see((7, 400, 300), (0, 800, 300), seconds=3)
    ignoring.see(seconds=20)
    assert ignoring.stages() == [("start", "p0"), ("end", "p0")] and ignoring.watcher.state.glimpses == 1


def test_a_face_that_is_ignored_while_it_is_seen_gets_no_news_and_its_appearance_ends(ignoring):
    ignoring.see((7, 400, 300), seconds=3)
    assert ignoring.stages() == [("start", None)]
    ignoring.ignored.append(7)
    ignoring.watcher.search_again()
    ignoring.see((7, 400, 300), seconds=20)
    assert ignoring.stages() == [("start", None)]
    ignoring.see(seconds=20)
    assert ignoring.stages() == [("start", None), ("end", None)]


def test_a_face_that_leaves_the_list_is_reported_again(ignoring):
    ignoring.ignored.append(7)
    ignoring.see((7, 400, 300), seconds=3)
    ignoring.ignored.clear()
    ignoring.watcher.search_again()
    ignoring.see((7, 400, 300), seconds=1)
    assert ignoring.stages() == [("start", None)]


def test_a_known_person_who_is_nearer_than_the_list_keeps_the_name(ignoring):
    ignoring.ignored.append(7)
    ignoring.see((1, 400, 300), seconds=3)
    assert ignoring.stages() == [("start", "p1")]
