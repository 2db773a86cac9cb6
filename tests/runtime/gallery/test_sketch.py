"""Sign codes: what a search leaves out cannot be among the first people, and it does leave out most samples."""

import numpy as np
import pytest

from rkface.runtime.gallery import search
from rkface.runtime.gallery.search import build_index
from rkface.runtime.gallery.sketch import ERROR, SLOPE, count_differences, encode, encode_probe, most_differences

DIMENSIONS, SAMPLES = 512, 20_000


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def strangers():
    return unit(np.random.default_rng(0).standard_normal((SAMPLES, DIMENSIONS)))


@pytest.fixture
def compared(monkeypatch):
    """The number of samples in each call that compares some of them."""
    counts = []
    original = search.multiply_some

    def counting(probe, columns, places):
        counts.append(len(places))
        return original(probe, columns, places)

    monkeypatch.setattr(search, "multiply_some", counting)
    return counts


@pytest.fixture(scope="module")
def index(strangers):
    return build_index(strangers, range(SAMPLES), range(SAMPLES), "int8")


@pytest.mark.parametrize("numbers", [512, 2])
@pytest.mark.parametrize("cosine", [0.0, 0.2])
def test_the_error_of_an_estimate_is_as_computed_also_for_vectors_of_few_numbers(numbers, cosine):
    # Without the rotation, the codes of vectors with few numbers other than zero would say nothing.
    random = np.random.default_rng(numbers)

    def some(count):
        vectors = np.zeros((count, DIMENSIONS), np.float32)
        for row in vectors:
            row[random.choice(DIMENSIONS, numbers, replace=False)] = random.standard_normal(numbers)
        return unit(vectors)

    errors, lost = [], 0
    for _ in range(10):
        probe, across = some(1)[0], some(1000)
        across = unit(across - np.outer(across @ probe, probe))
        samples = unit(cosine * probe + (1 - cosine**2) ** 0.5 * across)
        differences = count_differences(encode(samples), encode_probe(probe))
        errors.append((3 * DIMENSIONS - 2 * differences) / (DIMENSIONS * SLOPE) - cosine)
        lost += int((differences > most_differences(cosine, DIMENSIONS)).sum())
    deviations = np.concatenate(errors) * DIMENSIONS**0.5 / ERROR
    # Of 10,000 values, their standard deviation is known to 0.7 %. 13 are expected below -3, and 0.3 below -4.
    assert np.std(deviations) == pytest.approx(1, abs=0.04)
    assert abs(np.mean(deviations)) < 0.08
    assert np.mean(deviations < -3) < 0.003 and lost <= 3


@pytest.mark.parametrize("k", [1, 5])
def test_strangers_get_the_same_people_as_from_comparing_with_every_sample(strangers, index, k):
    probes = unit(np.random.default_rng(2).standard_normal((6, DIMENSIONS)))
    expected = np.argsort(-(probes @ strangers.T), axis=1)[:, :k].tolist()
    for count in (1, 3):  # one probe, and several at once
        for start in range(0, len(probes), count):
            found = index.search(probes[start : start + count], k, lambda ids: (ids, strangers[ids]))
            assert [[hit.sample for hit in hits] for hits in found] == expected[start : start + count]


def test_a_known_person_is_compared_with_few_samples(strangers, index, compared):
    probe = unit(strangers[777] + unit(np.random.default_rng(3).standard_normal(DIMENSIONS)) * 1.7)  # a cosine of 0.5
    [[hit]] = index.search(probe[None], 1, lambda ids: (ids, strangers[ids]))
    assert hit.sample == 777 and hit.cosine == pytest.approx(strangers[777] @ probe, abs=1e-6)
    assert 0 < sum(compared) < SAMPLES / 20


def test_added_and_removed_samples_count_at_once(strangers, index):
    new = unit(np.random.default_rng(4).standard_normal((1, DIMENSIONS)))
    probe = unit(new + 0.5 * strangers[:1])
    more = index.with_samples(new, [SAMPLES], [SAMPLES])
    assert more.search(probe)[0][0].sample == SAMPLES
    less = more.without_samples(np.arange(SAMPLES + 1) % 9 == SAMPLES % 9)
    assert less.search(probe)[0][0].sample == 0 and len(less) < SAMPLES * 0.9
    assert index.search(probe)[0][0].sample == 0


def test_more_people_than_the_codes_can_tell_apart_are_compared_all_at_once(strangers, index, compared):
    [hits] = index.search(strangers[:1], SAMPLES // 2)
    assert len({hit.sample for hit in hits}) == SAMPLES // 2
    assert sum(compared) < SAMPLES / 20  # only the first ones, before there were too many
