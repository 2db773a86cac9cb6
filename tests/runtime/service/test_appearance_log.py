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


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("rkface.runtime.service.appearance_log.time.time", clock)
    return clock


@pytest.fixture
def log(tmp_path, clock):
    with AppearanceLog(tmp_path / "appearances.sqlite") as log:
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


def test_a_clock_that_was_not_set_yet_deletes_nothing(log, clock):
    """The clock of a board without a battery starts in 1970, and jumps when a time server answers."""
    log.record(seen("before"))
    clock.now = 1000.0
    log.record(seen("1970"), b"picture")
    log.prune(KEEP, [], {})
    clock.now = NOW + DAY / 2
    log.prune(KEEP, [], {})
    assert sorted(ids(log)) == ["1970", "before"] and log.face("1970") == b"picture"
    clock.now += 31 * DAY
    assert log.prune(KEEP, [], {}) == 2


def test_appearances_logged_in_the_future_are_deleted_later_too(log, clock):
    clock.now = NOW + 5000 * DAY
    log.record(seen("ahead"))
    clock.now = NOW
    log.prune(KEEP, [], {})
    clock.now = NOW + 31 * DAY
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
