"""A ``SteadyClock`` in an SQLite file: the age of its rows survives restarts, and no wall clock that jumps changes it.

The file has a table ``setting (name, value)``, and another table whose column ``logged`` holds times of this clock.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

from .steady_clock import ACCURACY, SET_SINCE, SteadyClock

CLOCK = "clock"  # row of the table ``setting``


class StoredClock:
    """The clock for the rows of ``table``, and of the tables ``also``, which are empty before it. ``clock`` is
    the monotonic clock, ``wall`` the wall clock, in seconds. Not thread-safe."""

    def __init__(
        self,
        table: str,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        also: Sequence[str] = (),
    ) -> None:
        self._also = also
        self._table, self._clock, self._wall = table, clock, wall
        self._advanced, self._restarted = clock(), True  # when this process last advanced the clock in the file

    def advance(self, database: sqlite3.Connection) -> float:
        """Advance the clock in the file by what has passed, and return its time. Call it inside a transaction."""
        clock, wall = self._clock(), self._wall()
        stored = database.execute("SELECT value FROM setting WHERE name = ?", [CLOCK]).fetchone()
        before = (read_clock(stored[0]) if stored else None) or self._start(database, wall)
        if self._restarted:
            before, self._restarted = before.restarted(), False
        passed, self._advanced = max(0.0, clock - self._advanced), clock
        after = before.after(passed, wall)
        missed = after.now - before.now - passed
        if missed > ACCURACY:  # it passed before what was logged since then
            for table in (self._table, *self._also):
                database.execute(f"UPDATE {table} SET logged = logged + ? WHERE logged > ?", [missed, before.agreed])
        database.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", [CLOCK, json.dumps(asdict(after))])
        return after.now

    def _start(self, database: sqlite3.Connection, wall: float) -> SteadyClock:
        """The clock of a new file, or of one from before, which stored times of the wall clock: it starts with the
        newest of them. Times that were not set, and times in the future, become that time."""
        bounds = [SET_SINCE, wall if wall >= SET_SINCE else 1e12]
        (newest,) = database.execute(
            f"SELECT max(logged) FROM {self._table} WHERE logged BETWEEN ? AND ?", bounds
        ).fetchone()
        start = max(wall, SET_SINCE) if newest is None else float(newest)
        database.execute(f"UPDATE {self._table} SET logged = ?1 WHERE logged > ?1 OR logged < ?2", [start, SET_SINCE])
        return SteadyClock(start, None if newest is None else 0.0, start)


def read_clock(stored: str) -> SteadyClock | None:
    """The clock that ``stored`` describes; None if it is damaged."""
    try:
        clock = SteadyClock(**json.loads(stored))
        known = [one for one in (clock.ahead, clock.seen) if one is not None]
        numbers = [clock.now, clock.agreed, clock.since, *known]
        return clock if all(type(one) in (int, float) and abs(one) < 1e12 for one in numbers) else None
    except (ValueError, TypeError, RecursionError):
        return None
