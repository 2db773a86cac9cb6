"""Whether a rule applies to an appearance: pure functions. What is remembered from stage to stage is in ``Progress``,
the cool-down is decided elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..core.steady_clock import SET_SINCE
from ..core.weekly import includes
from ..tracking.appearance import Appearance
from .rule import GROUP, PERSON, Rule

SET_UNTIL = 1e11  # seconds since 1970, in the year 5138: a clock that shows more is not set


@dataclass(frozen=True)
class SeenPerson:
    """Whom an appearance shows.

    ids     the id of the person in the gallery, and those of people who were merged into this one; empty: a stranger
    groups  the groups of the person
    """

    ids: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()


STRANGER = SeenPerson()


@dataclass(frozen=True)
class Progress:
    """What is remembered of one appearance.

    in_hours  the rules in whose days and hours a part of the appearance was
    applied   the rules that applied at one of its stages: they do not apply again
    """

    in_hours: frozenset[str] = frozenset()
    applied: frozenset[str] = frozenset()


def advance(
    progress: Progress,
    rules: Mapping[str, Rule],
    appearance: Appearance,
    identity: SeenPerson,
    moments: Iterable[float],
) -> tuple[Progress, tuple[str, ...]]:
    """Return the progress after this stage of ``appearance``, and the names of the ``rules`` that apply now for the
    first time. ``moments``: when the person was there since the stage before, in seconds since 1970."""
    times = list(moments)
    in_hours = {
        name
        for name, rule in rules.items()
        if name in progress.in_hours or any(is_open(rule, moment) for moment in times)
    }
    new = tuple(
        name
        for name, rule in rules.items()
        if rule.enabled
        and name in in_hours
        and name not in progress.applied
        and is_about(rule, identity)
        and is_there(rule, appearance)
    )
    return Progress(frozenset(in_hours), progress.applied | set(new)), new


def is_about(rule: Rule, identity: SeenPerson) -> bool:
    """Whether ``rule`` is about this person."""
    return any(_is_meant(who, identity) for who in rule.who)


def is_there(rule: Rule, appearance: Appearance) -> bool:
    """Whether ``rule`` is about the camera of ``appearance``, and about a zone in which the person was."""
    at_camera = not rule.cameras or appearance.source in rule.cameras
    return at_camera and (not rule.zones or not set(rule.zones).isdisjoint(appearance.zones))


def is_open(rule: Rule, moment: float) -> bool:
    """Whether ``moment`` (seconds since 1970) is in the days and hours of ``rule``. While the clock of the machine is
    not set, nobody knows the hour: then every moment counts, because a needless alert is better than none."""
    if not (rule.days or rule.hours) or not SET_SINCE <= moment < SET_UNTIL:
        return True
    return includes([rule.when], moment)


def cooldown_key(appearance: Appearance) -> tuple[str, str]:
    """Whose alerts share a cool-down: the id of the person and "", or, for strangers, "" and the camera."""
    return (appearance.match.person, "") if appearance.match else ("", appearance.source)


def _is_meant(who: str, identity: SeenPerson) -> bool:
    if who == "anybody":
        return True
    if not identity.ids:
        return who == "stranger"
    if who.startswith(GROUP):
        return who.removeprefix(GROUP) in identity.groups
    return who == "known" or (who.startswith(PERSON) and who.removeprefix(PERSON) in identity.ids)
