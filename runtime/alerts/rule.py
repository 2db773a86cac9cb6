"""A rule for alerts: who, where, when, how often, and who is told. docs/alerts.md explains it for users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ..core.toml import Range
from ..core.weekly import Day, WeeklyHours

GROUP, PERSON = "group:", "person:"  # of an entry of ``Rule.who``, before the name or the id
EVERYBODY = ("anybody", "known", "stranger")  # the other entries

LONGEST_COOLDOWN = 86_400.0  # seconds
MOST_RULE_NAME = 100  # characters


@dataclass(frozen=True)
class Rule:
    """When to send an alert, and to which receivers."""

    who: Annotated[
        tuple[str, ...],
        "whom it is about, at least one of: anybody, known, stranger, group:NAME, person:ID (`rkface gallery list`)",
    ] = ("anybody",)
    cameras: Annotated[tuple[str, ...], "names of cameras; empty: all"] = ()
    zones: Annotated[tuple[str, ...], "names of zones, of which the person was in one; empty: everywhere"] = ()
    days: Annotated[tuple[Day, ...], "mon, tue, wed, thu, fri, sat, sun; empty: every day"] = ()
    hours: Annotated[
        tuple[str, ...],
        'local times such as "22:00-06:00"; over midnight, they belong to the day on which they begin; empty: all day',
    ] = ()
    time_zone: Annotated[str, "of days and hours, such as Europe/Warsaw; empty: that of this machine"] = ""
    cooldown: Annotated[
        float,
        Range(0, LONGEST_COOLDOWN),
        "seconds after an alert in which the same person (or a stranger at the same camera) causes no other one",
    ] = 300.0
    receivers: Annotated[
        tuple[str, ...], "who gets the alert: names of receivers in [events] and [notify], such as webhook or mqtt"
    ] = ()
    enabled: Annotated[bool, "false: the rule is switched off"] = True

    @property
    def when(self) -> WeeklyHours:
        """The days and hours in which the rule applies."""
        return WeeklyHours(self.days, self.hours, self.time_zone)
