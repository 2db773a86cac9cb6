"""Which rules sent alerts about which appearances, in the file of the appearance log."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from ..alerts.alert import Alert
from ..alerts.matching import cooldown_key
from ..core.steady_clock import LONGEST
from ..core.stored_clock import CLOCK, read_clock
from ..tracking.appearance import Appearance
from .appearance_log import AppearanceLog


class AlertHistory:
    """The alerts that were sent, in ``log``. All methods raise WorkError if it cannot be read or written."""

    def __init__(self, log: AppearanceLog) -> None:
        self._log = log

    def add(self, alert: Alert, receivers: int) -> None:
        """Note that ``alert`` was sent to so many ``receivers``; also to none, because it starts the cool-down."""
        person, _ = cooldown_key(alert.appearance)
        with self._log.writing() as database:
            now = self._log.clock.advance(database)
            row = [alert.rule, alert.appearance.id, person or None, alert.appearance.source, now, receivers]
            database.execute("INSERT OR REPLACE INTO alert VALUES (?, ?, ?, ?, ?, ?)", row)

    def was_sent(self, alert: Alert) -> bool:
        """Whether this rule has sent an alert about this appearance."""
        key = [alert.rule, alert.appearance.id]
        return bool(self._log.read("SELECT 1 FROM alert WHERE rule = ? AND appearance = ?", key))

    def age(self, rule: str, key: tuple[str, str]) -> float | None:
        """Seconds since ``rule`` last sent an alert with this ``cooldown_key``, by a clock that does not jump; None if
        it has sent none."""
        person, source = key
        who = "person = ?2" if person else "person IS NULL AND source = ?2"
        with self._log.writing() as database:
            now = self._log.clock.advance(database)
            (last,) = database.execute(
                f"SELECT max(logged) FROM alert WHERE rule = ?1 AND {who}", [rule, person or source]
            ).fetchone()
        return None if last is None else max(0.0, now - last)

    def counts(self) -> dict[str, int]:
        """How many alerts each rule has sent to somebody, as far back as the log goes."""
        return dict(self._log.read("SELECT rule, count(*) FROM alert WHERE receivers > 0 GROUP BY rule"))


def read_last_days(log: AppearanceLog, days: float, wall: float | None = None) -> Iterator[tuple[float, Appearance]]:
    """The appearances in ``log`` that began in the last ``days``, oldest first: when each began, by a clock that does
    not jump (in seconds), and its last stage. Raises WorkError if it cannot be read."""
    stored = log.read("SELECT value FROM setting WHERE name = ?", [CLOCK])
    clock = read_clock(stored[0][0]) if stored else None
    wall = time.time() if wall is None else wall
    now = clock.now if clock and not 0 <= wall - clock.now <= LONGEST else wall
    rows = log.read("SELECT logged, event FROM appearance WHERE logged >= ? ORDER BY logged, id", [now - days * 86_400])
    for logged, event in rows:
        yield logged, Appearance.from_event(json.loads(event))
