"""A rule in words, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..core.text import in_a_line
from ..core.weekly import DAYS
from .rule import GROUP, PERSON, Rule

DAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
WHOM = {"anybody": "anybody", "known": "a known person", "stranger": "a stranger"}


def in_words(rule: Rule, names: Mapping[str, str]) -> str:
    """What ``rule`` does, as one sentence. ``names``: the names of people by id; others are named by their ids."""
    who = _join([_name(who, names) for who in rule.who], "or") or "nobody"
    tell = f"tell {_join(list(rule.receivers), 'and')}" if rule.receivers else "tell nobody (it has no receivers)"
    sentence = f"hen {who} is seen{_where(rule)}{_when(rule)}, {tell}{_how_often(rule)}."
    return in_a_line(f"W{sentence}" if rule.enabled else f"Switched off: w{sentence}")


def _name(who: str, names: Mapping[str, str]) -> str:
    if who.startswith(GROUP):
        return f"a member of the group {who.removeprefix(GROUP)}"
    if who.startswith(PERSON):
        id = who.removeprefix(PERSON)
        return names.get(id, f"the person {id}")
    return WHOM.get(who, who)


def _where(rule: Rule) -> str:
    cameras = f" by {_join(list(rule.cameras), 'or')}" if rule.cameras else " by any camera"
    zones = f" in {'the zone' if len(rule.zones) == 1 else 'one of the zones'} {_join(list(rule.zones), 'or')}"
    return cameras + (zones if rule.zones else "")


def _when(rule: Rule) -> str:
    if not rule.days and not rule.hours:
        return " at any time"
    days = _days(rule) if rule.days else "every day"
    hours = _join([_hours(hours) for hours in rule.hours], "and")
    zone = rule.time_zone or "the time of this machine"
    return f" {days}{f' {hours}' if hours else ''} ({zone})"


def _hours(span: str) -> str:
    begin, _, end = span.partition("-")
    return f"from {begin} to {end}{' of the next day' if end < begin else ''}"


def _days(rule: Rule) -> str:
    """The days, as ranges where three or more follow one another."""
    marked = [day in rule.days for day in DAYS]
    parts: list[str] = []
    at = 0
    while at < len(DAYS):
        end = at
        while end < len(DAYS) and marked[end]:
            end += 1
        parts += [f"{DAY_NAMES[at]} to {DAY_NAMES[end - 1]}"] if end - at > 2 else DAY_NAMES[at:end]
        at = max(end, at + 1)
    return f"on {_join(parts, 'and')}"


def _how_often(rule: Rule) -> str:
    if not rule.cooldown:
        return " each time"
    strangers = any(who in ("anybody", "stranger") for who in rule.who)
    known = any(who != "stranger" for who in rule.who)
    each = _join([*(["each person"] if known else []), *(["strangers at each camera"] if strangers else [])], "and")
    return f", for {each} at most once in {in_time(rule.cooldown)}"


def in_time(seconds: float) -> str:
    """``seconds`` in the largest unit that shows them as a whole number: "5 minutes"."""
    for size, unit in ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size and not seconds % size:
            count = seconds / size
            return f"{count:g} {unit}{'s' if count != 1 else ''}"
    return f"{seconds:g} seconds"


def _join(words: Sequence[str], last: str) -> str:
    """ "a, b or c"."""
    return f"{', '.join(words[:-1])} {last} {words[-1]}" if len(words) > 1 else "".join(words)
