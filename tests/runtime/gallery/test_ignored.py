"""The ignore list: a face that is nearer to one of its entries than to every person is nobody, and an entry that is
removed leaves nothing behind."""

import sqlite3
from contextlib import closing

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rkface.runtime.core.crop_template import ARCFACE_112
from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.enrollment.import_export import reembed_gallery
from rkface.runtime.gallery import schema
from rkface.runtime.gallery.anchors import is_ignored
from rkface.runtime.gallery.backup import back_up, encrypt_gallery
from rkface.runtime.gallery.encryption import make_key
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.ignored import (
    MOST_FACES,
    find_ignored,
    ignore_face,
    list_ignored,
    read_ignored_picture,
    stop_ignoring,
)
from rkface.runtime.gallery.integrity import find_problems
from rkface.runtime.gallery.people import Sample
from rkface.runtime.gallery.restore import restore
from rkface.runtime.vision.embed import unit

from .conftest import ONE, crop_of, names, sample, traces, vector

pytest.importorskip("cryptography", reason="encryption needs rkface[crypto]")


@pytest.fixture
def filled(gallery):
    """Ada (1) and Grace (2); the postman (3) is ignored."""
    gallery.add("Ada", [sample(1)])
    gallery.add("Grace", [sample(2)])
    ignore_face(gallery, [sample(3)], "the postman")
    return gallery


def seeds_found(gallery):
    """Who finds themselves: of the seeds 1 to 3."""
    return [seed for seed in (1, 2, 3) if (found := gallery.search(vector(seed)[None])[0]) and found[0].cosine > 0.9]


def ignored(gallery, seed, threshold=0.5):
    probe = vector(seed)[None]
    return is_ignored(gallery.search(probe)[0], float(gallery.anchor_cosines(probe)[0]), threshold)


def test_an_ignored_face_is_nobody_and_others_are_who_they_were(filled):
    assert seeds_found(filled) == [1, 2] and filled.search(vector(3)[None], 5) == [[]]
    assert [ignored(filled, seed) for seed in (1, 2, 3)] == [False, False, True]
    (entry,) = list_ignored(filled)
    assert (entry.note, entry.embeddings, entry.face) == ("the postman", 1, True)
    assert read_ignored_picture(filled, entry.id) == crop_of(3)
    assert stop_ignoring(filled, find_ignored(filled, entry.id[:8])) == []
    assert list_ignored(filled) == [] and filled.search(vector(3)[None])[0] and not ignored(filled, 3)


CASES = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32 - 1),
        "people": st.integers(0, 5),
        "entries": st.integers(0, 4),
        "spread": st.floats(0.05, 1.5),
        "k": st.integers(1, 6),
        "precision": st.sampled_from(["float32", "int8"]),
    }
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(case=CASES)
def test_nobody_is_found_who_is_farther_than_an_anchor(tmp_path_factory, case):
    """With any people and entries: what the search finds is what the search without the list finds, minus everybody who
    is farther from the probe than an anchor."""
    rng, k = np.random.default_rng(case["seed"]), case["k"]
    center = rng.normal(size=16)

    def face():
        return Sample(unit((center + case["spread"] * rng.normal(size=16)).astype(np.float32)), None, 0.9, "")

    path = tmp_path_factory.mktemp("property") / "gallery.sqlite"
    with Gallery(path, ONE, create=True, precision=case["precision"]) as gallery:
        for number in range(case["people"]):
            gallery.add(f"person {number}", [face() for _ in range(1 + number % 3)])
        probes = np.stack([face().embedding for _ in range(4)])
        plain = gallery.search(probes, k)
        anchors = [[face() for _ in range(1 + number % 2)] for number in range(case["entries"])]
        kept = [ignore_face(gallery, faces) for faces in anchors]
        nearest = [max((float(probe @ one.embedding) for faces in anchors for one in faces), default=-2.0)
                   for probe in probes]  # fmt: skip
        with Gallery(path, ONE, precision=case["precision"]) as reopened:  # reads the same from the file
            for each in (gallery, reopened):
                assert each.anchor_cosines(probes) == pytest.approx(nearest, abs=1e-5)
                for matches, before, anchor in zip(each.search(probes, k), plain, nearest, strict=True):
                    clear = [match.name for match in before if abs(match.cosine - anchor) > 1e-4]
                    found = {match.name for match in matches}
                    assert [name in found for name in clear] == [
                        match.cosine > anchor for match in before if match.name in clear
                    ]
                    assert found <= {match.name for match in before}
        for entry in kept:
            stop_ignoring(gallery, entry)
        assert gallery.search(probes, k) == plain


def test_a_new_sample_does_not_make_the_search_forget_the_list(filled):
    filled.search(vector(1)[None])
    filled.add("Ada", [sample(4)])
    filled.add("Hedy", [sample(5)])
    assert filled.search(vector(3)[None]) == [[]] and names(filled, 5) == ["Hedy"]


def test_the_list_works_in_a_gallery_without_people(gallery):
    ignore_face(gallery, [sample(3)])
    assert gallery.search(vector(3)[None]) == [[]] and ignored(gallery, 3) and not ignored(gallery, 1)
    with pytest.raises(InputError, match="probe has 4 numbers"):
        gallery.search(np.float32([[1, 0, 0, 0]]))


def test_a_search_without_a_list_compares_nothing_with_it(gallery, monkeypatch):
    gallery.add("Ada", [sample(1)])
    monkeypatch.setattr("rkface.runtime.gallery.snapshot.Snapshot.anchor_cosines", None)
    assert names(gallery, 1) == ["Ada"] and gallery.anchor_cosines(vector(1)[None]).tolist() == [-2.0]


@pytest.mark.parametrize(
    ("faces", "note", "said"),
    [
        ([], "", "nothing to ignore"),
        ([sample(1)], "x" * 201, "at most 200"),
        ([sample(1)], "a\u200bb", "visible"),
        ([Sample(np.float32([1, 0]), None, 1.0, "")], "", "shape"),
        ([Sample(np.full(64, np.nan, np.float32), None, 1.0, "")], "", "NaN"),
        ([sample(1, identity="2" * 32)], "", "another model"),
    ],
)
def test_what_cannot_be_ignored_is_refused_and_nothing_is_stored(filled, faces, note, said):
    with pytest.raises(InputError, match=said):
        ignore_face(filled, faces, note)
    assert len(list_ignored(filled)) == 1 and filled.search(vector(3)[None]) == [[]]


def test_an_entry_keeps_a_bounded_number_of_faces(gallery):
    entry = ignore_face(gallery, [sample(seed) for seed in range(20)])
    assert entry.embeddings == MOST_FACES


def test_an_id_that_is_not_on_the_list_is_refused_with_the_command_that_lists_it(filled):
    for id in ("", "zz"):
        with pytest.raises(InputError, match="rkface strangers ignored"):
            find_ignored(filled, id)


def test_a_removed_entry_leaves_no_byte_in_the_gallery_or_its_backups_and_no_restore_brings_it_back(filled, path):
    backup = back_up(filled)
    assert traces(path.parent, [3]) == {3}
    stop_ignoring(filled, list_ignored(filled)[0])
    assert traces(path.parent, [1, 2, 3]) == {1, 2}
    restore(path, backup)
    filled.refresh()
    assert list_ignored(filled) == [] and seeds_found(filled) == [1, 2]


def test_a_backup_that_is_put_back_by_hand_is_restored_without_removed_entries(filled, path, tmp_path):
    copy = tmp_path / "elsewhere.sqlite"
    copy.write_bytes(back_up(filled).read_bytes())
    stop_ignoring(filled, list_ignored(filled)[0])
    restore(path, copy)
    filled.refresh()
    assert list_ignored(filled) == []


def test_a_restored_backup_has_its_list(filled, path):
    backup = back_up(filled)
    path.unlink()
    restore(path, backup)
    with Gallery(path) as gallery:
        assert gallery.search(vector(3)[None]) == [[]] and list_ignored(gallery)[0].note == "the postman"


def test_the_list_is_encrypted_with_the_gallery_and_its_backups(filled, path, tmp_path):
    back_up(filled)
    encrypt_gallery(filled, make_key(tmp_path / "key"))
    assert traces(path.parent, [1, 2, 3]) == set()
    (entry,) = list_ignored(filled)
    assert read_ignored_picture(filled, entry.id) == crop_of(3) and filled.search(vector(3)[None]) == [[]]
    ignore_face(filled, [sample(4)])
    assert traces(path.parent, [4]) == set() and filled.search(vector(4)[None]) == [[]]
    assert find_problems(filled) == []


@pytest.mark.parametrize("column", ["embedding", "image"])
def test_an_exchanged_value_is_refused_and_the_error_names_the_command_that_removes_it(filled, path, tmp_path, column):
    second = ignore_face(filled, [sample(4)])
    key = make_key(tmp_path / "key")
    encrypt_gallery(filled, key)
    filled.close()
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"UPDATE anchor SET {column} = (SELECT {column} FROM anchor WHERE id = 1) WHERE id = 2")
        database.commit()
    with Gallery(path, key=key) as gallery:
        assert second.id in str(find_problems(gallery)) and "strangers restore" in str(find_problems(gallery))
        if column == "embedding":
            with pytest.raises(WorkError, match="tampered"):
                gallery.search(vector(1)[None])
        stop_ignoring(gallery, find_ignored(gallery, second.id))
        assert find_problems(gallery) == [] and names(gallery, 1) == ["Ada"]


def test_damaged_values_are_found(filled, path):
    with filled.transaction() as database:
        database.execute("UPDATE anchor SET embedding = zeroblob(255)")
    assert "anchor 1 has a wrong length" in str(find_problems(filled))
    with pytest.raises(WorkError, match="damaged"):
        back_up(filled)


def test_another_model_computes_the_list_again(filled):
    picture = np.random.default_rng(0).integers(0, 255, (112, 112, 3)).astype(np.uint8)
    png = cv2.imencode(".png", picture)[1].tobytes()
    stop_ignoring(filled, list_ignored(filled)[0])
    ignore_face(filled, [Sample(vector(3), png, 0.8, "")])

    def embed(crops):  # the crops of the people are no pictures
        return np.array([vector(30) for _ in crops], np.float32).reshape(-1, 64)

    reembed_gallery(filled, embed, ARCFACE_112, "2" * 32)
    filled.expected_identity = "2" * 32
    filled.update_index()
    assert filled.anchor_cosines(vector(30)[None]) == pytest.approx([1.0], abs=1e-5)


def test_a_gallery_of_the_version_before_is_migrated(path, monkeypatch):
    older = next(number for number, steps in enumerate(schema.MIGRATIONS) if "TABLE anchor" in "".join(steps))
    with monkeypatch.context() as before:
        before.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:older])
        schema.create_gallery_file(path)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (older,)
    with Gallery(path, ONE) as gallery:
        gallery.add("Ada", [sample(1)])
        ignore_face(gallery, [sample(3)])
        assert gallery.search(vector(3)[None]) == [[]] and names(gallery, 1) == ["Ada"]
