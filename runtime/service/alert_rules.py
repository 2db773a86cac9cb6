"""What the console and `rkface config check` say about rules for alerts: in words, and what they would have sent."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from ..alerts.dry_run import dry_run
from ..alerts.matching import STRANGER, SeenPerson
from ..alerts.rule import GROUP, PERSON, Rule
from ..alerts.words import in_words
from ..core.text import in_a_line, nearest
from ..gallery.gallery import Gallery
from ..gallery.groups import list_groups
from ..tracking.appearance import Appearance
from .alert_history import read_last_days
from .appearance_log import AppearanceLog
from .current_person import find_current, identify
from .rule_changes import RuleChanges
from .settings import Settings

MOST_LISTED = 100  # alerts of a dry run


@dataclass(frozen=True)
class RuleState:
    """A rule, as the console shows it.

    words       what it does, one sentence
    source      "console" if it was made or changed there, otherwise "configuration"
    configured  whether the configuration has a rule with this name
    notes       what may be wrong, such as a group without members
    sent        alerts that it has sent to somebody, as far back as the log of appearances goes
    """

    name: str
    rule: Rule
    words: str
    source: Literal["configuration", "console"]
    configured: bool
    notes: tuple[str, ...]
    sent: int


@dataclass(frozen=True)
class WouldAlert:
    """An appearance for which a rule would have sent an alert. ``name``: null for a stranger."""

    appearance: str
    source: str
    name: str | None
    started: float


@dataclass(frozen=True)
class RuleTrial:
    """What a rule would have sent in the last days, by what is known today.

    words        what the rule does
    days         that were looked at; appearances may be kept for a shorter time
    appearances  number of appearances in these days
    alerts       number of alerts that it would have sent
    quiet        number of appearances for which it would have sent none, only because of the cool-down
    newest       the newest of the alerts, newest first
    """

    words: str
    days: float
    appearances: int
    alerts: int
    quiet: int
    newest: tuple[WouldAlert, ...]


def list_rules(
    current: Settings, configured: Collection[str], changes: RuleChanges, gallery: Gallery, sent: Mapping[str, int]
) -> list[RuleState]:
    """The rules that are in effect. ``configured``: the names of those in the configuration. ``sent``: how many alerts
    each has sent."""
    return [
        RuleState(
            name=name,
            rule=rule,
            words=explain(rule, gallery),
            source="console" if name in changes.rules else "configuration",
            configured=name in configured,
            notes=tuple(find_doubts(rule, current, gallery)),
            sent=sent.get(name, 0),
        )
        for name, rule in current.rules.items()
    ]


def explain(rule: Rule, gallery: Gallery | None) -> str:
    """What ``rule`` does, in words, with the names of people if there is a gallery."""
    return in_words(rule, dict(_meant_people(rule, gallery)) if gallery else {})


def try_rule(rule: Rule, gallery: Gallery, log: AppearanceLog, days: float) -> RuleTrial:
    """Apply ``rule`` to the appearances of the last ``days``. Raises RkfaceError if they cannot be read."""
    known: dict[str, SeenPerson] = {}

    def who(appearance: Appearance) -> SeenPerson:
        if appearance.match is None:
            return STRANGER
        person = appearance.match.person
        if person not in known:
            known[person] = identify(gallery, person)
        return known[person]

    result = dry_run(rule, read_last_days(log, days), who)
    # They were logged in the order in which they were sure, and that is not quite the order in which they began.
    latest = sorted(result.alerts[-MOST_LISTED:], key=lambda one: one.started, reverse=True)
    newest = tuple(WouldAlert(one.id, one.source, one.match.name if one.match else None, one.started) for one in latest)
    return RuleTrial(explain(rule, gallery), days, result.appearances, len(result.alerts), result.quiet, newest)


def find_doubts(rule: Rule, settings: Settings, gallery: Gallery | None) -> Iterator[str]:
    """What may be wrong with ``rule``, although its values are valid. ``settings``: those in effect."""
    if not rule.receivers:
        yield "it has no receivers, so nobody gets its alerts"
    for camera in rule.cameras:
        if settings.camera and camera not in settings.camera:
            yield f"there is no camera {in_a_line(camera)}{_meant(camera, settings.camera)}"
    for receiver in rule.receivers:
        if receiver not in settings.receivers:
            yield f"there is no receiver {in_a_line(receiver)}{_meant(receiver, settings.receivers)}"
    zones = {zone for camera in settings.camera.values() for zone in camera.zones}
    for zone in rule.zones:
        if zone not in zones:
            yield f"no camera has the zone {in_a_line(zone)}{_meant(zone, zones)}"
    if gallery is None:
        return
    groups, people = list_groups(gallery), dict(_meant_people(rule, gallery))
    for who in rule.who:
        group, person = who.removeprefix(GROUP), who.removeprefix(PERSON)
        if who.startswith(GROUP) and group not in groups:
            yield f"the group {in_a_line(group)} has no members{_meant(group, groups)}"
        elif who.startswith(PERSON) and person not in people:
            same = gallery.read("SELECT id FROM person WHERE name = ?", [person])
            hint = f": the id of {in_a_line(person)} is {same[0][0]}" if same else "; see `rkface gallery list`"
            yield f"nobody in the gallery has the id {in_a_line(person)}{hint}"


def _meant_people(rule: Rule, gallery: Gallery) -> Iterator[tuple[str, str]]:
    """The ids in ``rule`` that the gallery knows, also of people who were merged into others, and the names."""
    for who in rule.who:
        if who.startswith(PERSON):
            id = who.removeprefix(PERSON)
            if (current := find_current(gallery, id)) is not None:
                yield id, current[1]


def _meant(word: str, known: Iterable[str]) -> str:
    near = nearest(word, {one.lower(): one for one in known})
    meant = next((one for one in known if one.lower() == near), None)
    return f": did you mean {in_a_line(meant)}?" if meant else ""
