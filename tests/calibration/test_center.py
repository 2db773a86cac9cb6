"""The constant part of embeddings is found whatever people are on the photos, and only where there is one."""

import numpy as np
import pytest

from rkface.calibration.center import measure_center

CONSTANT = np.full(64, 0.3)


def photos(people, each, *, constant=CONSTANT, seed=0):
    """Raw embeddings of ``each[i]`` photos of person i, and of the same in another light: a constant, who it is, the
    photo. And the mean over people."""
    random = np.random.default_rng(seed)
    who = random.normal(0, 0.1, (people, 64))
    faces = np.concatenate([who[[one]] + random.normal(0, 0.02, (count, 64)) for one, count in enumerate(each)])
    relit = faces + random.normal(0, 0.018, faces.shape)
    return ((constant + one).astype(np.float32) for one in (faces, relit)), constant + who.mean(axis=0)


def test_the_mean_over_people_is_found():
    (faces, relit), expected = photos(40, [2] * 40)
    found = measure_center(faces, relit)
    assert found.needed and found.cosine > 0.8
    assert (found.faces, round(found.people)) == (80, 40)
    np.testing.assert_allclose(found.values, expected, atol=0.01)


def test_a_person_with_most_of_the_photos_counts_once():
    (faces, relit), expected = photos(20, [200] + [1] * 19)
    found = measure_center(faces, relit)
    assert found.people == pytest.approx(20, abs=0.5)
    assert np.linalg.norm(found.values - expected) < 0.05
    assert np.linalg.norm(faces.mean(axis=0) - expected) > 0.5  # what the plain mean would be


def test_copies_of_a_photo_change_nothing():
    (faces, relit), _ = photos(30, [1] * 30)
    copied = measure_center(*(np.concatenate([one, one[:7], one[:7]]) for one in (faces, relit)))
    np.testing.assert_allclose(copied.values, measure_center(faces, relit).values, atol=1e-6)


@pytest.mark.parametrize("each", [[3] * 20, [60], [50, 2, 2]])
def test_embeddings_around_zero_need_no_constant(each):
    """Also if the photos show mostly one person, whose photos all have high cosines."""
    (faces, relit), _ = photos(len(each), each, constant=np.zeros(64))
    assert not measure_center(faces, relit).needed


def test_photos_of_one_person_say_nothing():
    (faces, relit), _ = photos(1, [30])
    found = measure_center(faces, relit)
    assert (found.cosine, found.needed) == (0.0, False)
    assert found.people < 2
