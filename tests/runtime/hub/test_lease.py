"""A replica of a hub names nobody after its lease, whichever program opens it, until it leaves the hub."""

import shutil
import sqlite3

import pytest

from rkface.runtime.cli.main import main
from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.gallery.backup import back_up, forgotten
from rkface.runtime.gallery.companions import Companion, companion_path
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.lease import Lease
from rkface.runtime.gallery.restore import restore
from rkface.runtime.hub.people import add_person, erase_person, list_people
from rkface.runtime.hub.pull import sync
from rkface.runtime.hub.push import push_people

from .conftest import ONE, sample


def named(gallery, seed=1):
    found = gallery.search(sample(seed).embedding[None])[0]
    return found[0].name if found else None


@pytest.fixture
def replica(hub, board):
    """A board that has synced, and Ada in its gallery."""
    with board("door-1", "east") as (own, gallery):
        add_person(hub, "Ada", ["east"], [sample(1)], ONE)
        sync(own, gallery)
        yield own, gallery


def test_every_program_that_opens_a_replica_obeys_the_lease(replica):
    own, gallery = replica
    with Gallery(gallery.path, ONE) as other:
        clock = [0.0]
        other.lease = Lease(other, clock=lambda: clock[0])
        assert named(other) == "Ada"
        clock[0] = 3601.0
        assert named(other) is None
        sync(own, gallery)
        other.refresh()
        assert named(other) == "Ada"


def test_a_board_before_its_first_sync_names_nobody_in_any_program(tmp_path):
    with Gallery(tmp_path / "gallery.sqlite", ONE, create=True) as gallery:
        gallery.add("Ada", [sample(1)])
        assert named(gallery) == "Ada"
        gallery.lease.begin()
        assert named(gallery) is None
    with Gallery(tmp_path / "gallery.sqlite", ONE) as other:
        assert named(other) is None


def test_a_copy_of_a_replica_has_its_lease(replica, tmp_path):
    _, gallery = replica
    gallery.database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(gallery.path, tmp_path / "copy.sqlite")
    with Gallery(tmp_path / "copy.sqlite", ONE) as copy:
        clock = [0.0]
        copy.lease = Lease(copy, clock=lambda: clock[0])
        assert named(copy) == "Ada"
        clock[0] = 3601.0
        assert named(copy) is None


def test_a_restored_backup_names_nobody_until_it_has_synced(replica):
    own, gallery = replica
    copy = back_up(gallery)
    restore(gallery.path, copy)
    gallery.refresh()
    assert named(gallery) is None
    sync(own, gallery)
    assert named(gallery) == "Ada"


def test_a_backup_from_before_the_hub_is_a_replica_when_it_is_restored(hub, board):
    with board("door-1", "east") as (own, gallery):
        gallery.add("Ada", [sample(1)])
        gallery.database.execute("DELETE FROM setting WHERE name LIKE 'hub.%'")
        copy = back_up(gallery)
        gallery.lease.begin()
        restore(gallery.path, copy)
        gallery.refresh()
        assert named(gallery) is None
        push_people(own, gallery)
        sync(own, gallery)
        assert named(gallery) == "Ada"


def test_the_clock_of_the_lease_goes_on_in_whichever_program_runs(replica):
    _, gallery = replica
    for hour in range(3):  # another program each time, with a wall clock that stands still
        with Gallery(gallery.path, ONE) as other:
            clock, now = [0.0], gallery.lease._time.now
            other.lease = Lease(other, clock=lambda clock=clock: clock[0], wall=lambda now=now: now)
            assert (named(other) == "Ada") == (hour < 2)
            clock[0] = 1900.0
            other.refresh()


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}', '{"a": ["b", null]}', "nan", "1e999"])
@pytest.mark.parametrize("name", ["hub.stay", "hub.clock", "hub.synced", "hub.lease", "hub.revision"])
def test_damage_in_the_lease_is_reported_as_damage(tmp_path, name, text):
    with Gallery(tmp_path / "gallery.sqlite", ONE, create=True) as gallery:
        gallery.lease.begin()
        gallery.database.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", [name, text])
        with pytest.raises(WorkError, match="what it knows of its hub"):
            gallery.lease.read()


def test_who_leaves_the_hub_has_none_of_its_people_and_keeps_those_it_never_took(hub, replica, capsys):
    own, gallery = replica
    copy = back_up(gallery)
    gallery.add("Bob", [sample(2)])
    waiting = companion_path(gallery.path, Companion.EVENTS, "hub")
    waiting.mkdir()
    command = ["hub", "leave", "--gallery", str(gallery.path)]
    assert main(command) == 2 and "--yes" in capsys.readouterr().err
    assert main([*command, "--yes"]) == 0
    assert "take [hub] out of the settings" in capsys.readouterr().out
    gallery.refresh()
    assert [one.name for one in gallery.people()] == ["Bob"]
    assert named(gallery, 2) == "Bob"
    assert not waiting.exists() and not forgotten(gallery)
    for path in (gallery.path, copy):
        assert sample(1).embedding.tobytes() not in path.read_bytes()
    assert main([*command, "--yes"]) == 2 and "follows no hub" in capsys.readouterr().err
    push_people(own, gallery)  # if the board joins again, nobody is forgotten at the hub
    sync(own, gallery)
    assert [one.name for one in gallery.people()] == [one.name for one in list_people(hub)] == ["Ada", "Bob"]


def test_who_leaves_the_hub_may_keep_its_people(hub, replica):
    _, gallery = replica
    assert main(["hub", "leave", "--keep-people", "--yes", "--gallery", str(gallery.path)]) == 0
    gallery.refresh()
    assert named(gallery) == "Ada" and not gallery.lease.is_replica
    erase_person(hub, list_people(hub)[0].id)
    assert named(gallery) == "Ada"


def test_leaving_that_was_interrupted_names_nobody_and_is_finished_later(replica, tmp_path, capsys):
    _, gallery = replica
    stick = tmp_path / "stick"
    stick.mkdir()
    back_up(gallery, stick / "copy.sqlite")
    stick.rename(tmp_path / "away")
    command = ["hub", "leave", "--yes", "--gallery", str(gallery.path)]
    assert main(command) == 1 and "run `rkface hub leave` again" in capsys.readouterr().err
    gallery.refresh()
    assert not gallery.people() and gallery.lease.left() == 0
    with pytest.raises(InputError, match="rkface hub leave"):
        gallery.lease.begin()
    (tmp_path / "away").rename(stick)
    assert main(command) == 0
    gallery.refresh()
    assert not gallery.lease.is_replica and not forgotten(gallery)
    with sqlite3.connect(stick / "copy.sqlite") as copy:
        assert copy.execute("SELECT count(*) FROM person").fetchone() == (0,)
