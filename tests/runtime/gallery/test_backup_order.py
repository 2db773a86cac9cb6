"""Which backups are kept, whatever the clock says."""

import random
import time

import pytest

from rkface.runtime.gallery.backup import back_up
from rkface.runtime.gallery.backup_files import backup_folder, list_backups
from rkface.runtime.gallery.backup_registry import known_backups
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.restore import restore

from .conftest import ONE, sample

NOW = 1_790_000_000.0
YEAR = 365.25 * 86400


@pytest.fixture
def clock(monkeypatch):
    """Sets the clock: clock(seconds since 1970)."""

    def set(seconds):
        monkeypatch.setattr(time, "time", lambda: seconds)

    set(NOW)
    return set


def people(backup):
    with Gallery(backup) as opened:
        return len(opened.people())


@pytest.mark.parametrize(
    "times",
    [
        [NOW] * 10,  # the same second
        [0.0] * 10,  # a board without a clock battery
        [NOW, NOW, NOW, 0, 1, 2, 3, 4, 5, 6],
        [NOW + 14 * YEAR, NOW, NOW + 1, NOW + 2, NOW + 3, NOW + 4, NOW + 5],  # 2040, then corrected
        [NOW, NOW + 14 * YEAR, 0, NOW, NOW + 9000 * YEAR, 5, NOW - 3600, NOW],  # the year 11000
        [-40 * YEAR, -1, 0, NOW],
        [NOW - number * 3600 for number in range(10)],  # back by an hour each time, as at the end of summer time
        random.Random(8).choices([0, NOW, NOW + 14 * YEAR, NOW + 9000 * YEAR, NOW - YEAR], k=25),
    ],
)
def test_the_newest_backups_are_kept_whatever_the_clock_says(gallery, path, clock, times):
    made = []
    for number, seconds in enumerate(times):
        clock(seconds)
        gallery.add(f"person {number}", [sample(number)])
        made.append(back_up(gallery, keep=3))
        assert made[-1].exists() and list_backups(path) == made[-3:] == known_backups(gallery)
        assert people(list_backups(path)[-1]) == number + 1, "the newest backup has the newest content"


def test_a_backup_survives_its_own_making_if_none_are_to_be_kept(gallery):
    assert back_up(gallery, keep=0).exists()


def test_backups_of_older_versions_are_older_than_numbered_ones_and_replaced_first(gallery, path, clock):
    folder = backup_folder(path)
    old = ["1970-01-01T00-00-05-000Z", "2026-11-28T10-00-00-001Z", "2040-01-01T00-00-00-000Z"]
    later = ["10026-01-01T00-00-00-000Z"]  # as text, it comes first
    first = back_up(gallery)
    for name in reversed(old + later):
        (folder / f"{name}.sqlite").write_bytes(first.read_bytes())
    assert [backup.name for backup in list_backups(path)] == [f"{name}.sqlite" for name in old + later] + [first.name]
    clock(0)
    made = [back_up(gallery, keep=3) for _ in range(2)]
    assert list_backups(path) == [first, *made]


def test_files_that_were_copied_into_the_folder_are_kept(gallery, path):
    made = back_up(gallery)
    copied = made.with_name("before the move.sqlite")
    made.rename(copied)
    for _ in range(4):
        newest = back_up(gallery, keep=2)
    assert copied.exists() and len(list_backups(path)) == 3 and list_backups(path)[-1] == newest
    (made.parent / "999999999999-2026-11-28T10-00-00Z.sqlite").write_bytes(copied.read_bytes())
    assert list_backups(path)[-1].name.startswith("999999999999-")
    next = back_up(gallery, keep=2)
    assert list_backups(path)[-1] == next and next.name.startswith("1000000000000-")


def test_numbers_go_on_after_a_restore_and_after_all_backups_were_deleted(gallery, path):
    first = back_up(gallery)
    for _ in range(3):
        back_up(gallery)
    restore(path, first)
    saved = list_backups(path)[-1]
    assert int(saved.name.split("-")[0]) == 5
    for backup in list_backups(path):
        backup.unlink()
    assert int(back_up(gallery).name.split("-")[0]) == 6


def test_two_damaged_files_of_the_same_second_are_both_kept(path, clock):
    with Gallery(path, ONE, create=True) as gallery:
        gallery.add("Ada", [sample(1)])
        backup = back_up(gallery)
    aside = []
    for content in (b"damaged " * 1000, b"differently " * 1000):
        path.write_bytes(content)
        aside.append(restore(path, backup))
        assert aside[-1].read_bytes() == content
    assert len(set(aside)) == 2 and aside[0].exists()
