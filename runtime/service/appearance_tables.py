"""The SQLite file of the appearance log: its tables and its numbered migrations."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ..core.sqlite import configure, create_private_file, open_sqlite, read_version, transaction

BUSY = 5.0  # seconds to wait for another program
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
    (
        # Which rule sent an alert about which appearance. It is kept longer than the appearance, for cool-downs.
        """CREATE TABLE alert (
            rule TEXT NOT NULL, appearance TEXT NOT NULL, person TEXT, source TEXT NOT NULL, logged REAL NOT NULL,
            PRIMARY KEY (rule, appearance)
        ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX alert_person ON alert (person)",
    ),
    (
        # When somebody was seen last, as far as is known: for journeys, which look for pauses. The index has all that
        # they look at.
        "ALTER TABLE appearance ADD COLUMN last REAL NOT NULL DEFAULT 0.0",
        "UPDATE appearance SET last = max(started, ifnull(json_extract(event, '$.best'), 0), "
        "ifnull(json_extract(event, '$.ended'), 0))",
        "DROP INDEX appearance_person",
        "CREATE INDEX appearance_person ON appearance (person, started, source, last)",
        # Long ones are few, and are looked up apart (LONG in runtime/hub/journeys.py).
        "CREATE INDEX appearance_long ON appearance (person, started, source, last) WHERE last - started > 3600",
    ),
    # How many receivers got it; 1 is a guess for alerts of before.
    ("ALTER TABLE alert ADD COLUMN receivers INTEGER NOT NULL DEFAULT 1",),
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
