"""The SQLite file of the appearance log: its tables, its numbered migrations, and the clock that is stored in it."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from ..core.sqlite import configure, create_private_file, open_sqlite, read_version, transaction
from ..core.steady_clock import SET_SINCE, SteadyClock

BUSY = 5.0  # seconds to wait for another program
CLOCK = "clock"  # a setting: the SteadyClock from which the column ``logged`` comes
SCRUB = "scrub"  # a setting that is present while the file may still contain bytes of faces from before encryption

# Each entry migrates the file from version n to n + 1, in one transaction. Never change a released entry: add another.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE IF NOT EXISTS appearance (
            id TEXT PRIMARY KEY, source TEXT NOT NULL, person TEXT, started REAL NOT NULL, logged REAL NOT NULL,
            event TEXT NOT NULL, face BLOB
        ) STRICT""",
        "CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
        "CREATE INDEX IF NOT EXISTS appearance_started ON appearance (started)",
        "CREATE INDEX IF NOT EXISTS appearance_person ON appearance (person, started)",
    ),
    (
        # The renaming that named a stranger afterwards (AppearanceLog.rename), so that it can be undone.
        "ALTER TABLE appearance ADD COLUMN renamed TEXT",
        # A separate table, so that embeddings are stored close together: thousands are read at once.
        """CREATE TABLE embedding (
            appearance TEXT PRIMARY KEY REFERENCES appearance ON DELETE CASCADE, identity TEXT NOT NULL,
            value BLOB NOT NULL
        ) STRICT""",
    ),
)


def open_log(path: Path) -> sqlite3.Connection:
    """Open the log at ``path``, or create it with mode 0600, and migrate it to the current version. Raises OSError,
    sqlite3.Error, and InputError if a newer version of rkface made it."""
    create_private_file(path)
    return open_sqlite(path, lambda database: _prepare(database, path), timeout=BUSY)


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    # NORMAL: a power cut may lose the last seconds of the log, but cameras never wait for an SD card to sync.
    configure(database, "auto_vacuum=INCREMENTAL", "synchronous=NORMAL", "foreign_keys=ON")
    if read_version(database, path, len(MIGRATIONS)) == len(MIGRATIONS):
        return
    with transaction(database):
        # The version is read again: another process may have migrated the file in the meantime.
        for number in range(read_version(database, path, len(MIGRATIONS)), len(MIGRATIONS)):
            for statement in MIGRATIONS[number]:
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {number + 1}")


def read_clock(stored: str) -> SteadyClock | None:
    """The clock that ``stored`` describes; None if it is damaged."""
    try:
        clock = SteadyClock(**json.loads(stored))
        known = [one for one in (clock.ahead, clock.seen) if one is not None]
        numbers = [clock.now, clock.agreed, clock.since, *known]
        return clock if all(type(one) in (int, float) and abs(one) < 1e12 for one in numbers) else None
    except (ValueError, TypeError, RecursionError):
        return None


def start_clock(database: sqlite3.Connection, wall: float) -> SteadyClock:
    """The clock of a new log, or of one from before, which stored times of the wall clock: it starts with the newest of
    them. Times that were not set, and times in the future, become that time."""
    bounds = [SET_SINCE, wall if wall >= SET_SINCE else 1e12]
    (newest,) = database.execute("SELECT max(logged) FROM appearance WHERE logged BETWEEN ? AND ?", bounds).fetchone()
    start = max(wall, SET_SINCE) if newest is None else float(newest)
    database.execute("UPDATE appearance SET logged = ?1 WHERE logged > ?1 OR logged < ?2", [start, SET_SINCE])
    return SteadyClock(start, None if newest is None else 0.0, start)
