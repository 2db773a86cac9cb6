"""Which faces of a person's photos are accepted, whatever the photos show."""

import numpy as np
import pytest

from rkface.runtime.enrollment.measured_photo import MeasuredFace, MeasuredPhoto, find_large
from rkface.runtime.enrollment.same_person import choose_faces
from rkface.runtime.vision.quality import Quality

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import given, settings
from hypothesis import strategies as st

THRESHOLD = 0.5
GOOD = Quality(size=60.0, sharpness=0.3, exposure=1.0, pose=0.8, detection=0.9)


def face(number, person, width=100, flaw=""):
    """``person``: an angle in degrees; two people match if they are at most 60° apart."""
    vector = np.float32([np.cos(np.radians(person)), np.sin(np.radians(person))])
    return MeasuredFace(
        number, (0, 0, width, width), GOOD, np.zeros((112, 112, 3), np.uint8), flaw, None if flaw else vector
    )


def photo(*people, widths=()):
    faces = tuple(face(index + 1, person, *widths[index : index + 1]) for index, person in enumerate(people))
    large = find_large(faces) if faces else ()
    problem = "" if faces else "no face found"
    return MeasuredPhoto("photo", problem, faces, large[0] if len(large) == 1 else None)


def choose(photos, known=(), force=False, others=()):
    vectors = [face(1, person).embedding for person in known]
    strangers = [face(1, person).embedding for person in others]
    return choose_faces(
        "Ada", photos, vectors, threshold=THRESHOLD, force=force,
        is_somebody_else=lambda vector: any(float(one @ vector) >= THRESHOLD for one in strangers),
    )  # fmt: skip


def taken(choices):
    return [None if choice.reason or choice.face is None else choice.face.number for choice in choices]


@pytest.mark.parametrize(
    ("photos", "known", "expected"),
    [
        ([[0]], [], [1]),
        ([[0], [90]], [], [None, None]),
        ([[0], [90], [10]], [], [1, None, 1]),
        ([[90], [0], [10], [100]], [], [None] * 4),  # two against two
        ([[90], [0]], [5], [None, 1]),
        ([[0], [50], [100]], [], [1, 1, 1]),  # the second links the first and the third
        ([[100], [50]], [0], [1, 1]),
        ([[0, 90]], [], [None]),
        ([[0, 90]], [5], [1]),
        ([[0, 20]], [5], [None]),  # both match
        ([[0, 62]], [5], [None]),  # the second is hardly worse
        ([[0, 90], [95, 3]], [], [None, None]),  # a couple twice
        ([[0, 90], [3, 180]], [], [1, 1]),  # one person is in both
        ([[0], [90, 180]], [], [1, None]),
        ([[0], [90, 180], [180, 91]], [], [1, None, None]),  # photos of one person decide
        ([[0, 90, 180], [1]], [], [1, 1]),
        ([[], [0]], [], [None, 1]),
    ],
)
def test_which_faces_are_taken(photos, known, expected):
    assert taken(choose([photo(*people) for people in photos], known)) == expected


def test_faces_in_the_background_do_not_count():
    small = photo(0, 90, widths=(100, 24))
    assert taken(choose([small])) == [1]
    assert taken(choose([photo(0, 90, widths=(100, 26))])) == [None]
    assert taken(choose([small], known=[90])) == [None], "nor are they enrolled because they match"


def test_people_who_are_enrolled_do_not_take_part():
    assert taken(choose([photo(90), photo(91), photo(0)], others=[90]))[2] == 1


PEOPLE = st.lists(st.lists(st.integers(0, 359), max_size=4), min_size=1, max_size=6)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(PEOPLE, st.lists(st.integers(0, 359), max_size=2))
def test_whatever_is_taken_matches_the_persons_other_samples(people, known):
    photos = [photo(*one) for one in people]
    choices = choose(photos, known)
    vectors = [face(1, angle).embedding for angle in known]
    accepted = [(index, choice.face) for index, choice in enumerate(choices) if choice.face and not choice.reason]
    for index, one in accepted:
        others = vectors + [other.embedding for place, other in accepted if place != index]
        assert not others or max(float(other @ one.embedding) for other in others) >= THRESHOLD - 1e-6
        assert len(photos[index].faces) == 1 or len(accepted) > 1 or known, "a face of several needs something to match"
    for choice in choices:
        assert choice.reason or choice.face is not None


@settings(deadline=None, derandomize=True, max_examples=100)
@given(PEOPLE, st.randoms(use_true_random=False))
def test_the_order_of_the_photos_does_not_matter(people, random):
    order = list(range(len(people)))
    random.shuffle(order)
    plain = taken(choose([photo(*one) for one in people]))
    shuffled = taken(choose([photo(*people[index]) for index in order]))
    assert sorted((number or 0, index) for number, index in zip(shuffled, order, strict=True)) == sorted(
        (number or 0, index) for index, number in enumerate(plain)
    )
