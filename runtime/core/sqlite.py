"""SQLite files: opening them, readable errors, moving damaged files away, and removing the bytes of deleted rows.

The gallery, the appearance log and the outboxes of events use this module. Their files contain personal data: the mode
is 0600, and deleted rows are overwritten (``secure_delete``). Connections are in autocommit mode, so that a transaction
is always explicit, and threads can share them if the caller holds a lock.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from .atomic import SQLITE_SUFFIXES, copy_owner
from .errors import InputError, RkfaceError, WorkError

HIGHEST_VERSION = 1000  # of a schema
SHARED_MEMORY = 1 << 15  # bytes of the file -shm


class DamagedError(WorkError):
    """The database file is damaged."""


class NotADatabaseError(InputError):
    """The file is not an SQLite database."""


class DamagedContentError(sqlite3.DatabaseError):
    """SQLite can read the file, but a value in it cannot be right. ``readable_errors`` turns it into a DamagedError.
    The message names the row, and contains no text of it."""


class SqliteConnection(sqlite3.Connection):
    """A connection that reports a damaged schema as damage. SQLite's message can contain the damaged bytes, and Python
    then raises UnicodeDecodeError instead of sqlite3.DatabaseError."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        try:
            return super().execute(sql, parameters)
        except UnicodeDecodeError as error:
            raise sqlite3.DatabaseError("malformed: a name in the schema is not UTF-8") from error


connect = partial(sqlite3.connect, factory=SqliteConnection)  # every file that may be damaged is opened with it


def create_private_file(path: Path) -> None:
    """Create the empty file ``path`` with mode 0600 if there is no file yet; SQLite gives ``-wal`` and ``-shm`` the
    same mode and owner. The file of a command that root runs belongs to the owner of the folder: the service, which has
    an account of its own, must read it. Raises OSError if the file cannot be created or opened."""
    new = not path.exists()
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    if new:
        copy_owner(path, path.parent)


def open_sqlite(path: Path, prepare: Callable[[sqlite3.Connection], None], *, timeout: float) -> sqlite3.Connection:
    """Open the database at ``path`` and call ``prepare``, which checks and configures it. If that fails, the connection
    is closed. ``timeout``: seconds to wait while another program has the database locked. Raises sqlite3.Error."""
    database = connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)
    try:
        distrust_file(database)
        prepare(database)
    except BaseException:
        database.close()
        raise
    return database


def distrust_file(database: sqlite3.Connection) -> None:
    """Let nothing in the file run code, and notice damaged pages when they are read (sqlite.org/security.html)."""
    for pragma in ("trusted_schema=OFF", "cell_size_check=ON"):
        database.execute(f"PRAGMA {pragma}").fetchall()


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open the file ``path``, which this connection does not change, and distrust it. Raises sqlite3.Error."""
    database = connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    distrust_file(database)
    return database


def configure(database: sqlite3.Connection, *pragmas: str) -> None:
    """Set ``pragmas`` such as "synchronous=FULL", then a write-ahead log and secure deletion. Pragmas that only work on
    an empty file (page_size, auto_vacuum) must come before the write-ahead log, so they belong here too."""
    for pragma in (*pragmas, "journal_mode=WAL", "secure_delete=ON"):
        if pragma.startswith("auto_vacuum=") and database.execute("PRAGMA page_count").fetchone()[0]:
            continue  # it would write the same mode again, and wait for the disk
        database.execute(f"PRAGMA {pragma}").fetchall()


def read_version(database: sqlite3.Connection, path: Path, newest: int) -> int:
    """The version of the schema (``user_version``). Raises InputError if it is above ``newest``, the last version that
    this program knows, and DamagedContentError if no program can have made it."""
    version = int(database.execute("PRAGMA user_version").fetchone()[0])
    if not 0 <= version <= HIGHEST_VERSION:
        raise DamagedContentError(f"schema version {version}")
    if version > newest:
        raise InputError(
            f"{path} was made by a newer rkface (schema {version}; this rkface knows {newest}): install that version, "
            "or move the file away"
        )
    return version


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Commit everything that the block writes, or nothing if the block raises an error."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:  # if the disk is full, SQLite has already rolled back
            database.execute("ROLLBACK")
        raise


@contextmanager
def commit(database: sqlite3.Connection, *, durable: bool) -> Iterator[None]:
    """A transaction. ``durable``: it is on the disk when the block ends, also after a power cut. Otherwise it survives
    a killed process immediately, but a power cut only after a later durable transaction."""
    database.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
    with transaction(database):
        yield


class _Explanation(NamedTuple):
    """What to raise if the message of SQLite contains one of ``words``."""

    words: tuple[str, ...]
    kind: type[RkfaceError]
    text: str


DAMAGED = "{path} is damaged ({message}). Nothing was changed. Keep a copy of the file, then {repair}"
_EXPLANATIONS = (
    _Explanation(
        ("locked", "busy"),
        WorkError,
        "{path} is locked: another program is writing to it. Try again, or stop that program",
    ),
    _Explanation(
        ("not a database",), NotADatabaseError, "{path} is not an SQLite database: use another file, or {repair}"
    ),
    _Explanation(
        ("malformed", "I/O error", "unsupported file format", "no such table", "no such column", "too big"),
        DamagedError,
        DAMAGED,
    ),
    _Explanation(
        ("readonly", "unable to open"),
        InputError,
        "{path}: cannot be opened for writing ({message}): check its owner and the owner of its folder",
    ),
    _Explanation(("closed database",), InputError, "{path} is closed: open it again before you use it"),
)


@contextmanager
def readable_errors(
    path: Path, suggest_repair: Callable[[Path], str] | None = None, *, writing: Path | None = None
) -> Iterator[None]:
    """Turn errors of SQLite about the database at ``path`` into errors that say what to do.

    ``suggest_repair`` returns what to do about a damaged file, such as "restore the backup FILE". ``writing``: the
    file or folder that is written, if it is not ``path``: it is named if its disk is full.

    Raises DamagedError, NotADatabaseError, InputError (closed, no permission) or WorkError (locked, disk full, others).
    """
    try:
        yield
    except sqlite3.Error as error:
        if "full" in str(error) or ("I/O error" in str(error) and _is_full(writing or path)):
            raise WorkError(
                f"{writing or path}: the disk is full; nothing was changed: free some space and try again"
            ) from error
        raise _explain(path, error, suggest_repair or _suggest_a_copy) from error


def _is_full(path: Path) -> bool:
    """Whether the disk of ``path`` has no room for the file -shm, without which SQLite opens no database in WAL mode.
    SQLite calls that a "disk I/O error", as it does for a broken disk."""
    with suppress(OSError):
        status = os.statvfs(path.parent)
        return status.f_bavail * status.f_frsize < SHARED_MEMORY
    return False


def _explain(path: Path, error: sqlite3.Error, suggest_repair: Callable[[Path], str]) -> RkfaceError:
    message = str(error)
    # Python puts the text itself into its messages: it may be a part of an embedding, and is not shown to anybody.
    if message.startswith("Could not decode to UTF-8"):
        return DamagedError(DAMAGED.format(path=path, message="a text is not UTF-8", repair=suggest_repair(path)))
    if isinstance(error, DamagedContentError):
        return DamagedError(DAMAGED.format(path=path, message=message, repair=suggest_repair(path)))
    for words, kind, text in _EXPLANATIONS:
        if any(word in message for word in words):
            repair = suggest_repair(path) if "{repair}" in text else ""  # it may read backups, which takes a while
            return kind(text.format(path=path, message=message, repair=repair))
    return WorkError(f"{path}: {message}")


def _suggest_a_copy(path: Path) -> str:
    return f"look for a copy of {path.name} elsewhere"


def is_damage(error: sqlite3.Error) -> bool:
    """Whether ``error`` means that the file is damaged or is not a database. A locked file, a full disk and missing
    permissions are not damage: they raise sqlite3.OperationalError, a subclass of sqlite3.DatabaseError."""
    return type(error) is sqlite3.DatabaseError


def find_damage(database: sqlite3.Connection) -> str | None:
    """The first problem that SQLite's integrity check reports, or None. Reads the whole file."""
    try:
        (result,) = database.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        result = str(error)
    return None if result == "ok" else str(result).splitlines()[-1]


def move_damaged_file_away(path: Path) -> Path:
    """Rename the database at ``path``, with its ``-wal`` and ``-shm``, and return the new path of the database:
    ``NAME.damaged-`` and the time (UTC), and a number if there is such a file already."""
    first = f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    names = (path.with_name(first + (f"-{number}" if number else "")) for number in count())
    aside = next(name for name in names if not any(name.with_name(name.name + end).exists() for end in SQLITE_SUFFIXES))
    # The database is last: an old write-ahead log must never remain beside a new database.
    for suffix in SQLITE_SUFFIXES:
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.replace(aside.with_name(aside.name + suffix))
    return aside


def remove_deleted_bytes(database: sqlite3.Connection) -> bool:
    """Write all pages again and empty the write-ahead log, so that no byte of a deleted row remains on the disk.

    ``secure_delete`` alone is not enough: it can leave a copy where a page was split. Returns False if another program
    still reads old pages: their bytes then remain in the ``-wal`` file.
    """
    database.execute("VACUUM")
    return empty_write_ahead_log(database)


def empty_write_ahead_log(database: sqlite3.Connection) -> bool:
    """Move the content of the write-ahead log into the database and truncate the log to 0 bytes. Returns False if
    another program still reads old pages, which then remain in the log."""
    (busy, *_) = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy
