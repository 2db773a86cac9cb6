"""What an outbox drops undelivered: events that are too old and, if there is no room for a new one, the oldest ones.

The age of an event comes from the monotonic clock while the process runs: a board without a battery for its clock
starts in 1970 and jumps when it finds a time server. Only after a restart it is the difference of two wall clock times,
if both are plausible: an event that seems older than a year was stored today by a clock that was wrong, or is.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from ..core.steady_clock import LONGEST, SET_SINCE
from .outbox_file import used_bytes

SHARES = 8  # a full outbox drops one share of so many, the oldest events

# Seconds since an event was stored, from the fields of ``OutboxClocks``. The wall clock counts only for events of
# earlier processes.
AGE = """iif(id >= :first, :now - ticks,
             :now - :opened + iif(stored >= :set_since AND :opened_wall - stored BETWEEN 0 AND :longest,
                                  :opened_wall - stored, 0))"""


@dataclass(frozen=True)
class Limits:
    """The most that an outbox may hold. ``bytes``: size of its file. ``seconds``: age of its events."""

    bytes: int = 16 << 20
    seconds: float = 7 * 86_400


@dataclass(frozen=True)
class OutboxClocks:
    """The present, and what it is compared with.

    now          the monotonic clock of this process, seconds
    opened       the same clock when this process opened the outbox
    opened_wall  seconds since 1970 at that time
    first        number of the first event that this process stored
    """

    now: float
    opened: float
    opened_wall: float
    first: int


def is_oldest_too_old(database: sqlite3.Connection, clocks: OutboxClocks, limit: float) -> bool:
    """Whether the oldest event is older than ``limit`` seconds."""
    values = _parameters(clocks, limit)
    oldest = database.execute(f"SELECT {AGE} > :limit FROM event ORDER BY id LIMIT 1", values).fetchone()
    return bool(oldest and oldest[0])


def delete_old(database: sqlite3.Connection, clocks: OutboxClocks, limit: float) -> int:
    """Delete the events that are older than ``limit`` seconds, inside a transaction. How many were deleted."""
    if not is_oldest_too_old(database, clocks, limit):
        return 0
    return database.execute(f"DELETE FROM event WHERE {AGE} > :limit", _parameters(clocks, limit)).rowcount


def make_room(database: sqlite3.Connection, limit: int, size: int, count: int) -> int:
    """Delete the oldest of ``count`` events, inside a transaction, until ``size`` more bytes fit into a file of
    ``limit`` bytes. How many were deleted."""
    dropped = 0
    while count and used_bytes(database) + size > limit:
        share = -(-count // SHARES)
        database.execute("DELETE FROM event WHERE id IN (SELECT id FROM event ORDER BY id LIMIT ?)", [share])
        count, dropped = count - share, dropped + share
    return dropped


def _parameters(clocks: OutboxClocks, limit: float) -> dict[str, float]:
    return {**vars(clocks), "set_since": SET_SINCE, "longest": LONGEST, "limit": limit}
