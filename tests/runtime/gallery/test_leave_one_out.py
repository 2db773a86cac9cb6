"""What is found in a gallery by comparing each sample with all others."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rkface.runtime.cli.main import main
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.leave_one_out import check_quality
from rkface.runtime.gallery.neighbors import find_neighbors
from rkface.runtime.gallery.people import Sample
from rkface.runtime.gallery.reviews import set_threshold

from .conftest import ONE, D

MATCH = 0.5


def face(seed, noise=0.0, grain=0):
    """An embedding of the person ``seed``; the cosine of two of them falls with the ``noise``."""
    clean = np.random.default_rng(seed).standard_normal(D)
    other = np.random.default_rng((seed + 1) * 1000 + grain).standard_normal(D)
    mixed = clean / np.linalg.norm(clean) + noise * other / np.linalg.norm(other)
    return (mixed / np.linalg.norm(mixed)).astype(np.float32)


def taken(seed, grain, noise=0.4, crop=None):
    return Sample(face(seed, noise, grain), crop, 0.8, f"{seed}-{grain}.jpg")


def brute_force(vectors, owners):
    cosines = vectors @ vectors.T
    same = owners[:, None] == owners[None, :]
    np.fill_diagonal(cosines, -2)
    own, other = np.where(same, cosines, -2), np.where(same, -2, cosines)
    return own.max(1), other.max(1), cosines


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(1, 5), min_size=1, max_size=8),
    block=st.integers(1, 9),
    seed=st.integers(0, 1000),
    alike=st.floats(-1, 1),
)
def test_neighbors_are_what_comparing_all_pairs_finds(counts, block, seed, alike):
    owners = np.repeat(np.arange(len(counts)), counts)
    vectors = np.random.default_rng(seed).standard_normal((len(owners), 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = find_neighbors(vectors, owners, alike, block)
    own, other, cosines = brute_force(vectors, owners)
    np.testing.assert_allclose(found.own, own, atol=1e-5)
    np.testing.assert_allclose(found.other, other, atol=1e-5)
    for best, place in ((found.own, found.own_sample), (found.other, found.other_sample)):
        rows = np.flatnonzero(place >= 0)
        np.testing.assert_allclose(cosines[rows, place[rows]], best[rows], atol=1e-5)
        assert (best[place < 0] == -2).all()
    expected = {}
    for one, two in zip(*np.nonzero(np.triu(owners[:, None] != owners[None, :])), strict=True):
        if cosines[one, two] >= alike:
            pair = (owners[one], owners[two])
            expected[pair] = max(expected.get(pair, -2), cosines[one, two])
    pairs = {tuple(sorted(owners[pair])): cosine for pair, cosine in zip(found.pairs, found.cosines, strict=True)}
    assert pairs.keys() ^ expected.keys() <= {
        pair for pair in expected.keys() | pairs.keys() if abs(expected.get(pair, pairs.get(pair)) - alike) < 1e-5
    }
    assert (np.diff(found.cosines) <= 0).all()


def test_a_flood_of_pairs_keeps_the_most_similar_ones(monkeypatch):
    monkeypatch.setattr("rkface.runtime.gallery.neighbors.MOST_PAIRS", 5)
    vectors = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = find_neighbors(vectors, np.arange(40), -1, 7)
    best = np.sort((vectors @ vectors.T)[np.triu_indices(40, 1)])[::-1][:5]
    np.testing.assert_allclose(found.cosines, best, atol=1e-5)


def test_a_good_gallery_has_no_problems(gallery):
    for seed, name in enumerate(("Ada", "Grace", "Hedy")):
        gallery.add(name, [taken(seed, grain) for grain in range(3)])
    gallery.add("Ida", [taken(7, 0)])
    quality = check_quality(gallery, MATCH)
    assert quality.problems == () and (quality.recognized, quality.checked, quality.samples, quality.single) == (
        9,
        9,
        10,
        1,
    )
    assert {person.name for person in quality.people} == {"Ada", "Grace", "Hedy", "Ida"}
    assert quality.people[-1].name == "Ida" and quality.people[-1].lowest is None


def test_a_photo_of_somebody_else_is_named_with_the_photo_that_it_looks_like(gallery):
    gallery.add("Ada", [taken(0, grain) for grain in range(3)])
    gallery.add("Grace", [taken(1, 0, crop=b"png"), taken(1, 1)])
    wrong = gallery.add("Ada", [taken(1, 2)])
    quality = check_quality(gallery, MATCH)
    (finding,) = quality.findings
    assert finding.problem == "contradictory" and finding.sample.sample == gallery.samples(wrong)[-1].id
    assert (finding.sample.name, finding.near.name) == ("Ada", "Grace") and finding.cosine > finding.own
    assert len(quality.problems) == 1  # and it does not say that Ada and Grace look alike
    assert f"remove {wrong.id} {finding.sample.sample}" in quality.problems[0]


def test_good_samples_are_not_blamed_for_a_wrong_one_of_somebody_else(gallery):
    """Ada's wrong sample is nearer to each of Grace's than they are to each other."""
    gallery.add("Ada", [taken(0, grain) for grain in range(3)])
    gallery.add("Grace", [taken(1, 0, 0.9), taken(1, 1, 0.9)])
    gallery.add("Ada", [taken(1, 2, 0.0)])
    (finding,) = check_quality(gallery, MATCH).findings
    assert (finding.sample.source, finding.sample.name, finding.near.name) == ("1-2.jpg", "Ada", "Grace")


def test_a_sample_that_is_unlike_the_others_is_named(gallery):
    ada = gallery.add("Ada", [taken(0, 0), taken(0, 1), taken(55, 0)])
    quality = check_quality(gallery, MATCH)
    (finding,) = quality.findings
    assert finding.problem == "unlike" and finding.sample.sample == gallery.samples(ada)[-1].id
    assert finding.cosine < MATCH and finding.near.person == ada.id and quality.recognized == 2


def test_twins_are_a_problem_until_both_have_a_threshold(gallery):
    ada = gallery.add("Ada", [taken(0, 0, 0.2), taken(0, 1, 0.2)])
    # Grace: half of her face is Ada's.
    halves = [face(0) + face(1, 0.2, grain) for grain in range(2)]
    grace = gallery.add(
        "Grace", [Sample((one / np.linalg.norm(one)).astype(np.float32), None, 0.8, "g") for one in halves]
    )
    (pair,) = check_quality(gallery, MATCH).similar
    assert pair.confused and {pair.first.name, pair.second.name} == {"Ada", "Grace"} and not pair.maybe_same
    assert pair.cosine < pair.suggested < 1
    set_threshold(gallery, ada, pair.suggested)
    assert len(check_quality(gallery, MATCH).problems) == 1
    set_threshold(gallery, grace, pair.suggested)
    quality = check_quality(gallery, MATCH)
    assert quality.problems == () and quality.recognized == 4 and not quality.similar[0].confused


def test_one_person_enrolled_twice_is_called_that(gallery):
    gallery.add("Ada", [taken(0, grain) for grain in range(2)])
    gallery.add("Ada L.", [taken(0, grain) for grain in range(5, 7)])
    assert check_quality(gallery, MATCH).similar[0].maybe_same


def test_an_empty_gallery_and_one_of_one_sample_have_nothing_to_compare(gallery):
    assert check_quality(gallery, MATCH).people == ()
    gallery.add("Ada", [taken(0, 0)])
    quality = check_quality(gallery, MATCH)
    assert (quality.samples, quality.single, quality.impostor, quality.problems) == (1, 1, None, ())


@pytest.fixture
def rkface(capsys, path):
    def run(*arguments):
        code = main(["gallery", *map(str, arguments), "--gallery", str(path)])
        return (code, *capsys.readouterr())

    return run


def test_the_command_names_bad_samples_and_its_exit_code_says_so(gallery, path, rkface):
    gallery.add("Ada", [taken(0, grain) for grain in range(3)])
    code, out, err = rkface("check", "--quality", "--threshold", MATCH)
    assert code == 0 and "3 of 3 samples recognized" in out and "unlike" not in err
    gallery.add("Ada", [taken(55, 0)])
    code, out, err = rkface("check", "--quality", "--threshold", MATCH, "--json")
    quality = json.loads(out)["quality"]
    assert code == 1 and quality["findings"][0]["sample"]["source"] == "55-0.jpg" and len(quality["problems"]) == 1
    assert rkface("check")[0] == 0  # the file is not damaged
    code, _, err = rkface("check", "--quality", "--threshold", MATCH)
    assert code == 1 and "unlike the other samples" in err


def test_the_command_needs_a_threshold(gallery, rkface, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for wrong, said in ((["--bundle", "nowhere"], "nowhere"), ([], "--threshold")):
        code, _, err = rkface("check", "--quality", *wrong)
        assert code == 2 and said in err
    with pytest.raises(SystemExit):
        rkface("check", "--quality", "--threshold", "2")


def test_the_command_gives_people_a_threshold(gallery, path, rkface):
    for name in ("Ada", "Grace"):
        gallery.add(name, [taken(0, 0)])
    assert rkface("threshold", "0.62", "Ada", "Grace")[0] == 0
    with Gallery(path, ONE) as opened:
        assert [person.threshold for person in opened.people()] == [0.62, 0.62]
    assert rkface("threshold", "none", "Ada")[0] == 0
    code, _, err = rkface("threshold", "0.7", "Grace", "Adda")
    assert code == 2 and "did you mean Ada?" in err
    with pytest.raises(SystemExit):
        rkface("threshold", "lots", "Ada")
    with Gallery(path, ONE) as opened:
        assert [person.threshold for person in opened.people()] == [None, 0.62]
