"""The SQLite file of a gallery: its tables, its numbered migrations, and where its backups are."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import InputError, WorkError
from ..core.sqlite import configure, open_sqlite, read_version, readable_errors, transaction
from ..core.text import shell_quoted

APPLICATION = 0x726B6667  # "rkfg" (PRAGMA application_id): distinguishes galleries from other SQLite databases
PAGE_SIZE = 8192  # bytes: three embeddings of 512 numbers; SQLite's default of 4096 holds one and leaves half empty
BUSY_TIMEOUT = 10.0  # seconds to wait for another program's transaction

# Each entry migrates the file from version n to n + 1, in one transaction. Never change a released entry: add another.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
        """CREATE TABLE person (
            id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, metadata TEXT NOT NULL,
            created REAL NOT NULL, changed REAL NOT NULL
        ) STRICT""",
        """CREATE TABLE sample (
            id INTEGER PRIMARY KEY AUTOINCREMENT, person TEXT NOT NULL REFERENCES person ON DELETE CASCADE,
            identity TEXT NOT NULL, embedding BLOB NOT NULL, quality REAL NOT NULL, source TEXT NOT NULL,
            created REAL NOT NULL
        ) STRICT""",
        # A separate table, so that embeddings are stored close together: all of them are read at every start.
        """CREATE TABLE crop (
            sample INTEGER PRIMARY KEY REFERENCES sample ON DELETE CASCADE, image BLOB NOT NULL
        ) STRICT""",
        "CREATE INDEX sample_person ON sample (person)",
        # Ids of people who were merged into another, or deleted (person is NULL): backups may still contain them.
        "CREATE TABLE former (id TEXT PRIMARY KEY, person TEXT, since REAL NOT NULL) STRICT, WITHOUT ROWID",
        "CREATE TABLE backup (path TEXT PRIMARY KEY, created REAL NOT NULL) STRICT, WITHOUT ROWID",
    ),
)


def open_gallery_database(path: Path, *, create: bool = False) -> sqlite3.Connection:
    """Open the gallery file at ``path`` and migrate it to the current schema. A committed transaction is on the disk.

    The file gets mode 0600, and with it SQLite's ``-wal`` and ``-shm``. Raises InputError if the file does not exist
    (unless ``create``), is not a gallery, or was made by a newer rkface; WorkError if it is damaged or locked.
    """
    if create:
        _create(path)
    elif not path.is_file():
        command = f"rkface enroll --gallery {shell_quoted(path)} NAME photo.jpg"
        if path.is_dir():
            raise InputError(f"{path} is not a file: name a file for the gallery, such as gallery.sqlite")
        raise InputError(f"{path}: no such gallery; `{command}` creates one")
    elif not path.stat().st_size:  # SQLite would take it for a database without tables
        raise InputError(f"{path} is empty, so it is not a gallery: {_suggest_backup(path)}")
    with gallery_errors(path):
        return open_sqlite(path, lambda database: _prepare(database, path), timeout=BUSY_TIMEOUT)


def _create(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        if not path.is_file():
            raise InputError(f"{path} is not a file: name a file for the gallery, such as gallery.sqlite") from None
    except OSError as error:
        raise WorkError(
            f"{path}: cannot be created: {error.strerror or error}: choose another place with --gallery"
        ) from error


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    _refuse_other_databases(database, path)  # before anything is written to the file
    version = read_version(database, path, len(MIGRATIONS))
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)  # for example a copy made by hand
    # FULL: a commit in WAL mode is on the disk when it returns. NORMAL can lose the last commits in a power cut.
    configure(database, f"page_size={PAGE_SIZE}", "synchronous=FULL", "foreign_keys=ON")
    if version < len(MIGRATIONS):
        _migrate(database, path)


def _refuse_other_databases(database: sqlite3.Connection, path: Path) -> None:
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (tables,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application != APPLICATION and (tables or application):
        raise InputError(f"{path} is a database of another program, not a gallery of rkface: name another file")


def _migrate(database: sqlite3.Connection, path: Path) -> None:
    with transaction(database):
        # The version is read again: another process may have migrated the file in the meantime.
        for number in range(read_version(database, path, len(MIGRATIONS)), len(MIGRATIONS)):
            for statement in MIGRATIONS[number]:
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {number + 1}")
        database.execute(f"PRAGMA application_id = {APPLICATION}")


@contextmanager
def gallery_errors(path: Path) -> Iterator[None]:
    """As ``readable_errors``. For a damaged gallery the error names its newest backup."""
    with readable_errors(path, _suggest_backup):
        yield


def _suggest_backup(path: Path) -> str:
    backups = list_backups(path)
    if not backups:
        return "look for a copy elsewhere: there is no backup next to it"
    command = f"rkface gallery restore --gallery {shell_quoted(path)} {shell_quoted(backups[-1])}"
    return f"restore the newest backup: `{command}`"


def backup_folder(path: Path) -> Path:
    """The folder for the backups of the gallery at ``path``."""
    return path.with_name(f"{path.name}.backups")


def list_backups(path: Path) -> list[Path]:
    """The backups in the gallery's own folder, oldest first: their names are times."""
    return sorted(backup_folder(path).glob("*.sqlite"))
