"""What a gallery stores, refuses and finds, also after a power cut."""

import doctest
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.core.manifest_reader import parse_manifest
from rkface.runtime.gallery import schema
from rkface.runtime.gallery.backup import back_up, forget
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.integrity import find_problems
from rkface.runtime.gallery.people import Sample, embedding_identity
from rkface.runtime.vision.align import ALIGNMENT

from .conftest import ONE, D, crop_of, names, sample, vector

OTHER = "2" * 32  # identity of another model


def test_added_samples_are_there_after_closing(path):
    with Gallery(path, ONE, create=True) as gallery:
        ada = gallery.add("Ada", [sample(1), sample(2, crop=False)], {"badge": 7})
        gallery.add("Grace", [sample(3)])
    with Gallery(path) as gallery:
        assert [(person.name, person.samples) for person in gallery.people()] == [("Ada", 2), ("Grace", 1)]
        assert gallery.person("Ada") == gallery.person(ada.id) == ada and ada.metadata == {"badge": 7}
        first, second = gallery.samples(ada)
        np.testing.assert_allclose(first.embedding, vector(1), atol=1e-7)
        assert (first.crop, second.crop) == (crop_of(1), None)
        assert (first.source, first.quality, first.identity) == ("photo-1.jpg", 0.8, ONE)
        match = gallery.search(vector(3)[None], 2)[0][0]
        assert (match.name, match.cosine) == ("Grace", pytest.approx(1, abs=1e-6))
        assert gallery.identity == ONE and gallery.state().samples == 3


def test_adding_to_a_person_joins_samples_and_metadata(gallery):
    first = gallery.add("Ada", [sample(1)], {"badge": 7, "room": "A"})
    again = gallery.add("Ada", [sample(2)], {"room": "B"})
    assert (again.id, again.samples, again.metadata) == (first.id, 2, {"badge": 7, "room": "B"})
    assert again.created == first.created <= again.changed


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_search_sees_every_change_at_once(path, precision):
    with Gallery(path, ONE, create=True, precision=precision) as gallery:
        assert gallery.search(vector(1)[None]) == [[]]
        gallery.add("Ada", [sample(1)])
        assert names(gallery, 1) == ["Ada"]
        gallery.add("Grace", [sample(2)])  # a new person
        gallery.add("Ada", [sample(3)])  # a new sample
        assert [names(gallery, seed) for seed in (1, 2, 3)] == [["Ada"], ["Grace"], ["Ada"]]
        gallery.rename(gallery.person("Grace"), "Hedy")
        assert names(gallery, 2) == ["Hedy"]
        gallery.merge(gallery.person("Hedy"), gallery.person("Ada"))
        assert names(gallery, 2, 5) == ["Ada"] and gallery.person("Ada").samples == 3
        forget(gallery, gallery.person("Ada"))
        assert names(gallery, 2, 5) == []


def test_refresh_loads_the_changes_of_another_process(gallery, path):
    gallery.add("Ada", [sample(1)])
    assert names(gallery, 1) == ["Ada"] and not gallery.refresh()
    with Gallery(path, ONE) as other:
        other.add("Grace", [sample(2)])
    assert names(gallery, 2) == ["Ada"]  # a search never waits for the disk
    assert gallery.refresh() and names(gallery, 2) == ["Grace"]
    with Gallery(path, ONE) as other:
        other.add("Hedy", [sample(3)])
    gallery.add("Joan", [sample(4)])  # this write must not hide the other one
    assert [names(gallery, seed) for seed in (3, 4)] == [["Hedy"], ["Joan"]]


def test_searches_continue_while_people_are_added(gallery):
    gallery.add("Ada", [sample(1)])
    stop, wrong = threading.Event(), []

    def look():
        while not stop.is_set():
            if names(gallery, 1) != ["Ada"]:
                wrong.append(True)

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for seed in range(2, 30):
        gallery.add(f"person {seed}", [sample(seed)])
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong and all(names(gallery, seed) == [f"person {seed}"] for seed in range(2, 30))


def test_a_person_who_is_merged_during_an_add_does_not_come_back(gallery, monkeypatch):
    grace, ada = gallery.add("Grace", [sample(1)]), gallery.add("Ada", [sample(2)])
    gallery.refresh()
    other, person = threading.Thread(target=gallery.merge, args=(ada, grace)), gallery.person

    def slow(key):
        """Runs when the new sample is on the disk but not in memory yet."""
        other.start()
        other.join(0.5)
        return person(key)

    monkeypatch.setattr(gallery, "person", slow)
    gallery.add("Ada", [sample(3)])
    other.join()
    assert names(gallery, 3) == ["Grace"]


def test_embeddings_of_another_model_are_refused_and_never_searched(gallery, path):
    gallery.add("Ada", [sample(1)])
    with pytest.raises(InputError, match="another model or alignment"):
        gallery.add("Ada", [replace(sample(2), identity=OTHER)])
    with Gallery(path, OTHER) as other:
        assert other.search(vector(1)[None]) == [[]] and other.state().ignored == 1
        with pytest.raises(InputError, match="reembed"):
            other.add("Grace", [sample(2)])
        assert [person.name for person in other.people()] == ["Ada"]  # and not a part of Grace
    with pytest.raises(InputError, match="65"):
        gallery.add("Ada", [Sample(np.ones(65, np.float32), None, 1, "")])


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_nan_and_infinity_are_refused_and_hide_nobody(gallery, path, wrong):
    gallery.add("Ada", [sample(1)])
    with pytest.raises(InputError, match="the recognizer fails"):
        gallery.add("Grace", [sample(2), replace(sample(3), embedding=np.full_like(vector(3), wrong))])
    assert names(gallery, 1) == ["Ada"] and [person.name for person in gallery.people()] == ["Ada"]


def test_a_gallery_without_samples_accepts_any_model(gallery, path):
    gallery.add("Ada", [sample(1)])
    forget(gallery, gallery.person("Ada"))
    with Gallery(path, OTHER) as other:
        other.add("Grace", [sample(2)])
        assert other.identity == OTHER


def test_the_identity_depends_on_everything_that_changes_embeddings(bundle):
    manifest = parse_manifest(bundle)
    model = manifest.recognizer
    own = embedding_identity(manifest)
    assert own == embedding_identity(replace(manifest, target="rk3576", created="later"))
    assert own == embedding_identity(replace(manifest, recognizer=replace(model, precision="fp16", file="other.rknn")))
    others = [
        replace(model, source=replace(model.source, sha256="f" * 64)),
        replace(model, input=replace(model.input, mean=(0.0, 0.0, 0.0))),
        replace(model, input=replace(model.input, height=128)),
    ]
    identities = {embedding_identity(replace(manifest, recognizer=other)) for other in others}
    assert len(identities | {own}) == 4 and len(own) == 32


def test_the_identity_changes_with_alignment(bundle, monkeypatch):
    before = embedding_identity(parse_manifest(bundle))
    monkeypatch.setattr("rkface.runtime.gallery.people.ALIGNMENT", f"{ALIGNMENT}+")
    assert embedding_identity(parse_manifest(bundle)) != before


def test_invalid_and_duplicate_names_are_refused(gallery):
    ada = gallery.add("Ada", [sample(1)])
    gallery.add("Grace", [sample(2)])
    for wrong in ("Grace", "", "  ", "Ada\0", "\x1b[2J", "Ada\nGrace", "Ada\x85", "Ada\u2028", "\ud800"):
        with pytest.raises(InputError):
            gallery.rename(ada, wrong)
    for wrong in ("", "Ada\0", "Ada\u2029", "\ud800"):
        with pytest.raises(InputError):
            gallery.add(wrong, [])
    gallery.rename(ada, "Zo\u0308e \u0646\u200c\u0645")  # combining characters are not control characters
    with pytest.raises(InputError, match="same person"):
        gallery.merge(ada, ada)
    with pytest.raises(InputError, match="did you mean Grace"):
        gallery.person("Grase")


def test_files_have_mode_0600(gallery, path):
    gallery.add("Ada", [sample(1)])
    backup = back_up(gallery)
    for file in (path, path.with_name("gallery.sqlite-wal"), path.with_name("gallery.sqlite-shm"), backup):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert stat.S_IMODE(backup.parent.stat().st_mode) == 0o700


def test_the_mode_of_a_copied_gallery_is_restricted(path):
    with Gallery(path, ONE, create=True) as gallery:
        gallery.add("Ada", [sample(1)])
    path.chmod(0o644)
    with Gallery(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_files_of_other_programs_are_refused_and_unchanged(path):
    with pytest.raises(InputError, match="no such gallery"):
        Gallery(path)
    path.write_bytes(b"holiday pictures, no database" * 50)
    with pytest.raises(InputError, match="not an SQLite database"):
        Gallery(path, create=True)
    path.unlink()
    with closing(sqlite3.connect(path)) as foreign:
        foreign.execute("CREATE TABLE recipe (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(InputError, match="another program"):
        Gallery(path, create=True)
    assert path.read_bytes() == before


def test_a_newer_gallery_is_refused_and_an_older_one_migrated(path, monkeypatch):
    with Gallery(path, ONE, create=True) as gallery:
        gallery.add("Ada", [sample(1)])
    known = schema.MIGRATIONS
    monkeypatch.setattr(schema, "MIGRATIONS", (*known, ("ALTER TABLE person ADD COLUMN pet TEXT",)))
    for _ in range(2):  # the migration runs once, not at every start
        with Gallery(path) as gallery:
            assert gallery.read("SELECT pet FROM person") == [(None,)]
    monkeypatch.setattr(schema, "MIGRATIONS", known)
    with pytest.raises(InputError, match="newer rkface"):
        Gallery(path)


def test_a_failed_migration_changes_nothing(path, monkeypatch):
    with Gallery(path, ONE, create=True) as gallery:
        gallery.add("Ada", [sample(1)])
    known = schema.MIGRATIONS
    broken = ("ALTER TABLE person ADD COLUMN pet TEXT", "no SQL")
    monkeypatch.setattr(schema, "MIGRATIONS", (*known, broken))
    with pytest.raises(WorkError):
        Gallery(path)
    monkeypatch.setattr(schema, "MIGRATIONS", known)
    with Gallery(path) as gallery:
        assert [person.name for person in gallery.people()] == ["Ada"]


def test_a_locked_gallery_is_reported(gallery, path, monkeypatch):
    monkeypatch.setattr(schema, "BUSY_TIMEOUT", 0.05)
    with Gallery(path, ONE) as other, gallery.transaction(), pytest.raises(WorkError, match="another program"):
        other.add("Ada", [sample(1)])


def test_a_full_disk_loses_nothing_and_is_reported(gallery):
    gallery.add("Ada", [sample(1)])
    # SQLite reports the same error when the disk is full.
    (pages,) = gallery.database.execute("PRAGMA page_count").fetchone()
    gallery.database.execute(f"PRAGMA max_page_count = {pages + 3}")
    with pytest.raises(WorkError, match="disk is full; nothing was changed"):
        gallery.add("Grace", [sample(seed) for seed in range(2, 40)])
    assert [person.name for person in gallery.people()] == ["Ada"] and names(gallery, 2) == ["Ada"]
    gallery.database.execute("PRAGMA max_page_count = 1000000")
    gallery.add("Grace", [sample(2)])
    assert names(gallery, 2) == ["Grace"] and find_problems(gallery) == []


WRITER = """
import sys
from pathlib import Path
import numpy as np
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.people import Sample

gallery = Gallery(Path(sys.argv[1]), "1" * 32, create=True)
number = int(sys.argv[2])
while True:
    random = np.random.default_rng(number)
    sample = Sample(random.standard_normal(64).astype(np.float32), random.bytes(9000), 0.5, str(number))
    gallery.add(f"person {number % 7}", [sample])
    print(number, flush=True)
    number += 1
"""


@pytest.mark.slow
def test_no_committed_sample_is_lost_when_the_process_is_killed(path):
    # After kill -9 the kernel still has the data. The next test checks that a commit is also synced (synchronous=FULL).
    moments = random.Random(7)
    acknowledged = []
    for round in range(8):
        start = (round + 1) * 10_000
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, path, str(start)], stdout=subprocess.PIPE, text=True, env=os.environ
        )
        first = writer.stdout.readline()  # the writer has started
        time.sleep(moments.uniform(0, 0.08))  # the random moment; nothing waits for it
        writer.send_signal(signal.SIGKILL)
        lines = [first, *writer.stdout.read().split("\n")[:-1]]
        writer.wait()
        acknowledged += [int(line) for line in lines]
        with Gallery(path, "1" * 32) as gallery:
            held = {int(source) for (source,) in gallery.read("SELECT source FROM sample")}
            assert set(acknowledged) <= held, f"lost {set(acknowledged) - held}"
            assert len(held) <= len(acknowledged) + round + 1  # at most the sample being written, each time
            assert find_problems(gallery) == [] and gallery.read("PRAGMA integrity_check") == [("ok",)]
            newest = np.random.default_rng(acknowledged[-1]).standard_normal(64).astype(np.float32)
            match = gallery.search((newest / np.linalg.norm(newest))[None])[0][0]
            assert (match.name, round) == (f"person {acknowledged[-1] % 7}", round)
    assert len(acknowledged) > 20


def test_a_commit_is_on_the_disk_when_it_returns(gallery):
    # 2 is FULL: SQLite syncs the WAL before a commit returns (sqlite.org/pragma.html#pragma_synchronous).
    assert gallery.read("PRAGMA synchronous") == [(2,)] and gallery.read("PRAGMA journal_mode") == [("wal",)]
    assert gallery.read("PRAGMA foreign_keys") == [(1,)] and gallery.read("PRAGMA secure_delete") == [(1,)]


@pytest.mark.parametrize(
    ("probes", "message"),
    [
        ([[1.0] * D], "must be a NumPy array of shape N×D, not a list"),
        (vector(1), r"pass embedding\[None\]"),
        (np.ones((1, D), np.uint8), "must be float32 embeddings, not uint8"),
        (np.ones((1, D + 1), np.float32), "a probe has 65 numbers, but the gallery's embeddings have 64"),
        (np.full((1, D), np.nan, np.float32), "NaN"),
    ],
)
def test_probes_that_cannot_be_searched_are_refused(gallery, probes, message):
    gallery.add("Ada", [sample(1)])
    with pytest.raises(InputError, match=message):
        gallery.search(probes)


def test_probes_in_double_precision_are_accepted(gallery):
    gallery.add("Ada", [sample(1)])
    ((match,),) = gallery.search(vector(1)[None].astype(np.float64))
    assert match.name == "Ada"


def test_a_path_can_be_a_string(path):
    with Gallery(str(path), ONE, create=True) as gallery:
        assert gallery.path == path and gallery.people() == []


def test_a_closed_gallery_gives_a_clear_error(gallery):
    gallery.add("Ada", [sample(1)])
    gallery.refresh()
    gallery.close()
    gallery.close()
    for use in (gallery.people, gallery.refresh, lambda: gallery.search(vector(1)[None]), lambda: gallery.add("X", [])):
        with pytest.raises(InputError, match="is closed: open it again"):
            use()


def test_the_example_in_the_documentation_of_gallery_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (example,) = doctest.DocTestFinder(recurse=False).find(Gallery, "Gallery")
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0
