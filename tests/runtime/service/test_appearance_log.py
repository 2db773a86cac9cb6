"""The appearance log: old entries are deleted although the clock may jump, and forgotten people are erased."""

import errno
import json
import os
import sqlite3
from contextlib import closing

import numpy as np
import pytest

from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.gallery.match import Match
from rkface.runtime.service.appearance_log import AppearanceLog
from rkface.runtime.service.settings import DAY, Keep
from rkface.runtime.service.sighting import Sighting
from rkface.runtime.tracking.appearance import Appearance

NOW = 1_800_000_000.0
PICTURE = Sighting(b"picture")
KEEP = Keep(appearances=30, unknown_faces=1)


def seen(id="a", person=None, started=NOW, source="door", stage="start"):
    match = Match(person, f"Name of {person}", 0.7) if person else None
    return Appearance(id, source, stage, match, 0.4, started, started, 0.0, (0, 0, 1, 1), 0.9, 0.8, 5)


class Clocks:
    """The monotonic clock, and a wall clock that is ``wrong`` by so many seconds."""

    def __init__(self):
        self.now, self.wrong = NOW, 0.0

    def monotonic(self):
        return self.now - NOW

    def wall(self):
        return self.now + self.wrong

    def open(self, path):
        return AppearanceLog(path, clock=self.monotonic, wall=self.wall)


@pytest.fixture
def clock():
    return Clocks()


@pytest.fixture
def log(tmp_path, clock):
    with clock.open(tmp_path / "appearances.sqlite") as log:
        yield log


def ids(log, **query):
    return [one.id for one in log.newest(**query)]


def test_all_stages_of_an_appearance_are_one_row(log):
    log.record(seen(), PICTURE)
    log.record(seen(stage="end"))
    (logged,) = log.newest()
    assert logged.stage == "end" and logged.face and log.face("a") == b"picture"
    log.record(seen(person="p1", stage="end"))
    assert not log.newest()[0].face and log.face("a") is None
    assert log.face("nobody") is None


def test_appearances_are_listed_newest_first_in_pages(log):
    for number in range(5):
        log.record(seen(str(number), started=NOW + number))
    assert ids(log, limit=2) == ["4", "3"]
    assert ids(log, limit=2, before=NOW + 3) == ["2", "1"]
    assert ids(log, limit=-1) == []


def test_appearances_of_a_time_are_listed_in_pages(log):
    for number in range(6):
        log.record(seen(str(number), started=NOW + number))
    times = {"since": NOW + 1, "until": NOW + 5}
    assert ids(log, **times) == ["4", "3", "2", "1"]
    assert ids(log, limit=2, **times) == ["4", "3"] and ids(log, limit=2, before=NOW + 3, **times) == ["2", "1"]
    assert ids(log, until=NOW) == [] and ids(log, since=NOW + 5) == ["5"]


def test_chosen_appearances_are_deleted_with_every_byte_of_their_pictures(log, tmp_path):
    for number in range(3):
        log.record(seen(str(number), started=NOW + number), Sighting(face=b"face of %d" % number))
    assert log.delete(["0", "2", "nobody"]) == 2 and ids(log) == ["1"]
    assert log.face("1") == b"face of 1"
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"face of 1" in stored and b"face of 0" not in stored and b"face of 2" not in stored
    assert log.delete([]) == 0


def test_people_who_came_in_one_frame_are_on_one_page(log):
    for index, id in enumerate("abcdef"):
        log.record(seen(id, started=NOW + index // 3))  # three at once, twice
    pages, before = [], None
    while page := log.newest(2, before):
        pages.append([one.id for one in page])
        before = page[-1].started
    assert pages == [["d", "e", "f"], ["a", "b", "c"]]


def test_old_appearances_and_faces_are_deleted(log, clock):
    log.record(seen("old"), PICTURE)
    clock.now += 1.5 * DAY
    log.record(seen("new"), PICTURE)
    log.prune(KEEP, [], {})
    assert log.face("old") is None and log.face("new") == b"picture" and log.count() == 2
    clock.now += 29 * DAY
    assert log.prune(KEEP, [], {}) == 1 and ids(log) == ["new"]


JUMPS = {
    "1970": 1000.0 - NOW,
    "the date of the system image": -300 * DAY,
    "a day ahead": DAY,
    "2040": 14 * 366 * DAY,
    "9999": 8000 * 366 * DAY,
}


@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
@pytest.mark.parametrize("jump", JUMPS)
def test_a_clock_that_jumps_deletes_nothing_young(log, clock, jump, restart):
    """For minutes, or for half a day; then it is right again."""

    def set_clock(wrong):
        nonlocal log
        clock.wrong = wrong
        if restart:
            log.close()
            log = clock.open(log.path)

    log.record(seen("before"), PICTURE)
    for lasting in (30.0, 300.0, 0.4 * DAY if jump != "a day ahead" else 500.0):
        clock.now += lasting
        log.prune(KEEP, [], {})
        set_clock(JUMPS[jump])
        log.prune(KEEP, [], {})
        log.record(seen(f"while {lasting}"), PICTURE)
        clock.now += lasting
        log.prune(KEEP, [], {})
        set_clock(0.0)
        log.prune(KEEP, [], {})
        assert log.count() == (2 if lasting == 30.0 else 3 if lasting == 300.0 else 4)
        assert all(log.face(id) for id in ids(log))
    pruned = 0
    for _ in range(31):
        clock.now += DAY
        pruned += log.prune(KEEP, [], {})
    assert pruned == 4
    log.close()


@pytest.mark.parametrize("wrong", [*JUMPS.values(), 0.0])
def test_old_entries_are_deleted_whatever_the_clock_says(log, clock, wrong):
    clock.wrong = wrong
    log.record(seen("old"), PICTURE)
    path = log.path
    log.close()
    for _ in range(61):  # the board is on for half of each day
        with clock.open(path) as again:
            clock.now += DAY / 2
            again.prune(KEEP, [], {})
    with clock.open(path) as again:
        assert again.count() == 0


def test_a_board_that_starts_in_1970_each_time_deletes_what_is_old(log, clock):
    log.record(seen("old"))
    path = log.path
    log.close()
    for day in range(62):
        clock.wrong = 1000.0 - clock.now  # no battery, and no network
        with clock.open(path) as again:
            assert again.count() == 1 or day >= 60
            clock.now += DAY / 2
            again.prune(KEEP, [], {})
    with clock.open(path) as again:
        assert again.count() == 0


@pytest.mark.parametrize("wrong_at_start", [0.0, -40 * DAY], ids=["right", "late"])
def test_time_without_power_counts_once_the_clock_is_right(log, clock, wrong_at_start):
    log.record(seen("old"), PICTURE)
    clock.now += 1000.0
    log.prune(KEEP, [], {})
    path = log.path
    log.close()
    clock.now += 40 * DAY
    clock.wrong = wrong_at_start
    with clock.open(path) as again:
        clock.now += 100.0
        again.record(seen("new"), PICTURE)
        clock.wrong = 0.0
        for _ in range(20):
            clock.now += 60.0
            again.prune(KEEP, [], {})
        assert ids(again) == ["new"] and again.face("new")


@pytest.mark.parametrize("wall", [NOW, NOW + JUMPS["2040"], 1000.0])
def test_a_log_from_before_keeps_its_young_entries_and_deletes_the_old_ones(log, clock, wall):
    for id in ("newest", "older", "1970", "ahead"):
        log.record(seen(id))
    database = log._database
    database.execute("DELETE FROM setting")
    times = {"newest": NOW - DAY, "older": NOW - 29.5 * DAY, "1970": 5.0, "ahead": NOW + 9000 * DAY}
    if wall == 1000.0:
        times["ahead"] = NOW - DAY  # without the time, nobody knows whether it is ahead
    for id, logged in times.items():
        database.execute("UPDATE appearance SET logged = ? WHERE id = ?", [logged, id])
    path = log.path
    log.close()
    clock.wrong = wall - clock.now
    with clock.open(path) as again:
        again.prune(KEEP, [], {})
        assert again.count() == 4 or wall != NOW
        assert "newest" in ids(again)
        for _ in range(3):
            clock.now += DAY
            again.prune(KEEP, [], {})
        assert "older" not in ids(again) and "newest" in ids(again)
        clock.now += 31 * DAY
        again.prune(KEEP, [], {})
        assert again.count() == 0


@pytest.mark.parametrize(
    "stored", ["", "null", "[]", "{}", '{"now": "x"}', '{"now": NaN}', '{"now": 1e999}', "[" * 9999, "9" * 400]
)
def test_a_damaged_clock_is_started_again(log, clock, stored):
    log.record(seen("young"))
    log._database.execute("INSERT OR REPLACE INTO setting VALUES ('clock', ?)", [stored])
    log.prune(KEEP, [], {})
    assert ids(log) == ["young"]
    clock.now += 31 * DAY
    assert log.prune(KEEP, [], {}) == 1


def test_forgotten_people_leave_no_byte_and_merged_people_keep_their_rows(log):
    for id, person in (("a", "p1"), ("b", "p2"), ("c", None)):
        log.record(seen(id, person))
    log.prune(KEEP, ["p3"], {"p2": "p3"})
    assert sorted(ids(log)) == ["b", "c"] and ids(log, person="p3") == ["b"]
    assert log.newest(person="p3")[0].match.person == "p3"
    files = b"".join(path.read_bytes() for path in log.path.parent.iterdir())
    assert b"Name of p1" not in files and b"Name of p2" in files


def vector(number, size=4):
    return np.eye(size, dtype=np.float32)[number]


def test_embeddings_are_kept_with_the_latest_stage_and_read_by_person_and_model(log):
    log.record(seen("a"), Sighting(None, vector(0), "model"))
    log.record(seen("a", stage="update"), Sighting(None, vector(1), "model"))
    log.record(seen("a", stage="end"))
    log.record(seen("b", "p1", NOW + 1), Sighting(b"picture", vector(2), "model"))
    log.record(seen("c", started=NOW + 2), Sighting(None, vector(3), "another model"))
    found = log.embeddings("model")
    assert found.ids == ("a", "b") and found.people == (None, "p1") and found.faces.tolist() == [False, True]
    assert np.array_equal(found.vectors, [vector(1), vector(2)])
    assert log.embeddings("model", "").ids == ("a",) and log.embeddings("model", "p1").ids == ("b",)
    assert log.embeddings("model", since=NOW + 1).ids == ("b",)
    assert len(log.embeddings("no such model")) == 0


def test_an_embedding_that_cannot_be_right_is_left_out(log):
    for id in "abcd":
        log.record(seen(id), Sighting(None, vector(0), "model"))
    for id, change in (("a", "substr(value, 1, 9)"), ("b", "zeroblob(24)"), ("c", "CAST(value || value AS BLOB)")):
        log._database.execute(f"UPDATE embedding SET value = {change} WHERE appearance = ?", [id])
    assert log.embeddings("model").ids == ("d",)


def test_pictures_and_embeddings_have_ages_of_their_own(log, clock):
    keep = Keep(appearances=30, unknown_faces=1, known_faces=2, embeddings=3)
    log.record(seen("stranger"), Sighting(b"picture", vector(0), "model"))
    log.record(seen("known", "p1"), Sighting(b"picture", vector(1), "model"))
    for day, faces, embeddings in ((0, 2, 2), (1.5, 1, 2), (2.5, 0, 2), (3.5, 0, 0)):
        clock.now = NOW + day * DAY + 1
        log.prune(keep, ["p1"], {})
        assert sum(one.face for one in log.newest()) == faces, day
        assert len(log.embeddings("model")) == embeddings, day
    assert log.count() == 2


def test_a_picture_is_never_kept_for_another_person(log):
    log.record(seen("a", "p1"), PICTURE)
    log.record(seen("a", "p1", stage="update"))
    assert log.face("a") == b"picture"
    log.record(seen("a", "p2", stage="end"))
    assert log.face("a") is None


@pytest.mark.parametrize("how", ["pruned", "erased"])
def test_embeddings_and_pictures_of_forgotten_people_leave_no_byte(log, how):
    rng = np.random.default_rng(0)
    secret = rng.normal(size=64).astype(np.float32)
    secret /= np.linalg.norm(secret)
    log.record(seen("a", "p1"), Sighting(b"\x89PNG secret picture", secret, "model"))
    log.prune(KEEP, [], {}) if how == "pruned" else log.erase(["p1"])
    files = b"".join(path.read_bytes() for path in log.path.parent.iterdir())
    assert len(log.embeddings("model")) == 0
    assert secret.tobytes() not in files and b"secret picture" not in files


VERSION_1 = """
    CREATE TABLE IF NOT EXISTS appearance (
        id TEXT PRIMARY KEY, source TEXT NOT NULL, person TEXT, started REAL NOT NULL, logged REAL NOT NULL,
        event TEXT NOT NULL, face BLOB
    ) STRICT;
    CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS appearance_started ON appearance (started);
    CREATE INDEX IF NOT EXISTS appearance_person ON appearance (person, started);
"""


@pytest.mark.parametrize("version", [0, 1])
def test_a_log_of_version_1_is_migrated_and_keeps_its_rows(tmp_path, clock, version):
    """Version 0: the power failed before the number was written."""
    path = tmp_path / "old.appearances"
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.executescript(VERSION_1 + f"PRAGMA user_version = {version}")
        event = json.dumps(seen("a").as_event())
        old.execute("INSERT INTO appearance VALUES ('a', 'door', NULL, ?1, ?1, ?2, ?3)", [NOW, event, b"picture"])
    for _ in range(2):
        with clock.open(path) as log:
            assert ids(log) == ["a"] and log.face("a") == b"picture"
            log.record(seen("a", stage="end"), Sighting(None, vector(0), "model"))
            assert log.embeddings("model").ids == ("a",) and log.newest()[0].stage == "end"


def test_the_log_of_a_newer_rkface_is_refused(log, tmp_path):
    log._database.execute("PRAGMA user_version = 999")
    log.close()
    with pytest.raises(InputError, match="newer rkface"):
        AppearanceLog(log.path)


def test_the_log_of_another_user_is_refused_with_advice(tmp_path, monkeypatch):
    def denied(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("os.open", denied)  # the tests may run as root, which can open all files
    with pytest.raises(WorkError, match=r"appearances\.sqlite: .*Permission denied.*check its owner"):
        AppearanceLog(tmp_path / "appearances.sqlite")
