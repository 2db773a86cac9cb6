"""Attendance: when each person was seen first and last on each day, and when nobody looked. Pure functions.

"Not seen" is evidence of absence only while boards and cameras looked. So each row names the times of its day in which
they did not, and a row without a name says so of days on which nobody may have been seen.
"""

from __future__ import annotations

import csv
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from typing import TextIO
from zoneinfo import ZoneInfo, available_timezones

from ..core.errors import InputError
from ..core.tables import as_plain_text
from ..core.text import in_a_line, nearest, show_value
from .journeys import Stop

MOST_DAYS = 3660
COLUMNS = ("day", "time_zone", "person", "name", "first_seen", "first_camera", "last_seen", "last_camera",
           "appearances", "not_watched")  # fmt: skip


@dataclass(frozen=True)
class Silence:
    """A time in which ``board`` at ``site``, or one ``camera`` of it ("": all), did not look, or could not tell the
    hub. Seconds since 1970 (UTC)."""

    site: str
    board: str
    camera: str
    started: float
    ended: float


@dataclass(frozen=True)
class Watch:
    """Who looked, and for whom. ``silences``: when nobody did. ``known``: the sites where a person (an id) is known;
    the lines of the person name silences there and where the person was seen. ``now``, in seconds since 1970: what
    comes later was not watched yet."""

    silences: Sequence[Silence]
    known: Mapping[str, Collection[str]]
    now: float


@dataclass(frozen=True)
class Days:
    """Days of a calendar: ``first`` and those after it, in a time zone. ``bounds``: when they begin, and when the last
    one ends, in seconds since 1970. A day has 23 to 25 hours."""

    first: date
    zone: ZoneInfo
    bounds: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def parts(self, started: float, ended: float) -> Iterable[tuple[int, float, float]]:
        """The number of each day that a time touches, with the part of the time that is in this day."""
        first = max(0, bisect_right(self.bounds, started) - 1)
        for day in range(first, len(self)):
            begin, end = self.bounds[day], self.bounds[day + 1]
            if begin > started and begin >= ended:
                return
            if end > started:
                yield day, max(started, begin), min(ended, end)

    def is_changed(self, day: int) -> bool:
        """Whether clocks are changed on this day, so that a time of the day may come twice."""
        begin, end = (datetime.fromtimestamp(at, self.zone) for at in self.bounds[day : day + 2])
        return begin.utcoffset() != end.utcoffset()


@dataclass(frozen=True)
class SeenDay:
    """One person on one day (the number of the day): what was seen of the person then."""

    day: int
    person: str
    name: str
    first_seen: float
    first_camera: str
    last_seen: float
    last_camera: str
    appearances: int
    sites: frozenset[str]


def read_zone(name: str) -> ZoneInfo:
    """The time zone with this name of the IANA database, such as Europe/Warsaw. Raises InputError for another name."""
    known = available_timezones()
    if name in known:
        return ZoneInfo(name)
    if not known:
        raise InputError("this machine knows no time zones: install them with `apt install tzdata`")
    similar = nearest(name, known)
    hint = f": did you mean {similar}?" if similar else ": write one such as Europe/Warsaw"
    raise InputError(f"there is no time zone {show_value(name)}{hint}")


def list_days(first: date, last: date, zone: ZoneInfo) -> Days:
    """The days from ``first`` to ``last``, both included. Raises InputError if ``last`` is before ``first``, or if
    there are more than ``MOST_DAYS``."""
    count = (last - first).days + 1
    if count < 1:
        raise InputError(f"the last day, {last}, is before the first, {first}: exchange them")
    if count > MOST_DAYS:
        raise InputError(f"from {first} to {last} are {count} days: ask for {MOST_DAYS} at most")
    try:
        days = [first + timedelta(days=number) for number in range(count + 1)]
        bounds = tuple(datetime.combine(day, time(), zone).timestamp() for day in days)
    except (OverflowError, ValueError):
        raise InputError(f"{first} to {last}: these days are too near to the end of the calendar") from None
    return Days(first, zone, bounds)


def find_seen_days(stops: Iterable[Stop], days: Days) -> list[SeenDay]:
    """Who was seen on which day, by day and name. ``stops`` may come in any order; one that goes on over midnight
    counts on both days."""
    found: dict[tuple[int, str], SeenDay] = {}
    for stop in stops:
        where = " / ".join(part for part in (stop.board, stop.source) if part)
        for day, started, last in days.parts(stop.started, stop.last):
            key = day, stop.person
            new = SeenDay(day, stop.person, stop.name, started, where, last, where, 1, frozenset({stop.site}))
            found[key] = _join(found[key], new) if key in found else new
    return sorted(found.values(), key=lambda one: (one.day, one.name.casefold(), one.person))


def _join(one: SeenDay, other: SeenDay) -> SeenDay:
    first = min(one, other, key=lambda one_day: (one_day.first_seen, one_day.first_camera))
    last = max(one, other, key=lambda one_day: (one_day.last_seen, one_day.last_camera))
    return SeenDay(
        one.day, one.person, one.name, first.first_seen, first.first_camera, last.last_seen, last.last_camera,
        one.appearances + other.appearances, one.sites | other.sites,
    )  # fmt: skip


def write_attendance(out: TextIO, seen_days: Iterable[SeenDay], watch: Watch, days: Days) -> None:
    """Write CSV with a line for each of ``seen_days``, which are sorted by day, and before them one without a name for
    each day of which a part was not watched.

    A cell that a spreadsheet would take for a formula gets an apostrophe (``as_plain_text``), and hidden characters
    become "?".
    """
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    missing = _find_missing(watch, days)
    zone, shown = str(days.zone), -1
    for one in (*seen_days, None):
        for day in range(shown + 1, (one.day if one else len(days) - 1) + 1):
            if missing[day]:
                texts = _in_words(missing[day], None, days, day)
                writer.writerow([days.first + timedelta(days=day), zone, *[""] * 7, as_plain_text(in_a_line(texts))])
            shown = day
        if one is None:
            return
        sites = one.sites.union(watch.known.get(one.person, ()))
        cells = [
            str(days.first + timedelta(days=one.day)), zone, one.person, one.name,
            _show_time(one.first_seen, days.zone), one.first_camera, _show_time(one.last_seen, days.zone),
            one.last_camera, str(one.appearances), _in_words(missing[one.day], sites, days, one.day),
        ]  # fmt: skip
        writer.writerow([as_plain_text(in_a_line(cell)) for cell in cells])


def _find_missing(watch: Watch, days: Days) -> list[list[Silence]]:
    """For each day, the parts of silences in it, joined where they touch; and what has yet to come, of no board."""
    found: list[list[Silence]] = [[] for _ in range(len(days))]
    future = [Silence("", "", "", watch.now, days.bounds[-1])] if watch.now < days.bounds[-1] else []
    order = sorted(watch.silences, key=lambda one: (one.site, one.board, one.camera, one.started))
    for silence in (*future, *order):
        for day, started, ended in days.parts(silence.started, min(silence.ended, days.bounds[-1])):
            parts, where = found[day], (silence.site, silence.board, silence.camera)
            last = parts[-1] if parts else None
            if last and (last.site, last.board, last.camera) == where and started <= last.ended:
                parts[-1] = Silence(*where, last.started, max(last.ended, ended))
            elif ended > started:
                parts.append(Silence(*where, started, ended))
    return found


def _in_words(silences: Iterable[Silence], sites: Collection[str] | None, days: Days, day: int) -> str:
    """``silences`` of one day as text: those at ``sites`` (None: all), and what has yet to come."""
    texts = []
    for one in silences:
        if one.board and sites is not None and one.site not in sites:
            continue
        where = " / ".join(part for part in (one.board, one.camera) if part) or "not over yet:"
        begin, end = days.bounds[day : day + 2]
        if one.started <= begin and one.ended >= end:
            texts.append(f"{where} all day")
        else:
            times = (_show_minute(one.started, days, day), _show_minute(one.ended + 59.0, days, day))
            texts.append(f"{where} {times[0]} to {times[1] if one.ended < end else '24:00'}")
    return "; ".join(texts)


def _show_minute(seconds: float, days: Days, day: int) -> str:
    at = datetime.fromtimestamp(min(seconds, days.bounds[day + 1] - 1.0), days.zone)
    return f"{at:%H:%M}{at.isoformat()[-6:] if days.is_changed(day) else ''}"


def _show_time(seconds: float, zone: ZoneInfo) -> str:
    """RFC 3339 with the offset of the time zone, to the second."""
    at = datetime.fromtimestamp(int(seconds), timezone.utc).astimezone(zone)
    return at.isoformat(timespec="seconds")
