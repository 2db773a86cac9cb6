"""The SQLite file of a gallery: its tables, its numbered migrations, and what is refused when it is opened.

A gallery that has lost its content is never taken for a new one: an empty file, a file without the tables or with
others, and a missing or new file beside the backups of a gallery are refused.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from ..core.atomic import create_atomically, remove_leftovers
from ..core.errors import InputError, WorkError
from ..core.sqlite import (
    DamagedContentError,
    DamagedError,
    NotADatabaseError,
    configure,
    open_sqlite,
    read_version,
    readable_errors,
    transaction,
)
from ..core.text import shell_quoted
from .backup_files import APPLICATION, backup_folder, list_backups, suggest_backup
from .companions import require_file_name

PAGE_SIZE = 8192  # bytes: three embeddings of 512 numbers; SQLite's default of 4096 holds one and leaves half empty
BUSY_TIMEOUT = 10.0  # seconds to wait for another program's transaction
SCRUB = "scrub"  # row of the table ``setting`` while backups, or bytes of deleted rows, must still be cleaned
BACKUPS = "backups"  # row of the table ``setting``: the number of the last backup

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
    # Version 2 binds encrypted values to their places (see encryption.py). That needs the key, so it happens later.
    ("INSERT INTO setting SELECT 'unbound', '1' FROM setting WHERE name = 'sealed'",),
    # Thresholds of single people, and what users said about appearances (see reviews.py). A review goes with each
    # person that it is about.
    (
        """CREATE TABLE threshold (
            person TEXT PRIMARY KEY REFERENCES person ON DELETE CASCADE, cosine REAL NOT NULL
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE review (
            appearance TEXT PRIMARY KEY, source TEXT NOT NULL, started REAL NOT NULL,
            named TEXT REFERENCES person ON DELETE CASCADE, person TEXT REFERENCES person ON DELETE CASCADE,
            cosine REAL, threshold REAL NOT NULL, quality REAL NOT NULL,
            identity TEXT NOT NULL, embedding BLOB, created REAL NOT NULL, age REAL NOT NULL
        ) STRICT""",
        "CREATE INDEX review_named ON review (named)",
        "CREATE INDEX review_person ON review (person)",
    ),
    # Samples that were given to another person: backups may still contain them as samples of the person before.
    ("CREATE TABLE moved (sample INTEGER PRIMARY KEY, created REAL NOT NULL, person TEXT NOT NULL) STRICT",),
    (
        # The ignore list: each entry has anchors, the embeddings of a face that is nobody.
        "CREATE TABLE ignored (id TEXT PRIMARY KEY, note TEXT NOT NULL, created REAL NOT NULL) STRICT, WITHOUT ROWID",
        """CREATE TABLE anchor (
            id INTEGER PRIMARY KEY AUTOINCREMENT, ignored TEXT NOT NULL REFERENCES ignored ON DELETE CASCADE,
            identity TEXT NOT NULL, embedding BLOB NOT NULL, image BLOB, quality REAL NOT NULL
        ) STRICT""",
        "CREATE INDEX anchor_ignored ON anchor (ignored)",
        # Ids of entries that were removed: backups may still contain them.
        "CREATE TABLE former_ignored (id TEXT PRIMARY KEY, since REAL NOT NULL) STRICT, WITHOUT ROWID",
    ),
    # The groups of a person. A group exists as long as it has members.
    (
        """CREATE TABLE membership (
            person TEXT NOT NULL REFERENCES person ON DELETE CASCADE, name TEXT NOT NULL, PRIMARY KEY (person, name)
        ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX membership_name ON membership (name)",
    ),
)


def open_gallery_database(path: Path, *, create: bool = False) -> sqlite3.Connection:
    """Open the gallery file at ``path`` and migrate it to the current schema. A committed transaction is on the disk.

    The file gets mode 0600, and with it SQLite's ``-wal`` and ``-shm``. Raises InputError if the file does not exist
    (unless ``create``), is not a gallery, or was made by a newer rkface; WorkError if it is damaged or locked.
    """
    require_file_name(path)
    parts = [path.with_name(path.name + suffix) for suffix in ("-wal", "-journal")]
    left = [part for part in parts if part.is_file() and part.stat().st_size]
    if path.is_file():
        if not path.stat().st_size:  # SQLite would take it for a new database, and delete the rest of its log
            raise NotADatabaseError(
                f"{path} is empty, so it is not a gallery: a gallery that lost its content. Keep the files beside it, "
                f"and {suggest_backup(path)}. To start a new gallery, move the file away first: "
                f"`mv {shell_quoted(path)} {shell_quoted(path.with_name(path.name + '.old'))}`"
            )
    elif not path.exists() and (left or list_backups(path)):
        found = left[0] if left else backup_folder(path)
        raise NotADatabaseError(
            f"{path} is missing, but {found} shows that there was a gallery. Nothing was created: "
            f"{suggest_backup(path)}. To start a new gallery, move that away first: "
            f"`mv {shell_quoted(found)} {shell_quoted(found.with_name(found.name + '.old'))}`"
        )
    elif create and not path.exists():
        create_gallery_file(path)
    else:
        command = f"rkface enroll --gallery {shell_quoted(path)} NAME photo.jpg"
        if path.exists():
            raise InputError(f"{path} is not a file: name a file for the gallery, such as gallery.sqlite")
        raise InputError(f"{path}: no such gallery; `{command}` creates one")
    with gallery_errors(path):
        _check_header(path)
        return open_sqlite(path, lambda database: _prepare(database, path), timeout=BUSY_TIMEOUT)


def create_gallery_file(path: Path) -> None:
    """Create an empty gallery, mode 0600, complete or not at all: an empty file always means that a content is lost.
    Nothing happens if the file exists. Raises WorkError if it cannot be written."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise WorkError(
            f"{path}: cannot be created: {error.strerror or error}: choose another place with --gallery"
        ) from error
    remove_leftovers(path.parent, path.name)
    with suppress(FileExistsError), create_atomically(path) as new, gallery_errors(path):
        open_sqlite(new, lambda database: _configure(database, new), timeout=BUSY_TIMEOUT).close()


def _check_header(path: Path) -> None:
    """Raise DamagedContentError for file format versions that do not exist (sqlite.org/fileformat.html, 1.3.3): SQLite
    would take the file for a newer one, and only read it. A file that cannot be read is left to SQLite."""
    with suppress(OSError), path.open("rb") as file:
        header = file.read(20)
        if header.startswith(b"SQLite format 3\0") and not {*header[18:]} <= {1, 2}:
            raise DamagedContentError("the file format version")


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    _refuse_other_databases(database, path)  # before anything is written to the file
    _check_tables(database, path)
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)  # for example a copy made by hand
    _configure(database, path)
    _refuse_replacement(database, path)


def _configure(database: sqlite3.Connection, path: Path) -> None:
    # FULL: a commit in WAL mode is on the disk when it returns. NORMAL can lose the last commits in a power cut.
    configure(database, f"page_size={PAGE_SIZE}", "synchronous=FULL", "foreign_keys=ON")
    if read_version(database, path, len(MIGRATIONS)) < len(MIGRATIONS):
        _migrate(database, path)


def _refuse_other_databases(database: sqlite3.Connection, path: Path) -> None:
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (tables,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application == APPLICATION and tables:
        return
    if _read_tables(database) in [_expected_tables(MIGRATIONS[:count]) for count in range(1, len(MIGRATIONS) + 1)]:
        raise DamagedContentError("the application id")
    if tables or application not in (0, APPLICATION):
        raise InputError(f"{path} is a database of another program, not a gallery of rkface: name another file")
    raise DamagedContentError("it has no tables")


def _check_tables(database: sqlite3.Connection, path: Path) -> None:
    """Raise DamagedContentError unless the file has exactly the tables and indexes of its version: a trigger or a view
    would change what rkface reads and writes."""
    version = read_version(database, path, len(MIGRATIONS))
    found, expected = _read_tables(database), _expected_tables(MIGRATIONS[:version])
    if found != expected:
        names = sorted({name for _, name, _ in found ^ expected})
        raise DamagedContentError(f"its tables were changed: {ascii(names[0])[:80] if names else 'none'}")


def _read_tables(database: sqlite3.Connection) -> frozenset[tuple[str, str, str]]:
    rows = database.execute("SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite^_%' ESCAPE '^'")
    return frozenset((str(type), str(name), str(sql)) for type, name, sql in rows)


@lru_cache(maxsize=8)
def _expected_tables(migrations: tuple[tuple[str, ...], ...]) -> frozenset[tuple[str, str, str]]:
    with closing(sqlite3.connect(":memory:")) as database:
        for migration in migrations:
            for statement in migration:
                database.execute(statement)
        return _read_tables(database)


def _refuse_replacement(database: sqlite3.Connection, path: Path) -> None:
    """Raise DamagedError if the gallery is new and empty, but beside it are backups that it did not make."""
    used = "SELECT 1 FROM person UNION ALL SELECT 1 FROM former UNION ALL SELECT 1 FROM backup UNION ALL "
    used += "SELECT 1 FROM ignored UNION ALL SELECT 1 FROM former_ignored UNION ALL "
    if database.execute(f"{used} SELECT 1 FROM setting LIMIT 1").fetchone() is None and list_backups(path):
        raise DamagedError(
            f"{path} is a new gallery without people, but there are backups beside it, which it did not make: "
            f"{suggest_backup(path)}. To use the new gallery, move them away first: "
            f"`mv {shell_quoted(backup_folder(path))} {shell_quoted(str(backup_folder(path)) + '.old')}`"
        )


def _migrate(database: sqlite3.Connection, path: Path) -> None:
    with transaction(database):
        # The version is read again: another process may have migrated the file in the meantime.
        for number in range(read_version(database, path, len(MIGRATIONS)), len(MIGRATIONS)):
            for statement in MIGRATIONS[number]:
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {number + 1}")
        database.execute(f"PRAGMA application_id = {APPLICATION}")


@contextmanager
def gallery_errors(path: Path, writing: Path | None = None) -> Iterator[None]:
    """As ``readable_errors``. For a damaged gallery the error names its newest good backup."""
    with readable_errors(path, suggest_backup, writing=writing):
        yield
