"""Visits at any frame rate: one person who stays, walks, or returns within the window is one appearance."""

import numpy as np
import pytest

from rkface.runtime.tracking.rules import RecognitionRules

from .test_watcher import HEIGHT, SIDE, WIDTH, Camera

pytestmark = pytest.mark.slow

MATCH = 0.4
rates = pytest.mark.parametrize("rate", [0.3, 0.5, 1.1, 2.0, 5.0, 15.0])
everybody = pytest.mark.parametrize("who", [1, 10], ids=["known", "unknown"])


class Looks:
    """Shows people to a watcher at ``rate`` looks a second. ``irregular``: every interval is between half and one and a
    half times as long, and every fifth look is dropped. Between looks, the housekeeping of the service ticks."""

    def __init__(self, rate, *, irregular=False, rules=None):
        self.camera = Camera(rules=rules)
        self.rate, self.irregular = rate, irregular
        self.random = np.random.default_rng(int(rate * 10))

    def show(self, places, seconds):
        """``places``: for each person (who, where); ``where(t)`` is the center at ``t`` seconds, None if hidden."""
        camera, passed = self.camera, 0.0
        while passed < seconds:
            step = 1 / self.rate
            if self.irregular:
                step *= self.random.uniform(0.5, 1.5) * (2 if self.random.random() < 0.2 else 1)
            for _ in range(int(step)):  # the housekeeping of the service, once a second
                camera.beats += 1.0
                camera.told += camera.watcher.tick()
            camera.beats += step % 1.0
            passed += step
            at = [(who, where(passed)) for who, where in places]
            camera.see(*((who, *center) for who, center in at if center), step=step, seconds=step)

    def leave(self):
        self.show([], 16)
        self.show([], 4 / self.rate)
        return self.camera.by_visit()


def stand(x=300, y=300):
    return lambda t: (x, y)


def walk(speed=1.0):
    """Back and forth across the picture, ``speed`` in face heights per second (1: 22 cm)."""
    span = WIDTH - 2 * SIDE

    def where(t):
        far = (t * speed * SIDE * 3) % (2 * span)
        return SIDE + min(far, 2 * span - far), HEIGHT / 2

    return where


@pytest.mark.parametrize("rate", [0.3, 0.5, 1.1, 3.0, 30.0])
@everybody
@pytest.mark.parametrize("irregular", [False, True], ids=["regular", "irregular"])
@pytest.mark.parametrize("path", [stand, walk])
def test_a_person_who_stays_is_one_visit(rate, who, irregular, path):
    looks = Looks(rate, irregular=irregular)
    looks.show([(who, path())], 20)
    [visit] = looks.leave()
    assert [one.stage for one in visit if one.stage != "update"] == ["start", "end"]
    person = "p1" if who == 1 else None
    assert {one.match.person if one.match else None for one in visit} == {person}
    assert visit[-1].frames >= 0.6 * 20 * rate * (0.7 if irregular else 1) - 1
    assert visit[-1].ended - visit[-1].started >= 20 - 4 * 2 / rate


@rates
@everybody
def test_a_person_who_returns_within_the_window_is_one_visit(rate, who):
    looks = Looks(rate)
    looks.show([(who, stand(200))], 12)
    looks.show([], 8)
    looks.show([(who, stand(900))], 12)
    [visit] = looks.leave()
    assert visit[-1].ended - visit[-1].started >= 30 - 2 / rate


@rates
def test_a_person_who_returns_after_the_window_is_two_visits(rate):
    looks = Looks(rate)
    for _ in range(2):
        looks.show([(10, stand(200))], 12)
        looks.show([], 30)
    assert len(looks.leave()) == 2


@rates
def test_people_who_take_each_others_place_keep_their_visits(rate):
    """Between two looks of a slow camera, one person can replace another in the same place."""
    looks = Looks(rate)
    for left, right in ((0, 11), (11, 0), (0, 11)):
        looks.show([(left, stand(300)), (right, stand(900))], 12)
    visits = looks.leave()
    assert sorted(str(visit[-1].match and visit[-1].match.person) for visit in visits) == ["None", "p0"]


@rates
def test_another_person_in_the_same_place_is_another_visit(rate):
    looks = Looks(rate)
    for who in (10, 11, 1):
        looks.show([(who, stand(400))], 14)
    people = [visit[-1].match.person if visit[-1].match else None for visit in looks.leave()]
    assert people == [None, None, "p1"]


@rates
def test_no_appearance_has_no_frames(rate):
    looks = Looks(rate, irregular=True)
    for who in (0, 1, 2, 10, 11, 12):
        looks.show([(who, stand(400)), ((who + 1) % 13, walk(2.0))], 3)
    looks.leave()
    told = looks.camera.told
    assert told and min(one.frames for one in told) >= 1


@rates
def test_nobody_is_named_from_one_look_while_the_visit_lasts(rate):
    looks = Looks(rate)
    looks.show([], 10)
    looks.camera.see((1, 300, 300), step=1 / rate, seconds=1 / rate)
    assert looks.camera.told == [] and len(looks.camera.pipe.embedded) == (rate < 3)
    looks.show([(1, walk())], 10)
    [visit] = looks.leave()
    assert visit[0].stage == "start" and visit[0].frames >= 2


def test_one_long_pause_does_not_make_a_camera_slow():
    """A single false detection after it is not a face."""
    camera = Camera()
    camera.see(seconds=2)
    camera.see(seconds=5, step=5)
    camera.see((10, 300, 300), seconds=0.1)
    camera.see(seconds=20)
    assert camera.pipe.embedded == []


@rates
def test_a_window_shorter_than_the_interval_does_not_split_a_visit(rate):
    looks = Looks(rate, rules=RecognitionRules(MATCH, window=0.5))
    looks.show([(1, walk(0.3) if rate >= 3 else walk())], 30)
    [visit] = looks.leave()
    assert visit[-1].frames >= 25 * rate


def test_a_person_enrolled_while_standing_still_is_named_with_the_next_frame():
    camera = Camera(known=[0])
    camera.see((10, 300, 300), seconds=12)
    assert camera.stages() == [("start", None)]
    camera.known.append(10)
    camera.watcher.search_again()
    camera.see((10, 300, 300), seconds=0.1)
    assert camera.stages()[-1] == ("update", "p10")
