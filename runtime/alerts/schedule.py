"""When a rule applies: days of the week and hours of the day, in a time zone."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from ..core.errors import InputError
from ..core.steady_clock import SET_SINCE
from ..core.text import nearest, show_value
from .rule import DAYS, Day, Rule

MINUTES = 24 * 60  # of a day
SET_UNTIL = 1e11  # seconds since 1970, in the year 5138: a clock that shows more is not set
LONGEST = 8 * 86_400.0  # seconds: a longer appearance has seen each hour of the week


@dataclass(frozen=True)
class Hours:
    """A part of the day, in minutes since midnight. ``begin`` is part of it, ``end`` (at most 1440) is not. If ``end``
    is not later than ``begin``, it is on the next day."""

    begin: int
    end: int

    @property
    def over_midnight(self) -> bool:
        return self.end <= self.begin

    def __str__(self) -> str:
        return f"{_clock(self.begin)} to {_clock(self.end)}{' of the next day' if self.over_midnight else ''}"


def read_hours(text: str) -> Hours:
    """The hours that ``text`` describes: "08:00-17:30", or "22:00-06:00" over midnight. Raises InputError."""
    found = re.fullmatch(r"([0-9]{1,2}):([0-9]{2})-([0-9]{1,2}):([0-9]{2})", text)
    if found:
        hour, minute, last_hour, last_minute = map(int, found.groups())
        begin, end = hour * 60 + minute, last_hour * 60 + last_minute
        if max(minute, last_minute) < 60 and begin < MINUTES and end <= MINUTES:
            if begin == end:
                raise InputError(f"{text!r} begins when it ends: leave hours empty for the whole day")
            return Hours(begin, end)
    raise InputError(f'{show_value(text)} must be two times of the day, such as "08:00-17:30" or "22:00-06:00"')


@lru_cache(maxsize=64)
def find_zone(name: str) -> zoneinfo.ZoneInfo | None:
    """The time zone ``name``; None for "", the zone of this machine. Raises InputError if it is not known here."""
    if not name:
        return None
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        known = zoneinfo.available_timezones()
    if not known:
        raise InputError(
            f"the time zone {show_value(name)} is not known, because this machine has no data about time zones: "
            "install them with `apt install tzdata`, or `pip install tzdata`"
        )
    spellings = {text.lower(): zone for zone in sorted(known) for text in (zone.rpartition("/")[2], zone)}
    meant = spellings.get(nearest(name, spellings) or "")
    hint = f"did you mean {meant}?" if meant else "write the name of a region and a city, such as Europe/Warsaw"
    raise InputError(f"there is no time zone {show_value(name)}: {hint}")


def is_open(rule: Rule, moment: float) -> bool:
    """Whether the days and hours of ``rule`` contain ``moment`` (seconds since 1970, UTC).

    Hours over midnight belong to the day on which they begin. While the clock of the machine is not set, nobody knows
    the hour: then every moment counts, because a needless alert is better than none.
    """
    if not SET_SINCE <= moment < SET_UNTIL or not (rule.days or rule.hours):
        return True
    local = datetime.fromtimestamp(moment, find_zone(rule.time_zone))
    minute, days = local.hour * 60 + local.minute, rule.days or DAYS
    today, yesterday = _day(local), _day(local - timedelta(days=1))
    if not rule.hours:
        return today in days
    for hours in map(read_hours, rule.hours):
        if not hours.over_midnight:
            if today in days and hours.begin <= minute < hours.end:
                return True
        elif (today in days and minute >= hours.begin) or (yesterday in days and minute < hours.end):
            return True
    return False


def moments_between(begin: float, end: float) -> Iterator[float]:
    """Moments that fall into each minute from ``begin`` to ``end`` (seconds since 1970), both included."""
    end = min(end, begin + LONGEST)
    yield begin
    moment = begin - begin % 60 + 60
    while moment < end:
        yield moment
        moment += 60
    yield max(begin, end)


def _day(local: datetime) -> Day:
    return DAYS[local.weekday()]


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
