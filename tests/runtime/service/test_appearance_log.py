"""The appearance log: old entries are deleted although the clock may jump, and forgotten people are erased."""

import errno
import os

import pytest

from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.gallery.match import Match
from rkface.runtime.service.appearance_log import AppearanceLog
from rkface.runtime.service.settings import DAY, Keep
from rkface.runtime.tracking.appearance import Appearance

NOW = 1_800_000_000.0
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
    log.record(seen(), b"picture")
    log.record(seen(stage="end"))
    (logged,) = log.newest()
    assert logged.stage == "end" and logged.face and log.face("a") == b"picture"
    log.record(seen(person="p1", stage="end"), None)
    assert not log.newest()[0].face and log.face("a") is None
    assert log.face("nobody") is None


def test_appearances_are_listed_newest_first_in_pages(log):
    for number in range(5):
        log.record(seen(str(number), started=NOW + number))
    assert ids(log, limit=2) == ["4", "3"]
    assert ids(log, limit=2, before=NOW + 3) == ["2", "1"]
    assert ids(log, limit=-1) == []


def test_people_who_came_in_one_frame_are_on_one_page(log):
    for index, id in enumerate("abcdef"):
        log.record(seen(id, started=NOW + index // 3))  # three at once, twice
    pages, before = [], None
    while page := log.newest(2, before):
        pages.append([one.id for one in page])
        before = page[-1].started
    assert pages == [["d", "e", "f"], ["a", "b", "c"]]


def test_old_appearances_and_faces_are_deleted(log, clock):
    log.record(seen("old"), b"picture")
    clock.now += 1.5 * DAY
    log.record(seen("new"), b"picture")
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

    log.record(seen("before"), b"picture")
    for lasting in (30.0, 300.0, 0.4 * DAY if jump != "a day ahead" else 500.0):
        clock.now += lasting
        log.prune(KEEP, [], {})
        set_clock(JUMPS[jump])
        log.prune(KEEP, [], {})
        log.record(seen(f"while {lasting}"), b"picture")
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
    log.record(seen("old"), b"picture")
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
    log.record(seen("old"), b"picture")
    clock.now += 1000.0
    log.prune(KEEP, [], {})
    path = log.path
    log.close()
    clock.now += 40 * DAY
    clock.wrong = wrong_at_start
    with clock.open(path) as again:
        clock.now += 100.0
        again.record(seen("new"), b"picture")
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


def test_the_log_of_a_newer_rkface_is_refused(log, tmp_path):
    log._database.execute("PRAGMA user_version = 2")
    log.close()
    with pytest.raises(InputError, match="newer rkface"):
        AppearanceLog(log.path)


def test_the_log_of_another_user_is_refused_with_advice(tmp_path, monkeypatch):
    def denied(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("os.open", denied)  # the tests may run as root, which can open all files
    with pytest.raises(WorkError, match=r"appearances\.sqlite: .*Permission denied.*check its owner"):
        AppearanceLog(tmp_path / "appearances.sqlite")
