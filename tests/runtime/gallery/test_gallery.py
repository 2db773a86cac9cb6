"""What the gallery keeps, refuses and finds; what is left of a person who was forgotten; what a power cut takes."""

import os
import random
import re
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

from rkface.runtime.cli.main import main
from rkface.runtime.core.atomic import temporary_file
from rkface.runtime.core.bundle import parse_manifest
from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.gallery import schema
from rkface.runtime.gallery.backup import back_up, check, finish, forget, restore
from rkface.runtime.gallery.backup_registry import give_up, known_backups
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.people import Sample, embedding_identity
from rkface.runtime.vision.align import ALIGNMENT

ONE, OTHER = "1" * 32, "2" * 32
D = 64


def vector(seed):
    values = np.random.default_rng(seed).standard_normal(D)
    return (values / np.linalg.norm(values)).astype(np.float32)


def sample(seed, crop=True, **more):
    return Sample(vector(seed), crop_of(seed) if crop else None, 0.8, f"photo-{seed}.jpg", **more)


def crop_of(seed):
    # Larger than a page of 8192 bytes, as real crops are: SQLite keeps these in overflow pages.
    return np.random.default_rng(1000 + seed).bytes(9000)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "gallery.sqlite"


@pytest.fixture
def gallery(path):
    with Gallery(path, ONE, create=True) as opened:
        yield opened


def names(gallery, seed, k=1):
    return [match.name for match in gallery.search(vector(seed)[None], k)[0]]


def test_what_was_added_is_there_after_closing(path):
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


def test_adding_again_joins_samples_and_metadata(gallery):
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
        gallery.add("Grace", [sample(2)])  # a person more
        gallery.add("Ada", [sample(3)])  # a sample more
        assert [names(gallery, seed) for seed in (1, 2, 3)] == [["Ada"], ["Grace"], ["Ada"]]
        gallery.rename(gallery.person("Grace"), "Hedy")
        assert names(gallery, 2) == ["Hedy"]
        gallery.merge(gallery.person("Hedy"), gallery.person("Ada"))
        assert names(gallery, 2, 5) == ["Ada"] and gallery.person("Ada").samples == 3
        forget(gallery, gallery.person("Ada"))
        assert names(gallery, 2, 5) == []


def test_another_process_is_noticed_by_refresh(gallery, path):
    gallery.add("Ada", [sample(1)])
    assert names(gallery, 1) == ["Ada"] and not gallery.refresh()
    with Gallery(path, ONE) as other:
        other.add("Grace", [sample(2)])
    assert names(gallery, 2) == ["Ada"]  # a search never waits for the disk
    assert gallery.refresh() and names(gallery, 2) == ["Grace"]
    with Gallery(path, ONE) as other:
        other.add("Hedy", [sample(3)])
    gallery.add("Joan", [sample(4)])  # our own write must not hide theirs
    assert [names(gallery, seed) for seed in (3, 4)] == [["Hedy"], ["Joan"]]


def test_searching_goes_on_while_people_are_added(gallery):
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


def test_who_is_merged_while_they_are_added_to_does_not_come_back(gallery, monkeypatch):
    grace, ada = gallery.add("Grace", [sample(1)]), gallery.add("Ada", [sample(2)])
    gallery.refresh()
    other, person = threading.Thread(target=gallery.merge, args=(ada, grace)), gallery.person

    def slow(key):
        """The new sample is on the disk, and not in memory yet."""
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
        assert [person.name for person in other.people()] == ["Ada"]  # not half a Grace
    with pytest.raises(InputError, match="65"):
        gallery.add("Ada", [Sample(np.ones(65, np.float32), None, 1, "")])


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_no_number_is_refused_and_hides_nobody(gallery, path, wrong):
    gallery.add("Ada", [sample(1)])
    with pytest.raises(InputError, match="the recognizer fails"):
        gallery.add("Grace", [sample(2), replace(sample(3), embedding=np.full_like(vector(3), wrong))])
    assert names(gallery, 1) == ["Ada"] and [person.name for person in gallery.people()] == ["Ada"]


def test_a_gallery_without_samples_takes_any_model(gallery, path):
    gallery.add("Ada", [sample(1)])
    forget(gallery, gallery.person("Ada"))
    with Gallery(path, OTHER) as other:
        other.add("Grace", [sample(2)])
        assert other.identity == OTHER


def test_the_identity_is_of_what_the_numbers_depend_on(bundle):
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


def test_names_are_of_one_person(gallery):
    ada = gallery.add("Ada", [sample(1)])
    gallery.add("Grace", [sample(2)])
    for wrong in ("Grace", "", "  ", "Ada\0", "\x1b[2J", "Ada\nGrace", "Ada\x85", "Ada\u2028", "\ud800"):
        with pytest.raises(InputError):
            gallery.rename(ada, wrong)
    for wrong in ("", "Ada\0", "Ada\u2029", "\ud800"):
        with pytest.raises(InputError):
            gallery.add(wrong, [])
    gallery.rename(ada, "Zo\u0308e \u0646\u200c\u0645")  # parts of letters, no control characters
    with pytest.raises(InputError, match="same person"):
        gallery.merge(ada, ada)
    with pytest.raises(InputError, match="did you mean Grace"):
        gallery.person("Grase")


def test_files_are_for_their_owner_only(gallery, path):
    gallery.add("Ada", [sample(1)])
    backup = back_up(gallery)
    for file in (path, path.with_name("gallery.sqlite-wal"), path.with_name("gallery.sqlite-shm"), backup):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert stat.S_IMODE(backup.parent.stat().st_mode) == 0o700


def test_a_copy_with_too_open_a_mode_is_closed(path):
    with Gallery(path, ONE, create=True) as gallery:
        gallery.add("Ada", [sample(1)])
    path.chmod(0o644)
    with Gallery(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_files_that_are_no_gallery_are_left_alone(path):
    with pytest.raises(InputError, match="no such gallery"):
        Gallery(path)
    path.write_bytes(b"holiday pictures, no database" * 50)
    with pytest.raises(InputError, match="no SQLite database"):
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
    for _ in range(2):  # once, not at every start
        with Gallery(path) as gallery:
            assert gallery.read("SELECT pet FROM person") == [(None,)]
    monkeypatch.setattr(schema, "MIGRATIONS", known)
    with pytest.raises(InputError, match="newer rkface"):
        Gallery(path)


def test_a_failed_migration_leaves_the_gallery_as_it_was(path, monkeypatch):
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


def test_a_busy_gallery_says_so(gallery, path, monkeypatch):
    monkeypatch.setattr(schema, "PATIENCE", 0.05)
    with Gallery(path, ONE) as other, gallery.writing(), pytest.raises(WorkError, match="another program"):
        other.add("Ada", [sample(1)])


def test_a_damaged_gallery_offers_the_newest_backup_and_comes_back(path):
    with Gallery(path, ONE, create=True) as gallery:
        for seed in range(40):
            gallery.add(f"person {seed}", [sample(seed)])
        back_up(gallery)
        backup = back_up(gallery)
    content = bytearray(path.read_bytes())
    content[4096 : len(content) // 2] = os.urandom(len(content) // 2 - 4096)
    path.write_bytes(content)
    with pytest.raises(WorkError, match="damaged") as caught, Gallery(path) as gallery:
        gallery.search(vector(1)[None])
    assert f"gallery restore --gallery {path} {backup}" in str(caught.value)
    aside = restore(path, backup)
    assert aside.read_bytes() == bytes(content)
    with Gallery(path, ONE) as gallery:
        assert len(gallery.people()) == 40 and names(gallery, 7) == ["person 7"] and check(gallery) == []


def test_restore_keeps_what_it_replaces_and_programs_see_it(gallery, path):
    gallery.add("Ada", [sample(1)])
    backup = back_up(gallery)
    gallery.add("Grace", [sample(2)])
    assert names(gallery, 2) == ["Grace"]
    kept = restore(path, backup)
    assert gallery.refresh() and [person.name for person in gallery.people()] == ["Ada"]
    restore(path, kept)
    assert [person.name for person in gallery.people()] == ["Ada", "Grace"]


@pytest.mark.parametrize("content", ["empty", "text", "another program's"])
def test_what_is_no_backup_replaces_nothing(gallery, path, tmp_path, content):
    gallery.add("Ada", [sample(1)])
    source = tmp_path / "backup.sqlite"
    source.write_bytes(b"" if content == "empty" else b"holiday pictures" * 100)
    if content == "another program's":
        source.unlink()
        with closing(sqlite3.connect(source)) as foreign:
            foreign.execute("CREATE TABLE recipe (name TEXT)")
    with pytest.raises(InputError, match=re.escape(f"{source} is no ")) as caught:
        restore(path, source)
    assert "or restore a backup look" not in str(caught.value)
    assert [person.name for person in gallery.people()] == ["Ada"]
    kept = {source.name, *(path.name + end for end in ("", "-wal", "-shm"))}
    assert {file.name for file in tmp_path.iterdir()} <= kept


def test_a_merge_that_was_restored_away_is_forgotten_too(gallery, path):
    gallery.add("Ada", [sample(1)])
    gallery.add("Grace", [sample(2)])
    backup = back_up(gallery)
    gallery.merge(gallery.person("Ada"), gallery.person("Grace"))
    restore(path, backup)
    gallery.refresh()
    forget(gallery, gallery.person("Grace"))  # who is no longer Ada, too
    with Gallery(backup) as copy:
        assert [person.name for person in copy.people()] == ["Ada"]


def test_a_backup_that_failed_is_not_looked_for(gallery, tmp_path):
    with pytest.raises(WorkError, match="cannot be written"):
        back_up(gallery, tmp_path / "no folder" / "copy.sqlite")
    assert known_backups(gallery) == []


def test_backups_are_whole_and_only_the_newest_stay(gallery, tmp_path):
    elsewhere = tmp_path / "usb" / "copy.sqlite"
    elsewhere.parent.mkdir()
    for seed in range(5):
        gallery.add(f"person {seed}", [sample(seed)])
        newest = back_up(gallery, keep=3)
    back_up(gallery, elsewhere)
    with pytest.raises(InputError, match="exists"):
        back_up(gallery, elsewhere)
    assert len(known_backups(gallery)) == 4
    for copy in (newest, elsewhere):
        with Gallery(copy) as opened:
            assert len(opened.people()) == 5


def test_a_full_disk_loses_nothing_and_says_so(gallery):
    gallery.add("Ada", [sample(1)])
    # As SQLite reports it when the disk takes no more pages.
    (pages,) = gallery.database.execute("PRAGMA page_count").fetchone()
    gallery.database.execute(f"PRAGMA max_page_count = {pages + 3}")
    with pytest.raises(WorkError, match="disk is full; nothing was changed"):
        gallery.add("Grace", [sample(seed) for seed in range(2, 40)])
    assert [person.name for person in gallery.people()] == ["Ada"] and names(gallery, 2) == ["Ada"]
    gallery.database.execute("PRAGMA max_page_count = 1000000")
    gallery.add("Grace", [sample(2)])
    assert names(gallery, 2) == ["Grace"] and check(gallery) == []


def traces(folder, seeds):
    """Which of the persons' bytes are in any file below ``folder``: parts of embedding and crop."""
    pieces = {}
    for seed in seeds:
        pieces[vector(seed).tobytes()[:128]] = seed
        pieces[vector(seed).tobytes()[128:]] = seed
        crop = crop_of(seed)
        pieces |= {crop[start : start + 64]: seed for start in range(0, len(crop) - 64, 512)}
    found = set()
    for file in folder.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            found |= {seed for piece, seed in pieces.items() if piece in content}
    return found


def stored(seed):
    # What add() stores is the unit form, whose last bits may differ: search for exactly that.
    return replace(sample(seed), embedding=vector(seed))


def test_no_byte_of_a_forgotten_person_is_left_in_any_file(gallery, path, tmp_path):
    for seed in range(60):
        gallery.add(f"person {seed % 12}", [stored(seed)])
    mine = [seed for seed in range(60) if seed % 12 == 4]
    back_up(gallery)
    back_up(gallery, tmp_path / "elsewhere.sqlite")
    gallery.merge(gallery.person("person 4"), gallery.person("person 5"))  # the backups know them by another id
    mine += [seed for seed in range(60) if seed % 12 == 5]
    back_up(gallery)
    assert traces(tmp_path, mine) == set(mine), "the test would not find them"
    assert forget(gallery, gallery.person("person 5")) == []
    assert traces(tmp_path, mine) == set()
    assert traces(tmp_path, range(60)) == set(range(60)) - set(mine)  # and everyone else is still there
    for copy in known_backups(gallery):
        with Gallery(copy) as backup:
            assert not {"person 4", "person 5"} & {person.name for person in backup.people()}
            assert check(backup) == []


def test_a_backup_out_of_reach_is_named_and_brings_nobody_back(gallery, path, tmp_path):
    gallery.add("Ada", [stored(1)])
    gallery.add("Grace", [stored(2)])
    usb = back_up(gallery, tmp_path / "usb.sqlite")
    away = usb.rename(tmp_path / "drawer.sqlite")
    (left,) = forget(gallery, gallery.person("Ada"))
    assert left.path == usb and "not found" in left.reason
    restore(path, away)
    assert [person.name for person in gallery.people()] == ["Grace"]
    away.rename(usb)
    assert finish(gallery) == []
    assert traces(tmp_path, [1, 2]) == {2}


@pytest.mark.parametrize("task", ["back_up(gallery)", "back_up(gallery, elsewhere)", "restore(path, made)"])
def test_a_copy_that_was_cut_off_is_found_and_deleted(gallery, path, tmp_path, task):
    """Killed when the copy is all there and has no name yet, as by a power cut."""
    ada = gallery.add("Ada", [stored(1)])
    made = back_up(gallery)
    (tmp_path / "disk").mkdir()
    killed = f"""
import os, pathlib, signal
from rkface.runtime.core import atomic
from rkface.runtime.gallery import backup
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.backup import back_up, restore
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
atomic.sync_to_disk = backup._delete_forgotten = die
path, made, elsewhere = map(pathlib.Path, {[str(path), str(made), str(tmp_path / "disk/copy.sqlite")]!r})
with Gallery(path) as gallery:
    {task}
"""
    before = set(tmp_path.rglob("*"))
    assert subprocess.run([sys.executable, "-c", killed], check=False).returncode == -signal.SIGKILL
    left = [file for file in set(tmp_path.rglob("*")) - before if crop_of(1)[:64] in file.read_bytes()]
    assert left, "the test kills too early"
    assert [copy.path for copy in forget(gallery, ada)] == ([tmp_path / "disk/copy.sqlite"] if "else" in task else [])
    assert traces(tmp_path, [1]) == set()


def test_a_backup_that_will_never_be_found_is_given_up(gallery, path, tmp_path, capsys):
    ada = gallery.add("Ada", [stored(1)])
    (tmp_path / "disk").mkdir()
    made = back_up(gallery, tmp_path / "disk/copy.sqlite")
    command = ["gallery", "backup", "--gallery", str(path), "--gone"]
    assert main([*command, str(made)]) == 2 and "delete it first" in capsys.readouterr().err
    made.rename(tmp_path / "disk/.copy.sqlite.abcd0123")  # as a kill leaves it
    assert main([*command, str(tmp_path / "other.sqlite")]) == 2
    assert main([*command, str(made)]) == 0
    assert traces(tmp_path / "disk", [1]) == set() and known_backups(gallery) == []
    lost = back_up(gallery, tmp_path / "disk/lost.sqlite")
    lost.unlink()
    (left,) = forget(gallery, ada)
    assert f"`rkface {' '.join(command)} {lost}`" in left.reason
    give_up(gallery, lost)
    assert finish(gallery) == []


def test_a_copy_by_hand_leaves_the_original_s_backups_alone(gallery, path, tmp_path):
    ada = gallery.add("Ada", [stored(1)])
    outside, inside = back_up(gallery, tmp_path / "usb.sqlite"), back_up(gallery)
    before = [file.read_bytes() for file in (outside, inside)]
    (tmp_path / "other").mkdir()
    copy = tmp_path / "other/copy.sqlite"
    with closing(sqlite3.connect(copy)) as target:
        gallery.database.backup(target)
    with Gallery(copy) as other:
        assert known_backups(other) == []
        said = forget(other, ada)
        assert {left.path for left in said} == {outside, inside} and all(str(path) in left.reason for left in said)
        assert finish(other) == [], "said once"
        own = back_up(other)
        assert known_backups(other) == [own]
        restore(copy, outside)
        assert {backup.parent for backup in known_backups(other)} == {own.parent}
    assert [file.read_bytes() for file in (outside, inside)] == before
    assert known_backups(gallery) == sorted([outside, inside])
    assert forget(gallery, ada) == [] and traces(inside.parent, [1]) == set()


def test_a_gallery_that_was_moved_or_restored_elsewhere_keeps_its_backups(gallery, path, tmp_path):
    gallery.add("Ada", [stored(1)])
    made = back_up(gallery, tmp_path / "usb.sqlite")
    gallery.close()
    path.rename(moved := tmp_path / "moved.sqlite")
    with Gallery(moved) as again:
        assert forget(again, again.person("Ada")) == [] and known_backups(again) == [made]
        Gallery(path, ONE, create=True).close()  # another one, in its old place
        assert known_backups(again) == [made]
    assert traces(tmp_path, [1]) == set()
    path.unlink()
    restore(tmp_path / "new.sqlite", made)  # the file was lost, with its name
    with Gallery(tmp_path / "new.sqlite") as new:
        assert known_backups(new) == [made]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_backs_up_and_forgets_stays_the_service_s(gallery, path, tmp_path):
    """Or the service could neither forget anybody in its backups, nor restore them."""
    ada = gallery.add("Ada", [sample(1)])
    os.chown(path, 65534, 65534)
    made = back_up(gallery)
    assert {file.stat().st_uid for file in (made, made.parent)} == {65534}
    forget(gallery, ada)
    assert made.stat().st_uid == 65534 and stat.S_IMODE(made.stat().st_mode) == 0o600


def test_a_copy_that_is_being_made_is_left_alone_and_named(gallery, path):
    ada = gallery.add("Ada", [sample(1)])
    target = back_up(gallery)
    with temporary_file(target) as copy:
        assert [(left.path, "now" in left.reason) for left in forget(gallery, ada)] == [(copy, True)]
        assert copy.exists()
    assert finish(gallery) == []


def test_a_reader_of_old_pages_delays_the_overwriting_and_it_is_said(gallery, path, tmp_path):
    gallery.add("Ada", [stored(1)])
    gallery.database.execute("PRAGMA busy_timeout = 50")
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sample").fetchall()
        with pytest.raises(WorkError, match="another program"):
            forget(gallery, gallery.person("Ada"))
        assert gallery.people() == []
    assert finish(gallery) == [] and traces(tmp_path, [1]) == set()


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


def test_killed_at_any_moment_nothing_acknowledged_is_lost(path):
    # kill -9 leaves what the kernel has; that a commit is also fsynced is synchronous=FULL, checked below.
    moments = random.Random(7)
    acknowledged = []
    for round in range(8):
        start = (round + 1) * 10_000
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, path, str(start)], stdout=subprocess.PIPE, text=True, env=os.environ
        )
        first = writer.stdout.readline()  # under way
        time.sleep(moments.uniform(0, 0.08))  # the random moment; nothing waits for it
        writer.send_signal(signal.SIGKILL)
        lines = [first, *writer.stdout.read().split("\n")[:-1]]
        writer.wait()
        acknowledged += [int(line) for line in lines]
        with Gallery(path, "1" * 32) as gallery:
            held = {int(source) for (source,) in gallery.read("SELECT source FROM sample")}
            assert set(acknowledged) <= held, f"lost {set(acknowledged) - held}"
            assert len(held) <= len(acknowledged) + round + 1  # at most the one under way, each time
            assert check(gallery) == [] and gallery.read("PRAGMA integrity_check") == [("ok",)]
            newest = np.random.default_rng(acknowledged[-1]).standard_normal(64).astype(np.float32)
            match = gallery.search((newest / np.linalg.norm(newest))[None])[0][0]
            assert (match.name, round) == (f"person {acknowledged[-1] % 7}", round)
    assert len(acknowledged) > 20


def test_a_commit_waits_for_the_disk(gallery):
    # 2 is FULL: SQLite syncs the WAL before a commit returns (sqlite.org/pragma.html#pragma_synchronous).
    assert gallery.read("PRAGMA synchronous") == [(2,)] and gallery.read("PRAGMA journal_mode") == [("wal",)]
    assert gallery.read("PRAGMA foreign_keys") == [(1,)] and gallery.read("PRAGMA secure_delete") == [(1,)]
