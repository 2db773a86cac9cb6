import numpy as np
import pytest

from rkface.calibration.appearance_stats import AppearanceStats
from rkface.calibration.facility_location import (
    ALIKE,
    FAR,
    PER_PERSON,
    PERSON,
    SAME_PERSON,
    UNCLEAR,
    UNCLEAR_BELOW,
    appearance_space,
    select_cover,
)


def random_appearances(random, count):
    return [AppearanceStats(*row) for row in random.normal(size=(count, 7)) * [15, 10, 8, 12, 4, 8, 25]]


def clear(count):
    return np.ones(count, np.float32)


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def plain_cover(points, clarity, count):
    """The same method without its optimizations: it computes every gain in every round."""
    distance = np.linalg.norm(points[:, None].astype(float) - points, axis=2)
    left, order = np.full(len(points), distance.max()), []
    for _ in range(count):
        gains = clarity * np.maximum(left - distance, 0).sum(axis=1)
        gains[order] = -1
        order.append(int(np.argmax(gains)))
        left = np.minimum(left, distance[order[-1]])
    return order, left


@pytest.mark.parametrize("seed", range(20))
def test_optimizations_do_not_change_the_result(seed):
    random = np.random.default_rng(seed)
    appearances, clarity = random_appearances(random, 60), random.uniform(0.9, 1, 60).astype(np.float32)
    expected, _ = plain_cover(appearance_space(appearances, None), clarity, 15)
    assert select_cover(appearances, clarity, None, 15).order == expected


def test_selected_faces_are_closer_to_all_faces_than_random_ones():
    random = np.random.default_rng(0)
    appearances = random_appearances(random, 300)
    points = appearance_space(appearances, None)

    def reach(order):
        return np.linalg.norm(points[:, None] - points[order], axis=2).min(axis=1).mean()

    ours = reach(select_cover(appearances, clear(300), None, 20).order)
    others = [reach(random.permutation(300)[:20]) for _ in range(50)]
    assert ours < 0.95 * min(others)  # it was 0.86 when this test was written


def test_the_first_faces_are_the_selection_of_a_smaller_count():
    appearances, embeddings = random_appearances(np.random.default_rng(3), 80), np.eye(80, dtype=np.float32)
    whole = select_cover(appearances, clear(80), embeddings, 80).order
    assert sorted(whole) == list(range(80))
    for count in (1, 7, 30):
        assert select_cover(appearances, clear(80), embeddings, count).order == whole[:count]


def test_an_outlier_is_not_among_the_first():
    # K-center would select it second.
    appearances = random_appearances(np.random.default_rng(4), 100)
    appearances[50] = AppearanceStats(*[1000.0] * 7)
    order = select_cover(appearances, clear(100), None, 100).order
    assert order.index(50) >= 5
    assert np.abs(appearance_space(appearances, None)).max() < FAR


def test_all_parts_have_the_same_weight_whatever_their_units_and_dimensions():
    random = np.random.default_rng(5)
    appearances, embeddings = random_appearances(random, 400), unit(random.normal(size=(400, 128)))
    points = appearance_space(appearances, embeddings)
    for part in (slice(0, 3), slice(3, 6), slice(6, 7), slice(7, 135)):
        apart = points[:200, part] - points[200:, part]
        # The mean of 200 random pairs is within a few standard errors (of 5 % in the part with one dimension).
        assert np.mean(np.sum(apart**2, axis=1)) == pytest.approx(1, rel=0.3)
    scaled = [
        AppearanceStats(one.yaw * 9 + 5, one.pitch, one.roll, one.light, one.contrast, one.side, one.skin)
        for one in appearances
    ]
    np.testing.assert_allclose(appearance_space(scaled, embeddings), points, atol=1e-5)


def test_equal_faces_are_selected_in_the_given_order():
    appearances = [AppearanceStats(0, 0, 0, 50, 10, 0, 40)] * 6
    assert select_cover(appearances, clear(6), None, 4).order == [0, 1, 2, 3]
    assert select_cover(appearances[:1], clear(1), None, 4).order == [0]


def test_unclear_faces_come_last_and_few_faces_of_one_person_come_first():
    random = np.random.default_rng(6)
    appearances, clarity = random_appearances(random, 30), clear(30)
    clarity[:5] = UNCLEAR_BELOW - 0.01
    who = np.array([*range(20), *[20] * 10])
    embeddings = unit(np.eye(21)[who] + random.normal(size=(30, 21)) * 0.02)
    found = select_cover(appearances, clarity, embeddings, 15 + PER_PERSON)
    assert (
        set(found.order) - set(range(5, 20)) <= set(range(20, 30))
        and len(set(found.order) - set(range(20))) == PER_PERSON
    )
    count_reasons = {index: reason for index, reason, _ in found.surplus}
    left_out = {*range(5), *range(20, 30)} - {*found.order}
    assert count_reasons == {index: UNCLEAR if index < 5 else PERSON for index in left_out}
    for index, reason, like in found.surplus:
        assert like in found.order and (reason != PERSON or embeddings[index] @ embeddings[like] >= SAME_PERSON)
    assert {*select_cover(appearances, clarity, embeddings, 25).order} == {*range(5, 30)}
    assert {*select_cover(appearances, clarity, embeddings, 26).order} > {*range(5, 30)}


def test_a_surplus_face_names_the_selected_face_that_is_most_similar():
    near = [AppearanceStats(0, 0, 0, 50, 10, 0, 40 + shift / 100) for shift in range(5)]
    far = [AppearanceStats(60, 0, 0, 50, 10, 0, 40 + shift / 100) for shift in range(4)]
    found = select_cover(near + far, clear(9), None, 2)
    assert {index < 5 for index in found.order} == {True, False}
    assert all(reason == ALIKE and (index < 5) == (like < 5) for index, reason, like in found.surplus)


def test_a_selection_from_thousands_of_faces_uses_a_sample():
    random = np.random.default_rng(7)
    appearances, embeddings = random_appearances(random, 3000), unit(random.normal(size=(3000, 64)))
    appearances[1000:1300] = [AppearanceStats(90, *[0] * 6)] * 300
    found = select_cover(appearances, clear(3000), embeddings, 30)
    taken = sum(1000 <= index < 1300 for index in found.order)
    assert len(set(found.order)) == 30 and 1 <= taken <= 6
