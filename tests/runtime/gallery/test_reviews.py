"""A person's own threshold, and what users said about appearances: kept, merged, encrypted, aged and forgotten."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkface.runtime.core.errors import InputError
from rkface.runtime.enrollment.enroll import EnrollOptions
from rkface.runtime.enrollment.import_export import export_people, import_record, read_records
from rkface.runtime.gallery.backup import back_up, encrypt_gallery, forget
from rkface.runtime.gallery.encryption import AlteredError, make_key
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.integrity import find_problems
from rkface.runtime.gallery.match import Match
from rkface.runtime.gallery.restore import restore
from rkface.runtime.gallery.reviews import (
    Review,
    add_review,
    age_reviews,
    list_reviews,
    read_review_embeddings,
    remove_reviews,
    set_threshold,
)
from rkface.runtime.tracking.visit import decide

from .conftest import ONE, sample, traces, vector

cosines = st.floats(-1, 1, width=32)
thresholds = st.one_of(st.none(), st.floats(0, 1))
people = st.lists(st.tuples(cosines, thresholds), max_size=4).map(
    lambda rows: [Match(str(n), str(n), *row) for n, row in enumerate(sorted(rows, key=lambda row: -row[0]))]
)


def plain(matches):
    """``matches`` without thresholds of their own."""
    return [replace(match, threshold=None) for match in matches]


def who(match):
    return match and match.person


@given(people, st.floats(0, 1))
def test_a_threshold_of_ones_own_only_makes_faces_unknown(found, threshold):
    named = decide(None, found, threshold, 0.05)
    assert named is None or who(named) == who(decide(None, plain(found), threshold, 0.05)) == who(found[0])
    assert named is None or named.cosine >= max(threshold, named.threshold or 0)


@given(people, st.floats(0, 1), st.integers(0, 3))
def test_a_person_who_was_recognized_keeps_the_name_only_near_the_own_threshold(found, threshold, number):
    held = next((match for match in found if match.person == str(number)), None)
    named = decide(held, found, threshold, 0.05)
    assert named is None or named.cosine >= named.needed(threshold) - 0.05


@given(people, st.floats(0, 1), st.integers(0, 3))
def test_without_own_thresholds_nothing_changes(found, threshold, number):
    found = plain(found)
    held = next((match for match in found if match.person == str(number)), None)
    # As it was before there were thresholds of single people.
    best = found[0] if found and found[0].cosine >= threshold else None
    if held is None or held.cosine < threshold - 0.05:
        expected = best
    else:
        expected = best if best and best.cosine >= held.cosine + 0.05 else held
    assert decide(held, found, threshold, 0.05) == expected


def test_search_returns_the_own_threshold_at_once(gallery, path):
    ada = gallery.add("Ada", [sample(1)])
    with Gallery(path, ONE) as service:
        assert service.search(vector(1)[None])[0][0].threshold is None
        assert set_threshold(gallery, ada, 0.7).threshold == 0.7
        service.refresh()
        for each in (service, gallery):
            (match,) = each.search(vector(1)[None])[0]
            assert match.threshold == 0.7 and match.counts(0.4) and not replace(match, cosine=0.6).counts(0.4)
    assert set_threshold(gallery, ada, None).threshold is None
    for wrong in (1.5, -0.1, float("nan")):
        with pytest.raises(InputError, match="from 0 to 1"):
            set_threshold(gallery, ada, wrong)


def review(person, named=None, appearance="a-1", **more):
    return Review(appearance, "door", 1.8e9, named, person, 0.5 if named else None, 0.4, 0.8, **more)


@pytest.fixture
def three(gallery):
    return [gallery.add(name, [sample(seed)]) for seed, name in enumerate(("Ada", "Grace", "Hedy"), start=1)]


@pytest.mark.parametrize(
    ("named", "person", "outcome"),
    [
        (0, 0, "right"),
        (0, None, "false match"),
        (0, 1, "wrong person"),
        (None, 1, "missed match"),
        (None, None, "rightly unknown"),
    ],
)
def test_a_review_says_what_the_camera_did(gallery, three, named, person, outcome):
    ids = [one if one is None else three[one].id for one in (person, named)]
    assert add_review(gallery, review(*ids)).outcome == outcome == list_reviews(gallery)[0].outcome


def test_the_last_word_about_an_appearance_counts_and_can_be_withdrawn(gallery, three):
    add_review(gallery, review(None, three[0].id), vector(9), ONE)
    add_review(gallery, review(three[0].id, three[0].id))
    assert [one.outcome for one in list_reviews(gallery)] == ["right"]
    assert not read_review_embeddings(gallery, ONE, ["a-1"])  # that of the replaced review is gone, too
    assert remove_reviews(gallery, ["a-1"]) == 1 and remove_reviews(gallery, ["a-1"]) == 0
    with pytest.raises(InputError, match="does not exist"):
        add_review(gallery, review("nobody"))


@pytest.mark.parametrize("encrypted", [False, True])
def test_reviews_follow_a_merge_and_go_with_a_person_also_from_backups(gallery, three, tmp_path, encrypted):
    ada, grace, hedy = three
    add_review(gallery, review(grace.id, ada.id, "a-1"), vector(11), ONE)
    add_review(gallery, review(None, hedy.id, "a-2"), vector(12), ONE)
    add_review(gallery, review(hedy.id, hedy.id, "a-3"), vector(13), ONE)
    if encrypted:
        pytest.importorskip("cryptography")
        encrypt_gallery(gallery, make_key(tmp_path / "key"))
        assert traces(tmp_path, [11, 12, 13]) == set()
    gallery.merge(grace, ada)
    back_up(gallery)
    np.testing.assert_array_equal(read_review_embeddings(gallery, ONE, ["a-1"])["a-1"], vector(11))
    assert {(one.appearance, one.outcome) for one in list_reviews(gallery)} == {
        ("a-1", "right"),
        ("a-2", "false match"),
        ("a-3", "right"),
    }
    assert find_problems(gallery) == []
    forget(gallery, hedy)
    assert [one.appearance for one in list_reviews(gallery)] == ["a-1"]
    assert traces(tmp_path, [12, 13]) == set() and find_problems(gallery) == []


def test_the_embedding_of_a_review_belongs_to_its_people(gallery, three, path, tmp_path):
    pytest.importorskip("cryptography")
    encrypt_gallery(gallery, make_key(tmp_path / "key"))
    add_review(gallery, review(three[1].id, three[0].id), vector(11), ONE)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE review SET person = ?", [three[2].id])
    with pytest.raises(AlteredError, match="review --undo a-1"):
        read_review_embeddings(gallery, ONE, ["a-1"])
    assert len(find_problems(gallery)) == 1


def test_reviews_are_restored_and_damage_is_found(gallery, three, path):
    add_review(gallery, review(three[0].id), vector(11), ONE)
    set_threshold(gallery, three[0], 0.6)
    backup = back_up(gallery)
    remove_reviews(gallery, ["a-1"])
    set_threshold(gallery, three[0], None)
    restore(path, backup)
    with Gallery(path, ONE) as restored:
        assert [one.appearance for one in list_reviews(restored)] == ["a-1"]
        assert restored.person("Ada").threshold == 0.6
        with restored.transaction() as database:
            database.execute("UPDATE review SET embedding = x'00' WHERE appearance = 'a-1'")
        assert "a-1" in find_problems(restored)[0]


def test_reviews_end_after_the_time_that_a_service_ran(gallery, three):
    add_review(gallery, review(three[0].id))
    assert age_reviews(gallery, 3600, 7200) == 0
    add_review(gallery, review(three[0].id, appearance="a-2"))
    assert age_reviews(gallery, 5000, 7200) == 1
    assert [one.appearance for one in list_reviews(gallery)] == ["a-2"]
    assert age_reviews(gallery, -1e9, 0) == 1  # a wrong clock makes nothing younger


def test_an_export_has_threshold_and_reviews_and_an_import_the_threshold(gallery, three, tmp_path):
    ada, grace, _ = three
    set_threshold(gallery, ada, 0.6)
    add_review(gallery, review(grace.id, ada.id), vector(11), ONE)
    (file := tmp_path / "people.jsonl").touch()
    with file.open("w", encoding="utf-8") as out:
        export_people(gallery, [gallery.person("Ada")], out, table=False, embeddings=True, crops=None)
    line = json.loads(file.read_text(encoding="utf-8"))
    assert line["threshold"] == 0.6 and line["reviews"][0]["person"] == grace.id
    with Gallery(tmp_path / "other.sqlite", ONE, create=True) as other:
        for _ in range(2):
            for record in read_records(file, tmp_path):
                import_record(other, record, None, EnrollOptions())
            assert other.person("Ada").threshold == 0.6 and list_reviews(other) == []
        set_threshold(other, other.person("Ada"), 0.7)
        import_record(other, next(read_records(file, tmp_path)), None, EnrollOptions())
        assert other.person("Ada").threshold == 0.7  # existing data does not change
    line["threshold"] = 7
    file.write_text(json.dumps(line), encoding="utf-8")
    (refused,) = read_records(file, tmp_path)
    assert isinstance(refused, InputError) and "threshold" in str(refused)
