"""Applies the rules for alerts to the appearances of the running service."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from logging import getLogger

from ..alerts.alert import Alert
from ..alerts.matching import STRANGER, Progress, SeenPerson, advance, cooldown_key
from ..alerts.rule import LONGEST_COOLDOWN, Rule
from ..gallery.gallery import Gallery
from ..tracking.appearance import Appearance
from .alert_history import AlertHistory
from .current_person import identify, refresh_match
from .problems import Problems

log = getLogger("rkface.alerts")


@dataclass(frozen=True)
class _Open:
    """An appearance that lasts: its last stage, and what is remembered of it."""

    appearance: Appearance
    progress: Progress = field(default_factory=Progress)


class Alerts:
    """Not thread-safe. A rule causes one alert for an appearance, at most: when it applies first, which may be at any
    stage, or later, when its hours begin. An appearance that began to match during the cool-down causes none.

    rules     returns the rules that are in effect, by name
    send      hands an alert to its receivers, and returns how many there are
    history   keeps cool-downs over restarts. While it cannot be used, they are kept in memory
    clock     the monotonic clock, ``wall`` the wall clock, in seconds
    """

    def __init__(
        self,
        rules: Callable[[], Mapping[str, Rule]],
        gallery: Gallery,
        history: AlertHistory,
        problems: Problems,
        send: Callable[[Alert], int],
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._rules, self._gallery, self._history, self._problems = rules, gallery, history, problems
        self._send, self._clock, self._wall = send, clock, wall
        self._open: dict[str, _Open] = {}
        self._last: dict[tuple[str, tuple[str, str]], float] = {}  # when a rule last sent an alert with this key

    def note(self, appearance: Appearance, *, deleted: bool = False) -> None:
        """Apply the rules to a stage of ``appearance``. ``deleted``: the person was deleted from the gallery, and is
        neither known nor a stranger."""
        known = self._open.pop(appearance.id, None)
        if deleted:
            return
        now = appearance.ended if appearance.stage == "end" else self._wall()
        moments = [now] if known else [appearance.started, now]
        state = _Open(appearance, known.progress if known else Progress())
        after = self._apply(state, moments)
        if appearance.stage != "end":
            self._open[appearance.id] = after

    def tick(self, visible: Collection[str]) -> None:
        """Apply the rules to the appearances with these ids, of people who are in view now: the hours of a rule may
        have begun, or a person may have become a member of a group. Call it about once a second."""
        for id, state in [(id, state) for id, state in self._open.items() if id in visible]:
            match = state.appearance.match
            with self._problems.of("alerts"):
                current = match and refresh_match(self._gallery, match)
                if current or not match:
                    shown = replace(state, appearance=replace(state.appearance, match=current))
                    self._open[id] = self._apply(shown, [self._wall()])

    def _apply(self, state: _Open, moments: list[float]) -> _Open:
        rules = self._rules()
        if all(name in state.progress.applied or not rule.enabled for name, rule in rules.items()):
            return state  # the usual case, in which nothing is read
        appearance = state.appearance
        progress = state.progress
        names: tuple[str, ...] = ()
        with self._problems.of("rules"):  # for example, if the data about time zones was removed from the machine
            progress, names = advance(state.progress, rules, appearance, self._identify(appearance), moments)
        for name in names:
            alert = Alert(name, rules[name].receivers, appearance)
            if not self._is_quiet(alert, rules[name].cooldown):
                self._fire(alert)
        return _Open(appearance, progress)

    def _identify(self, appearance: Appearance) -> SeenPerson:
        if appearance.match is None:
            return STRANGER
        with self._problems.of("alerts"):
            return identify(self._gallery, appearance.match.person)
        return SeenPerson(frozenset({appearance.match.person}))

    def _is_quiet(self, alert: Alert, cooldown: float) -> bool:
        """Whether ``alert`` is not sent because of a cool-down, or because an earlier process has sent it."""
        key = cooldown_key(alert.appearance)
        last = self._last.get((alert.rule, key))
        if last is not None and self._clock() - last < cooldown:
            return True
        with self._problems.of("alerts"):
            age = self._history.age(alert.rule, key) if last is None else None
            return self._history.was_sent(alert) or (age is not None and age < cooldown)
        return False

    def _fire(self, alert: Alert) -> None:
        receivers = self._send(alert)
        now = self._clock()
        self._last = {key: when for key, when in self._last.items() if now - when < LONGEST_COOLDOWN}
        self._last[alert.rule, cooldown_key(alert.appearance)] = now
        log.info(
            "an alert was sent to %s", ", ".join(alert.receivers) if receivers else "nobody"
        )  # a rule's name may name somebody
        with self._problems.of("alerts"):
            self._history.add(alert, receivers)
