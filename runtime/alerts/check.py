"""What is wrong with a rule that has values of the right types."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ..core.errors import InputError
from ..core.text import can_be_in_address, find_hidden, in_a_line, nearest, show_value
from ..core.weekly import WeeklyHours, check_weekly_hours
from .rule import EVERYBODY, GROUP, LONGEST_COOLDOWN, MOST_RULE_NAME, PERSON, Rule

MOST_ENTRIES, MOST_LENGTH = 100, 300  # of a list, and characters of each


def find_rule_mistakes(name: str, rule: Rule, cameras: Collection[str], receivers: Collection[str]) -> Iterator[str]:
    """What is wrong with the rule ``name``, each with its key (``rules.NAME.hours``) and what to do. ``cameras``: the
    names of the configured cameras, empty if they are not known. ``receivers``: of the configured receivers."""
    key = f"rules.{in_a_line(name[:40])}"
    if not can_be_in_address(name, MOST_RULE_NAME):
        limit = f"at most {MOST_RULE_NAME} characters"
        yield f"{key}: the name of a rule must be visible text without / (not . or ..), {limit}"
    if flaw := _find_flaw_of_list(rule):
        yield f"{key}.{flaw}"
        return
    if not rule.who:
        yield f"{key}.who is empty: name at least one of {', '.join(EVERYBODY)}, {GROUP}NAME, {PERSON}ID"
    if not 0 <= rule.cooldown <= LONGEST_COOLDOWN:  # requests to the console are not checked by their types
        yield f"{key}.cooldown is {rule.cooldown:g}, but must be from 0 to {LONGEST_COOLDOWN:g} seconds"
    for who in rule.who:
        yield from _find_mistake_in_who(f"{key}.who", who)
    for camera in rule.cameras:
        if cameras and camera not in cameras:
            yield _unknown(f"{key}.cameras", "camera", camera, cameras)
    for zone in rule.zones:
        if not zone:
            yield f"{key}.zones: {show_value(zone)} is not the name of a zone"
    for hours in rule.hours:
        yield from _explain(f"{key}.hours", WeeklyHours(hours=(hours,)))
    yield from _explain(f"{key}.time_zone", WeeklyHours(time_zone=rule.time_zone))
    for receiver in rule.receivers:
        if receiver not in receivers:
            yield _unknown(f"{key}.receivers", "receiver", receiver, receivers)


def _find_flaw_of_list(rule: Rule) -> str | None:
    for field in ("who", "cameras", "zones", "days", "hours", "receivers"):
        entries = getattr(rule, field)
        if len(entries) > MOST_ENTRIES:
            return f"{field} has {len(entries)} entries, but at most {MOST_ENTRIES} are allowed"
        for one in entries:
            if find_hidden(one) or len(one) > MOST_LENGTH:
                return f"{field}: {show_value(one)} must be visible text, at most {MOST_LENGTH} characters"
    return None


def _find_mistake_in_who(key: str, who: str) -> Iterator[str]:
    group, person = who.removeprefix(GROUP), who.removeprefix(PERSON)
    if who.startswith(GROUP):
        if not group.strip():
            yield f"{key}: {show_value(who)} names no group: write {GROUP} and its name, such as {GROUP}family"
    elif who.startswith(PERSON):
        if not person:
            yield f"{key}: {show_value(who)} names nobody: write {PERSON} and an id from `rkface gallery list`"
    elif who not in EVERYBODY:
        near = nearest(who, EVERYBODY)
        hint = f"did you mean {near}?" if near else f"write {', '.join(EVERYBODY)}, {GROUP}NAME or {PERSON}ID"
        yield f"{key} is {show_value(who)}: {hint}"


def _unknown(key: str, kind: str, name: str, known: Collection[str]) -> str:
    near = nearest(name, known)
    there = f"there are {', '.join(map(in_a_line, known))}" if known else "none is configured"
    return f"{key}: there is no {kind} {show_value(name)}: {f'did you mean {in_a_line(near)}?' if near else there}"


def _explain(key: str, hours: WeeklyHours) -> Iterator[str]:
    try:
        check_weekly_hours(hours)
    except InputError as error:
        yield f"{key}: {error}"
