"""The lease of a board: how long it may name people without having heard of the hub.

A person who was erased at the hub must not be named without limit by a board that is away, stolen or disconnected. So a
board that has not synced for the time of its lease names nobody until it has.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace

from ..core.steady_clock import SteadyClock
from ..gallery.gallery import Gallery
from ..gallery.replication import read_settings

SETTINGS = "hub."  # names in the table ``setting`` of the gallery begin so
REVISION, SYNCED, SECONDS, CLOCK, LIMITS = (
    SETTINGS + name for name in ("revision", "synced", "lease", "clock", "stay")
)
SAVE_EVERY = 60.0  # seconds between two writes of the clock

Limits = Mapping[str, tuple[float | None, float | None]]


class Lease:
    """Whether this board may name people, and whom. Thread-safe.

    Time comes from a clock that no jump of the wall clock moves back (``SteadyClock``), stored with the gallery; a
    board that was off counts that time when its wall clock is right. Who is valid when (seconds since 1970) is judged
    by the wall clock.
    """

    def __init__(
        self,
        gallery: Gallery,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._gallery, self._clock, self._wall = gallery, clock, wall
        self._lock = threading.Lock()
        self._advanced = clock()
        self._saved = -math.inf
        stored = read_settings(gallery, SETTINGS)
        self.revision = int(stored.get(REVISION, "0"))
        self._seconds = float(stored.get(SECONDS, "0"))
        self._synced = float(stored.get(SYNCED, "-inf"))
        self._time = SteadyClock(**json.loads(stored[CLOCK])).restarted() if CLOCK in stored else SteadyClock(wall())
        self._limits: Limits = _parse_limits(stored.get(LIMITS, "{}"))

    def may_name(self, person: str) -> bool:
        """Whether this board may say that somebody is ``person`` (an id)."""
        if self.left() <= 0:
            return False
        start, end = self._limits.get(person, (None, None))
        now = self._wall()
        return (start is None or now >= start) and (end is None or now < end)

    def left(self) -> float:
        """Seconds until the lease ends; 0 when it has ended, or before the first sync."""
        with self._lock:
            return max(0.0, self._synced + self._seconds - self._advance().now)

    def renewed(self, revision: int, seconds: float, limits: Limits) -> dict[str, str]:
        """The settings to store in the transaction that applies the changes up to ``revision``. ``confirm`` follows."""
        with self._lock:
            now = self._advance()
        return {
            REVISION: str(revision),
            SECONDS: repr(seconds),
            SYNCED: repr(now.now),
            CLOCK: json.dumps(asdict(now)),
            LIMITS: json.dumps(limits),
        }

    @staticmethod
    def advanced(revision: int, limits: Limits) -> dict[str, str]:
        """As ``renewed``, for a part of the changes: the lease stays as it is."""
        return {REVISION: str(revision), LIMITS: json.dumps(limits)}

    def confirm(self, settings: Mapping[str, str]) -> None:
        """``settings``, from ``renewed``, are on the disk."""
        with self._lock:
            self.revision = int(settings[REVISION])
            if SYNCED in settings:
                self._seconds, self._synced = float(settings[SECONDS]), float(settings[SYNCED])
            self._limits = _parse_limits(settings[LIMITS])

    def save_clock(self) -> None:
        """Store the time, at most once a minute, so that a restart does not give it back."""
        with self._lock:
            now = self._advance()
            if self._clock() - self._saved < SAVE_EVERY:
                return
            self._saved = self._clock()
        with self._gallery.transaction() as database:
            database.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", [CLOCK, json.dumps(asdict(now))])

    def _advance(self) -> SteadyClock:
        clock = self._clock()
        passed, self._advanced = max(0.0, clock - self._advanced), clock
        self._time = replace(self._time.after(passed, self._wall()))
        return self._time


def _parse_limits(text: str) -> Limits:
    return {person: (start, end) for person, (start, end) in json.loads(text).items()}
