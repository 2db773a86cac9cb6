"""Hours of the week: weekdays, hours of the day and a time zone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo
from typing import Annotated, Literal, get_args

from .errors import InputError
from .text import nearest, show_value

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = get_args(Day)
MINUTE, DAY = 60, 1440  # seconds of a minute, minutes of a day
AHEAD = 8  # days in which the next change is searched: a week, and one more for the change of the clocks
SPAN = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-(?:([01]\d|2[0-3]):([0-5]\d)|(24):(00))", re.ASCII)


@dataclass(frozen=True)
class WeeklyHours:
    """Hours of some days of the week. The hours of a day that end after midnight belong to the day on which they begin:
    ``days = ["fri"]`` with ``hours = ["22:00-06:00"]`` ends on Saturday morning."""

    days: Annotated[tuple[Day, ...], "such as mon, tue; empty: every day"] = ()
    hours: Annotated[tuple[str, ...], "such as 08:00-12:30, or 22:00-06:00 over midnight; empty: the whole day"] = ()
    time_zone: Annotated[str, "such as Europe/Warsaw; empty: the time zone of this machine"] = ""


def check_weekly_hours(hours: WeeklyHours) -> None:
    """Raises InputError, which says what is wrong and what to write instead."""
    for span in hours.hours:
        _minutes(span)
    _zone(hours.time_zone)


def includes(hours: Iterable[WeeklyHours], moment: float) -> bool:
    """Whether ``moment`` (seconds since 1970) is in one of ``hours``. Raises InputError as ``check_weekly_hours``."""
    return any(_includes(one, moment) for one in hours)


def next_change(hours: Sequence[WeeklyHours], moment: float) -> float | None:
    """When ``includes`` next has another result than at ``moment``, in seconds since 1970, to the minute; None if it
    does not change within a week."""
    before, now = moment, includes(hours, moment)
    for time_of_change in sorted({one for each in hours for one in _boundaries(each, moment) if one > moment}):
        # A clock that is set forward skips a boundary: the change is then where the clock is set.
        if includes(hours, time_of_change - 1) != now:
            return _first_minute(hours, before, time_of_change - 1, now)
        if includes(hours, time_of_change) != now:
            return time_of_change
        before = time_of_change
    return None


def _first_minute(hours: Sequence[WeeklyHours], before: float, after: float, now: bool) -> float:
    """The first whole minute after ``before``, at most ``after``, at which ``includes`` is not ``now``."""
    low, high = int(before // MINUTE), int(after // MINUTE)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if includes(hours, middle * MINUTE) == now else (low, middle)
    return float(high * MINUTE)


def _includes(hours: WeeklyHours, moment: float) -> bool:
    local = datetime.fromtimestamp(moment, _zone(hours.time_zone))
    minute, today = local.hour * 60 + local.minute, local.weekday()
    days = [DAYS.index(day) for day in hours.days] or range(7)
    for begin, end in _spans(hours):
        evening = today in days and begin <= minute < (end if begin < end else DAY)
        morning = begin > end and (today - 1) % 7 in days and minute < end
        if evening or morning:
            return True
    return False


def _boundaries(hours: WeeklyHours, moment: float) -> Iterator[float]:
    """The times around ``moment`` at which the hours begin or end, and midnights. Where clocks are set back, a time of
    the day exists twice, and both are returned."""
    zone = _zone(hours.time_zone)
    first = datetime.fromtimestamp(moment, zone).date() - timedelta(days=1)
    minutes = {0} | {minute % DAY for span in _spans(hours) for minute in span}
    for day in (first + timedelta(days=number) for number in range(AHEAD + 2)):
        for minute in minutes:
            at = datetime.combine(day, time(minute // 60, minute % 60), zone)
            yield from {at.timestamp(), at.replace(fold=1).timestamp()}


def _spans(hours: WeeklyHours) -> list[tuple[int, int]]:
    return [_minutes(span) for span in hours.hours] or [(0, DAY)]


def _minutes(span: str) -> tuple[int, int]:
    """Begin and end of ``span`` in minutes since midnight."""
    found = SPAN.fullmatch(span)
    if found is None:
        raise InputError(f"{show_value(span)} are no hours of a day: write 08:00-17:30, or 22:00-06:00 over midnight")
    begin, end = (60 * int(hour) + int(minute) for hour, minute in _pairs(found))
    if begin == end:
        raise InputError(f"{span} begins and ends at the same time: write 00:00-24:00 for the whole day")
    return begin, end


def _pairs(found: re.Match[str]) -> Iterator[tuple[str, str]]:
    first, second, *end = (one for one in found.groups() if one is not None)
    yield first, second
    yield end[0], end[1]


def _zone(name: str) -> tzinfo | None:
    """The time zone with this name; None for the machine's."""
    if not name:
        return None
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise InputError(f"there is no time zone {show_value(name)} on this machine: {_suggest(name)}") from None


def _suggest(name: str) -> str:
    from zoneinfo import available_timezones

    known = available_timezones()
    if not known:
        return "it has no data about time zones: install them with `apt install tzdata`, or `pip install tzdata`"
    spellings = {text.lower(): zone for zone in sorted(known) for text in (zone.rpartition("/")[2], zone)}
    near = nearest(name, spellings)
    return f"did you mean {spellings[near]}?" if near else "write a region and a city, such as Europe/Warsaw"
