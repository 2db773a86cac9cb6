"""Pictures that show nothing are noticed after some seconds; dark, infrared, foggy and drawn scenes are not."""

from functools import cache

import cv2
import numpy as np
import pytest

from rkface.runtime.cameras.picture_check import HANGING, PATIENCE, PictureCheck

pytestmark = pytest.mark.slow

RANDOM = np.random.default_rng(3)
SHAPE = (360, 640, 3)


@cache
def noise():
    return RANDOM.standard_normal(SHAPE, np.float32)


def noisy(image, sigma):
    """The noise moves each time, at random: drawing it again takes several times as long."""
    moved = np.roll(noise().ravel(), int(RANDOM.integers(noise().size))).reshape(SHAPE)
    return cv2.add(np.asarray(image, np.float32), sigma * moved, dtype=cv2.CV_8U)


def flat(*color):
    return np.full(SHAPE, color, np.uint8)


def room():
    return cv2.resize(np.random.default_rng(1).integers(40, 220, (9, 16, 3), np.uint8), SHAPE[1::-1])


def slide(text="NO SIGNAL", color=(120, 60, 0)):
    bars = flat(*color)
    bars[:, ::2] = 90
    bars[:, 300:] = (20, 180, 200)
    return cv2.putText(bars, text, (150, 200), cv2.FONT_HERSHEY_SIMPLEX, 2, (255, 255, 255), 4)


def garbage():
    """The decoder wrote the upper part of a picture, and zeros below it."""
    picture = room()
    picture[100:] = (0, 135, 0)
    return picture


def jpeg(image, quality=70):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def watch(make, seconds, rate=15.0, **options):
    check = PictureCheck(**options)
    for number in range(round(seconds * rate)):
        check.note(make(), 100 + number / rate)
    return check.problem


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        (flat(128, 128, 128), "one color (red 128, green 128, blue 128)"),
        (flat(130, 127, 128), "one color"),
        (flat(255, 255, 255), "one color"),
        (flat(0, 0, 200), "one color"),
        (flat(16, 16, 16), "one color"),
        (flat(200, 60, 10), "one color"),
        (flat(0, 135, 0), "only green"),
        (flat(0, 0, 0), "black pictures: check whether its lens is covered"),
        (garbage(), "only green"),
        (noisy(flat(4, 4, 4), 1.0), "black"),
        (
            cv2.putText(flat(128, 128, 128), "23:14:05", (20, 30), cv2.FONT_HERSHEY_PLAIN, 1, (255, 255, 255)),
            "one color",
        ),
    ],
)
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("rate", [0.4, 15.0])
def test_a_picture_without_information_is_noticed_after_some_seconds(picture, said, compressed, rate):
    picture = jpeg(picture) if compressed else picture
    assert watch(lambda: picture, 0.6 * PATIENCE, rate) == ""
    assert said in watch(lambda: picture, 2.5 * PATIENCE, rate)


@pytest.mark.parametrize("shift", [0, 1], ids=["identical", "nearly identical"])
@pytest.mark.parametrize("picture", [room(), slide(), noisy(room(), 3)], ids=["room", "no signal", "a frozen frame"])
def test_a_camera_that_hangs_is_noticed_unless_the_source_may_be_still(picture, shift):
    def show():
        changed = picture.copy()
        changed[::50] += np.uint8(shift)
        return changed if RANDOM.random() < 0.5 else picture

    assert watch(show, HANGING - 2) == ""
    assert "the same one again and again" in watch(show, HANGING + 3)
    assert watch(show, HANGING + 3, still_allowed=True) == ""


@pytest.mark.parametrize(
    "scene",
    [
        lambda: noisy(room(), 2),
        lambda: noisy(flat(12, 12, 12), 3),  # a dark room, no lamp
        lambda: noisy(room() // 12 + 4, 1.5),  # night
        lambda: cv2.cvtColor(cv2.cvtColor(noisy(room() // 3, 4), cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR),  # infrared
        lambda: noisy(flat(190, 190, 190) + np.linspace(0, 20, 640)[:, None], 1.0),  # fog, or a white wall
        lambda: noisy(cv2.circle(flat(16, 16, 16), (500, 60), 9, (250, 250, 250), -1), 0.3),  # one lamp at night
        lambda: noisy(np.where(np.arange(360)[:, None, None] > 150, (60, 120, 90), room()), 3),  # a lawn
    ],
)
def test_a_scene_with_the_noise_of_a_sensor_is_a_picture(scene):
    assert watch(scene, HANGING + PATIENCE, rate=3.0) == ""


def test_the_problem_ends_with_the_first_picture_that_shows_something():
    check = PictureCheck()
    for number in range(100):
        check.note(flat(128, 128, 128), number / 10)
    assert check.problem
    check.note(room(), 10.5)
    assert check.problem == ""


def test_a_face_is_information_but_a_frozen_face_is_a_camera_that_hangs():
    check = PictureCheck()
    for number in range(300):
        check.note(flat(128, 128, 128), number / 10, face=True)
        assert check.problem == "" or number >= HANGING * 10
    assert "again and again" in check.problem


def test_a_clock_that_jumps_back_and_another_resolution_start_the_check_again():
    check = PictureCheck()
    for moment, size in [*((one, (640, 360)) for one in range(25)), *((one, (64, 36)) for one in range(25, 30))]:
        check.note(cv2.resize(room(), size), float(moment))
    assert check.problem == ""
    for moment in range(-1000, -982):
        check.note(cv2.resize(room(), (64, 36)), float(moment))
    assert check.problem == ""
