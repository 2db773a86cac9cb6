"""Backups, restoring them, and deleting a person from the gallery and all its backups."""

import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from rkface.runtime.cli.main import main
from rkface.runtime.core.atomic import temporary_file
from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.gallery.backup import back_up, finish, forget
from rkface.runtime.gallery.backup_registry import known_backups, remove_lost_backup
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.integrity import find_problems
from rkface.runtime.gallery.restore import restore

from .conftest import ONE, crop_of, names, sample, stored, traces, vector


def test_the_error_for_a_damaged_gallery_names_the_newest_backup_which_can_be_restored(path):
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
        assert len(gallery.people()) == 40 and names(gallery, 7) == ["person 7"] and find_problems(gallery) == []


def test_restore_saves_the_current_gallery_and_running_programs_see_the_change(gallery, path):
    gallery.add("Ada", [sample(1)])
    backup = back_up(gallery)
    gallery.add("Grace", [sample(2)])
    assert names(gallery, 2) == ["Grace"]
    kept = restore(path, backup)
    assert gallery.refresh() and [person.name for person in gallery.people()] == ["Ada"]
    restore(path, kept)
    assert [person.name for person in gallery.people()] == ["Ada", "Grace"]


@pytest.mark.parametrize("content", ["empty", "text", "another program's"])
def test_restoring_a_file_that_is_not_a_backup_changes_nothing(gallery, path, tmp_path, content):
    gallery.add("Ada", [sample(1)])
    source = tmp_path / "backup.sqlite"
    source.write_bytes(b"" if content == "empty" else b"holiday pictures" * 100)
    if content == "another program's":
        source.unlink()
        with closing(sqlite3.connect(source)) as foreign:
            foreign.execute("CREATE TABLE recipe (name TEXT)")
    with pytest.raises(InputError, match=re.escape(f"{source} is not a")) as caught:
        restore(path, source)
    assert "or restore a backup look" not in str(caught.value)
    assert [person.name for person in gallery.people()] == ["Ada"]
    kept = {source.name, *(path.name + end for end in ("", "-wal", "-shm"))}
    assert {file.name for file in tmp_path.iterdir()} <= kept


def test_a_merge_is_undone_by_restoring_an_older_backup(gallery, path):
    gallery.add("Ada", [sample(1)])
    gallery.add("Grace", [sample(2)])
    backup = back_up(gallery)
    gallery.merge(gallery.person("Ada"), gallery.person("Grace"))
    restore(path, backup)
    gallery.refresh()
    forget(gallery, gallery.person("Grace"))  # Ada is a separate person again
    with Gallery(backup) as copy:
        assert [person.name for person in copy.people()] == ["Ada"]


def test_a_failed_backup_is_not_registered(gallery, tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        back_up(gallery, tmp_path / "no folder" / "copy.sqlite")
    with pytest.raises(WorkError, match="cannot be written"):
        back_up(gallery, Path("/proc/copy.sqlite"))
    assert known_backups(gallery) == []


def test_backups_are_complete_and_only_the_newest_are_kept(gallery, tmp_path):
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


def test_no_byte_of_a_forgotten_person_remains_in_any_file(gallery, path, tmp_path):
    for seed in range(60):
        gallery.add(f"person {seed % 12}", [stored(seed)])
    mine = [seed for seed in range(60) if seed % 12 == 4]
    back_up(gallery)
    back_up(gallery, tmp_path / "elsewhere.sqlite")
    gallery.merge(gallery.person("person 4"), gallery.person("person 5"))  # has another id in the backups
    mine += [seed for seed in range(60) if seed % 12 == 5]
    back_up(gallery)
    assert traces(tmp_path, mine) == set(mine), "the test cannot find them"
    assert forget(gallery, gallery.person("person 5")) == []
    assert traces(tmp_path, mine) == set()
    assert traces(tmp_path, range(60)) == set(range(60)) - set(mine)  # and all other people remain
    for copy in known_backups(gallery):
        with Gallery(copy) as backup:
            assert not {"person 4", "person 5"} & {person.name for person in backup.people()}
            assert find_problems(backup) == []


def test_a_missing_backup_is_reported_and_brings_nobody_back(gallery, path, tmp_path):
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
def test_the_temporary_file_of_a_killed_backup_or_restore_is_deleted(gallery, path, tmp_path, task):
    """The process is killed when the copy is complete but does not have its final name yet."""
    ada = gallery.add("Ada", [stored(1)])
    made = back_up(gallery)
    (tmp_path / "disk").mkdir()
    killed = f"""
import os, pathlib, signal
from rkface.runtime.core import atomic
from rkface.runtime.gallery import restore as restore_module
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.backup import back_up
from rkface.runtime.gallery.restore import restore
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
atomic.sync_to_disk = restore_module._delete_forgotten = die
path, made, elsewhere = map(pathlib.Path, {[str(path), str(made), str(tmp_path / "disk/copy.sqlite")]!r})
with Gallery(path) as gallery:
    {task}
"""
    before = set(tmp_path.rglob("*"))
    assert subprocess.run([sys.executable, "-c", killed], check=False).returncode == -signal.SIGKILL
    left = [file for file in set(tmp_path.rglob("*")) - before if crop_of(1)[:64] in file.read_bytes()]
    assert left, "the process was killed too early"
    assert [copy.path for copy in forget(gallery, ada)] == ([tmp_path / "disk/copy.sqlite"] if "else" in task else [])
    assert traces(tmp_path, [1]) == set()


def test_a_lost_backup_can_be_removed_from_the_registry(gallery, path, tmp_path, capsys):
    ada = gallery.add("Ada", [stored(1)])
    (tmp_path / "disk").mkdir()
    made = back_up(gallery, tmp_path / "disk/copy.sqlite")
    command = ["gallery", "backup", "--gallery", str(path), "--gone"]
    assert main([*command, str(made)]) == 2 and "delete it first" in capsys.readouterr().err
    made.rename(tmp_path / "disk/.copy.sqlite.abcd0123")  # the temporary file of a killed process
    assert main([*command, str(tmp_path / "other.sqlite")]) == 2
    assert main([*command, str(made)]) == 0
    assert traces(tmp_path / "disk", [1]) == set() and known_backups(gallery) == []
    lost = back_up(gallery, tmp_path / "disk/lost.sqlite")
    lost.unlink()
    (left,) = forget(gallery, ada)
    assert f"`rkface {' '.join(command)} {lost}`" in left.reason
    remove_lost_backup(gallery, lost)
    assert finish(gallery) == []


def test_a_copy_made_by_hand_does_not_change_backups_of_the_original(gallery, path, tmp_path):
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
        assert finish(other) == [], "reported once"
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
        Gallery(path, ONE, create=True).close()  # another gallery at the old path
        assert known_backups(again) == [made]
    assert traces(tmp_path, [1]) == set()
    path.unlink()
    restore(tmp_path / "new.sqlite", made)  # the gallery and its path were lost
    with Gallery(tmp_path / "new.sqlite") as new:
        assert known_backups(new) == [made]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the owner of files")
def test_files_that_root_writes_keep_the_owner_of_the_gallery(gallery, path, tmp_path):
    """Otherwise the service could neither delete a person from its backups nor restore them."""
    ada = gallery.add("Ada", [sample(1)])
    os.chown(path, 65534, 65534)
    made = back_up(gallery)
    assert {file.stat().st_uid for file in (made, made.parent)} == {65534}
    forget(gallery, ada)
    assert made.stat().st_uid == 65534 and stat.S_IMODE(made.stat().st_mode) == 0o600


def test_a_backup_that_is_being_written_is_reported_and_not_touched(gallery, path):
    ada = gallery.add("Ada", [sample(1)])
    target = back_up(gallery)
    with temporary_file(target) as copy:
        assert [(left.path, "now" in left.reason) for left in forget(gallery, ada)] == [(copy, True)]
        assert copy.exists()
    assert finish(gallery) == []


def test_a_program_that_reads_old_pages_delays_overwriting_and_is_reported(gallery, path, tmp_path, monkeypatch):
    monkeypatch.setattr("rkface.runtime.gallery.schema.BUSY_TIMEOUT", 0.05)
    gallery.add("Ada", [stored(1)])
    gallery.database.execute("PRAGMA busy_timeout = 50")
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sample").fetchall()
        with pytest.raises(WorkError, match="another program"):
            forget(gallery, gallery.person("Ada"))
        assert gallery.people() == []
    assert finish(gallery) == [] and traces(tmp_path, [1]) == set()
