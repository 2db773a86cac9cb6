"""The gallery's file: its tables, its numbered migrations, and what can be wrong with it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import InputError, RkfaceError, WorkError
from ..core.text import shell_quoted


class DamagedError(WorkError):
    """The file is no longer a whole database."""


class NoDatabaseError(InputError):
    """The file is no database at all."""


APPLICATION = 0x726B6667  # "rkfg": tells our files from other people's SQLite databases
PAGE = 8192  # three embeddings of 512 numbers; SQLite's usual 4096 holds one and leaves half empty
PATIENCE = 10.0  # seconds to wait for another program's transaction

# Each brings the file from version n to n + 1, in one transaction. Never change one that was released: add another.
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
        # Apart, so that embeddings lie close together: all of them are read at every start.
        """CREATE TABLE crop (
            sample INTEGER PRIMARY KEY REFERENCES sample ON DELETE CASCADE, image BLOB NOT NULL
        ) STRICT""",
        "CREATE INDEX sample_person ON sample (person)",
        # Ids of people who were merged into another, or forgotten (person is NULL): a backup may still know them.
        "CREATE TABLE former (id TEXT PRIMARY KEY, person TEXT, since REAL NOT NULL) STRICT, WITHOUT ROWID",
        "CREATE TABLE backup (path TEXT PRIMARY KEY, created REAL NOT NULL) STRICT, WITHOUT ROWID",
    ),
)


def open_database(path: Path, *, create: bool = False) -> sqlite3.Connection:
    """The gallery at ``path``, migrated to this version; transactions are begun by hand, and durable once committed.

    The file, and with it SQLite's -wal and -shm, is for its owner only (mode 0600). InputError for a file that is not
    there (unless ``create``), no gallery, or made by a newer rkface; WorkError for one that is damaged or locked.
    """
    if create:
        _make(path)
    elif not path.is_file():
        raise InputError(
            f"{path}: no such gallery; `rkface enroll --gallery {shell_quoted(path)} NAME photo.jpg` starts one"
        )
    with explained(path):
        connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _make(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        if not path.is_file():
            raise InputError(f"{path} is not a file: name the gallery's own, such as gallery.sqlite") from None
    except OSError as error:
        raise WorkError(
            f"{path}: cannot be made: {error.strerror or error}: name another place with --gallery"
        ) from error


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    _refuse_others(connection, path)
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)  # copied by hand, perhaps; SQLite gives -wal and -shm the same mode
    connection.execute(f"PRAGMA page_size={PAGE}")  # of a file that is still empty
    # FULL: a commit in WAL mode is on the disk when it returns. NORMAL would lose the last ones in a power cut.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")
    if version(connection) < len(MIGRATIONS):
        migrate(connection)


def _refuse_others(connection: sqlite3.Connection, path: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application != APPLICATION and (tables or application):
        raise InputError(f"{path} is a database of another program, no gallery of rkface: name another file")
    if version(connection) > len(MIGRATIONS):
        raise InputError(
            f"{path} was made by a newer rkface (schema {version(connection)}, this one knows {len(MIGRATIONS)}): "
            "install that version"
        )


def version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema up to date, whole or not at all."""
    with transaction(connection):
        for number in range(version(connection), len(MIGRATIONS)):  # read again: another process may have been quicker
            for statement in MIGRATIONS[number]:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number + 1}")
        connection.execute(f"PRAGMA application_id = {APPLICATION}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of the block or nothing; on the disk when it returns."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk makes SQLite roll back by itself
            connection.execute("ROLLBACK")
        raise


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """SQLite's complaints about the gallery at ``path`` as errors that say what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise _explanation(path, str(error)) from error


def _explanation(path: Path, said: str) -> RkfaceError:
    if "locked" in said or "busy" in said:
        return WorkError(
            f"{path} was busy for {PATIENCE:.0f} s: another program is writing to it. Try again, or stop that program"
        )
    if "not a database" in said:
        return NoDatabaseError(f"{path} is no SQLite database, so no gallery: name another file, or{_newest(path)}")
    if "malformed" in said or "I/O error" in said:
        return DamagedError(f"{path} is damaged ({said}). Nothing was changed; keep a copy of it and{_newest(path)}")
    if "full" in said:
        return WorkError(f"{path}: the disk is full; nothing was changed: free some space and try again")
    if "readonly" in said or "unable to open" in said:
        return InputError(f"{path}: cannot be opened for writing ({said}): check its owner and that of its folder")
    return WorkError(f"{path}: {said}")


def _newest(path: Path) -> str:
    backups = list_backups(path)
    if not backups:
        return " look for a copy elsewhere: there is no backup beside it"
    gallery, newest = shell_quoted(path), shell_quoted(backups[-1])
    return f" restore the newest backup: `rkface gallery restore --gallery {gallery} {newest}`"


def backup_folder(path: Path) -> Path:
    return path.with_name(f"{path.name}.backups")


def list_backups(path: Path) -> list[Path]:
    """The backups in the gallery's own folder for them, oldest first: their names are times."""
    return sorted(backup_folder(path).glob("*.sqlite"))
