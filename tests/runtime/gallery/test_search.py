"""A search returns the same as comparing the probe with every sample, with float32 and with int8."""

import numpy as np
import pytest

from rkface.runtime.gallery import blocks, search
from rkface.runtime.gallery.search import build_index

PRECISIONS = ("float32", "int8")


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def crowd(people, samples, dimensions=512, seed=0):
    """Vectors, ids and owners: ``samples`` of each person around a direction of their own, in random order."""
    random = np.random.default_rng(seed)
    middles = random.standard_normal((people, dimensions))
    owners = np.repeat(np.arange(people), samples)
    vectors = unit(middles[owners] + 0.7 * random.standard_normal((len(owners), dimensions)))
    order = random.permutation(len(owners))
    return vectors[order], np.arange(len(owners)) * 3 + 7, owners[order]


def lookup(vectors, ids):
    table = dict(zip(ids.tolist(), vectors, strict=True))
    return lambda wanted: (wanted, np.array([table[int(id)] for id in wanted], np.float32))


def by_hand(vectors, owners, probe, k):
    """The k most similar people, computed in double precision with every sample."""
    cosines = vectors.astype(np.float64) @ probe.astype(np.float64)
    best = {owner: cosines[owners == owner].max() for owner in np.unique(owners)}
    return sorted(((value, owner) for owner, value in best.items()), reverse=True)[:k]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("count", [1, 2, 16, 17, 40])
def test_the_result_is_the_same_as_comparing_with_every_sample(precision, count):
    # One probe, several probes, and more than are multiplied at once.
    vectors, ids, owners = crowd(60, 5)  # also more samples than are multiplied at once
    index = build_index(vectors, ids, owners, precision)
    random = np.random.default_rng(1)
    probes = unit(vectors[:count] + 0.02 * random.standard_normal((count, 512)))
    found = index.search(probes, 4, lookup(vectors, ids))
    assert len(found) == count
    for probe, hits in zip(probes, found, strict=True):
        expected = by_hand(vectors, owners, probe, 4)
        assert [hit.owner for hit in hits] == [owner for _, owner in expected]
        # float32 sums of 512 products are good to about 1e-7.
        np.testing.assert_allclose([hit.cosine for hit in hits], [value for value, _ in expected], atol=2e-6)
        for hit in hits:
            row = int(np.flatnonzero(ids == hit.sample)[0])
            assert owners[row] == hit.owner and vectors[row] @ probe == pytest.approx(hit.cosine, abs=2e-6)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("count", [1, 3, 16])
@pytest.mark.parametrize("samples", [63, 64, 65, 1000])
def test_the_result_does_not_depend_on_the_size_of_blocks(monkeypatch, precision, count, samples):
    # Blocks that are full, with one sample more and one less; for a few probes each has parts of ten dimensions.
    monkeypatch.setattr(blocks, "BLOCK_SAMPLES", {"float32": 64, "int8": 64})
    monkeypatch.setattr(search, "CACHED_NUMBERS", 640)
    vectors, ids, owners = crowd(samples, 1, 96)
    index = build_index(vectors, ids, owners, precision)
    probes = unit(vectors[-count:] + 0.02 * np.random.default_rng(1).standard_normal((count, 96)))
    for probe, hits in zip(probes, index.search(probes, 5, lookup(vectors, ids)), strict=True):
        expected = by_hand(vectors, owners, probe, 5)
        assert [hit.owner for hit in hits] == [owner for _, owner in expected]
        np.testing.assert_allclose([hit.cosine for hit in hits], [value for value, _ in expected], atol=1e-6)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("count", [1, 3])
def test_the_older_of_two_equal_samples_comes_first(monkeypatch, precision, count):
    # Twelve people have the same photo, in several blocks and in the last columns, where BLAS libraries add in another
    # order. More people tie than the search returns. Blocks are so small that BLAS uses one thread.
    monkeypatch.setattr(blocks, "BLOCK_SAMPLES", {"float32": 64, "int8": 64})
    vectors, ids, owners = crowd(1003, 1, 64)
    same = [3, 62, 63, 64, 65, 127, 128, 960, 999, 1000, 1001, 1002]
    vectors[same] = vectors[3]
    index = build_index(vectors, ids, owners, precision)
    for hits in index.search(np.repeat(vectors[3:4], count, axis=0), 10, lookup(vectors, ids)):
        assert [hit.sample for hit in hits] == ids[same][:10].tolist()
        assert len({hit.cosine for hit in hits}) == 1


@pytest.mark.parametrize("precision", PRECISIONS)
def test_near_ties_are_as_exact_as_float32_sums(precision):
    # 5000 people within 1e-5 of each other: the answer's cosines are the ten largest there are, to 1e-6.
    random = np.random.default_rng(4)
    probe = unit(random.standard_normal(512))
    vectors = unit(probe + 0.5 * unit(random.standard_normal((5000, 512))) + 1e-5 * random.standard_normal((5000, 512)))
    hits = build_index(vectors, range(5000), range(5000), precision).search(
        probe[None], 10, lambda ids: (ids, vectors[ids])
    )
    cosines = vectors.astype(np.float64) @ probe.astype(np.float64)
    np.testing.assert_allclose([hit.cosine for hit in hits[0]], np.sort(cosines)[:-11:-1], atol=1e-6)
    np.testing.assert_allclose([hit.cosine for hit in hits[0]], cosines[[hit.owner for hit in hits[0]]], atol=1e-6)


def test_int8_orders_near_ties_as_float32_does():
    # 400 people differ by less than the rounding: int8 alone orders them wrongly, which is checked too.
    random = np.random.default_rng(2)
    probe = unit(random.standard_normal(512))
    vectors = unit(probe + 0.5 * unit(random.standard_normal((400, 512))) + 1e-4 * random.standard_normal((400, 512)))
    ids = np.arange(400)
    index = build_index(vectors, ids, ids, "int8")
    expected = np.argsort(-(vectors.astype(np.float64) @ probe.astype(np.float64)))[:10].tolist()
    exact = [hit.owner for hit in index.search(probe[None], 10, lookup(vectors, ids))[0]]
    rough = [hit.owner for hit in index.search(probe[None], 10)[0]]
    assert exact == expected and rough != expected


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_person_with_many_samples_does_not_crowd_out_others(precision):
    random = np.random.default_rng(3)
    me = random.standard_normal(64)
    many = unit(me + 0.1 * random.standard_normal((300, 64)))
    others = unit(random.standard_normal((5, 64)))
    vectors = np.concatenate([many, others])
    owners = np.array([0] * 300 + [1, 2, 3, 4, 5])
    ids = np.arange(305)
    found = build_index(vectors, ids, owners, precision).search(unit(me)[None], 3, lookup(vectors, ids))[0]
    assert [hit.owner for hit in found] == [owner for _, owner in by_hand(vectors, owners, unit(me), 3)]
    assert found[0].owner == 0 and len({hit.owner for hit in found}) == 3


@pytest.mark.parametrize("precision", PRECISIONS)
def test_adding_and_removing_samples_does_not_change_the_old_index(precision):
    vectors, ids, owners = crowd(20, 3, 32)
    whole = build_index(vectors, ids, owners, precision)
    half = build_index(vectors[:30], ids[:30], owners[:30], precision)
    before = half.search(vectors[:5], 2)
    grown = half.with_samples(vectors[30:], ids[30:], owners[30:])
    assert grown.search(vectors[:5], 3) == whole.search(vectors[:5], 3)
    assert half.search(vectors[:5], 2) == before
    less = grown.without_samples(grown.owners == owners[0])
    assert owners[0] not in {hit.owner for hits in less.search(vectors, 20) for hit in hits}
    assert len(grown) == 60 and len(less) == 57


@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_index_built_in_steps_equals_one_built_at_once(monkeypatch, precision):
    monkeypatch.setattr(blocks, "BLOCK_SAMPLES", {"float32": 48, "int8": 48})
    vectors, ids, owners = crowd(70, 3, 64)
    index = build_index(vectors[:0], [], [], precision)
    for start, end in [(0, 1), (1, 1), (1, 40), (40, 47), (47, 48), (48, 49), (49, 210)]:
        index = index.with_samples(vectors[start:end], ids[start:end], owners[start:end])
    # All samples of a block, some of another block, and the last block.
    gone = np.isin(np.arange(210), [*range(48, 96), 100, 101, 208])
    index = index.without_samples(gone).with_samples(vectors[gone][:5], ids[gone][:5], owners[gone][:5])
    order = np.concatenate([np.flatnonzero(~gone), np.flatnonzero(gone)[:5]])
    whole = build_index(vectors[order], ids[order], owners[order], precision)
    assert len(index) == len(whole) == 210 - 51 + 5
    for count in (1, 3):
        assert index.search(vectors[:count], 7) == whole.search(vectors[:count], 7)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_sample_deleted_during_a_search_is_not_found(precision):
    vectors, ids, owners = crowd(10, 1, 32)
    index = build_index(vectors, ids, owners, precision)
    nearest = index.search(vectors[:1], 1)[0][0]

    def all_but_it(wanted):
        left = wanted[wanted != nearest.sample]
        return left, lookup(vectors, ids)(left)[1].reshape(-1, 32)

    found = index.search(vectors[:1], 10, all_but_it)[0]
    none = np.zeros(0, np.int64), np.zeros((0, 0), np.float32)
    assert bool(index.search(vectors[:1], 10, lambda wanted: none)[0]) == (precision == "float32")
    # float32 answers from memory; int8 reads the samples again.
    assert (nearest.owner in {hit.owner for hit in found}) == (precision == "float32")


def test_an_empty_index_and_no_probes_give_no_results():
    vectors, ids, owners = crowd(3, 1, 32)
    empty = build_index(np.zeros((0, 32), np.float32), [], [])
    assert empty.search(vectors, 2) == [[], [], []]
    index = build_index(vectors, ids, owners)
    assert index.search(np.zeros((0, 32), np.float32)) == []
    assert [len(hits) for hits in index.search(vectors, 9)] == [3, 3, 3]
    with pytest.raises(ValueError, match="32 dimensions"):
        index.search(np.zeros((1, 64), np.float32))


def test_large_galleries_need_nine_bits_for_a_number_by_default(monkeypatch):
    monkeypatch.setattr(search, "LARGE", 192)
    vectors, ids, owners = crowd(64, 3, 64)
    assert build_index(vectors[:191], ids[:191], owners[:191]).precision == "float32"
    large = build_index(vectors, ids, owners)
    assert large.precision == "int8" and large.nbytes * 32 == vectors.nbytes * 9
