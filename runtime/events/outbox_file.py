"""The SQLite file of an outbox: its schema, how it is opened, and how events are saved from a damaged one.

``outbox.sqlite`` (mode 0600) runs in WAL mode: a commit appends to ``outbox.sqlite-wal`` and needs one fsync. The lock
mode EXCLUSIVE keeps the file locked while it is open, so that no reader holds back a checkpoint and no shared memory
file (``-shm``) is needed. ``secure_delete`` overwrites deleted rows with zeros.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import zlib
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from ..core.atomic import copy_owner, remove_leftovers, replace_atomically, sync_to_disk
from ..core.errors import InputError, WorkError
from ..core.sqlite import commit, configure, connect, create_private_file, open_sqlite, read_version, transaction
from ..gallery.companions import find_event_folders
from .old_spool import CURSOR, delete_old_spool, lock_old_spool, read_old_files

FILE = "outbox.sqlite"
VERSION = 1
BUSY = 5.0  # seconds to wait while another program has the file locked
CHECKPOINT = 64  # pages of 4 KiB in the write-ahead log after which SQLite moves them into the file

# id: the order of delivery. stored: seconds since 1970. ticks: the same moment by the monotonic clock of the process
# that stored it. checksum: CRC-32 of body, because SQLite does not notice a flipped bit in a row.
TABLE = """
    CREATE TABLE IF NOT EXISTS event (
        id INTEGER PRIMARY KEY, stored REAL NOT NULL, ticks REAL NOT NULL, checksum INTEGER NOT NULL, body BLOB NOT NULL
    ) STRICT
"""
COLUMNS = "id, stored, ticks, checksum, body"
INSERT = f"INSERT INTO event ({COLUMNS}) VALUES (?, ?, ?, ?, ?)"


class OutboxInUseError(InputError):
    """Another process, or another part of this one, has the outbox open."""


@dataclass(frozen=True)
class StoredRow:
    """A stored event; the fields are the columns of the table ``event``."""

    id: int
    stored: float
    ticks: float
    body: bytes

    def values(self) -> tuple[int, float, float, int, bytes]:
        """The parameters of ``INSERT``."""
        return self.id, self.stored, self.ticks, zlib.crc32(self.body), self.body


def find_outboxes(gallery: Path) -> list[Path]:
    """The folders of the gallery at this path that contain an outbox or an old spool, also of receivers that are no
    longer used; and those with names of earlier versions, ``events-RECEIVER``, which belong to no certain gallery."""
    folders = [*find_event_folders(gallery), *gallery.parent.glob("events-*")]
    return sorted(folder for folder in folders if any((folder / name).exists() for name in (FILE, CURSOR)))


def claim_folder(folder: Path) -> int:
    """Create ``folder`` if it does not exist, and lock it for this process. Returns the descriptor that holds the lock.
    Raises OutboxInUseError if another process holds it, InputError if the folder cannot be used."""
    try:
        if not folder.is_dir():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_to_disk(folder.parent)
        created = not (folder / "lock").exists()
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InputError(f"{folder}: events cannot be stored here: {error.strerror}; name another folder") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        old = lock_old_spool(folder)
        if old is not None:
            os.close(old)
        if created:
            copy_owner(folder / "lock", folder)
        remove_leftovers(folder)
    except BlockingIOError as error:
        os.close(descriptor)
        raise OutboxInUseError(
            f"{folder}: another rkface sends events from here; stop it or name another folder"
        ) from error
    except OSError as error:
        os.close(descriptor)
        raise InputError(f"{folder}: events cannot be read: {error.strerror}") from error
    return descriptor


def open_database(path: Path) -> sqlite3.Connection:
    """Open the outbox file at ``path``, or create it. Raises InputError if a newer rkface made it, OSError and
    sqlite3.Error as they come."""
    create_private_file(path)

    def prepare(database: sqlite3.Connection) -> None:
        configure(
            database,
            "locking_mode=EXCLUSIVE",
            "auto_vacuum=INCREMENTAL",
            "synchronous=FULL",
            "temp_store=MEMORY",  # VACUUM must not leave events in a temporary file
            f"wal_autocheckpoint={CHECKPOINT}",
        )
        if read_version(database, path, VERSION) < VERSION:
            with transaction(database):
                database.execute(TABLE)
                database.execute(f"PRAGMA user_version = {VERSION}")
        database.create_function("intact", 2, is_intact, deterministic=True)
        database.create_function("crc32", 1, zlib.crc32, deterministic=True)

    return open_sqlite(path, prepare, timeout=BUSY)


def used_bytes(database: sqlite3.Connection) -> int:
    """Size of the file without its free pages."""
    pages, free, size = (
        int(database.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


def store_once(database: sqlite3.Connection, events: Iterable[tuple[float, bytes]]) -> None:
    """Store ``events`` (when they happened, and the body), durably, except those that an earlier call has stored before
    it was interrupted."""
    with commit(database, durable=True):
        stored = {body for (body,) in database.execute("SELECT body FROM event")}
        (last,) = database.execute("SELECT coalesce(max(id), 0) FROM event").fetchone()
        fresh = [event for event in events if event[1] not in stored]
        rows = [StoredRow(last + 1 + index, when, 0.0, body) for index, (when, body) in enumerate(fresh)]
        database.executemany(INSERT, [row.values() for row in rows])


def take_over_old_spool(folder: Path, database: sqlite3.Connection) -> None:
    """Store the events that wait in files of rkface 0.1. Each file is deleted before the next one is read, so that this
    needs little space. Can be called again after it was interrupted."""
    old = lock_old_spool(folder)
    if old is None:
        return
    try:
        for file in read_old_files(folder):
            store_once(database, [(file.written, body) for body in file.bodies])
            file.path.unlink()
        delete_old_spool(folder)
        sync_to_disk(folder)
    finally:
        os.close(old)


def is_intact(checksum: object, body: object) -> bool:
    """Whether ``body`` is what was stored."""
    return isinstance(body, bytes) and zlib.crc32(body) == checksum


def rebuild(path: Path) -> int:
    """Replace the damaged outbox file at ``path`` by a new one with all events that can still be read, and return their
    number. The damaged file is not kept, because it may name people. OSError if the new one cannot be written."""
    rows = _read_what_can_be_read(path)
    try:
        with replace_atomically(path) as copy:
            with closing(open_database(copy)) as database, transaction(database):
                database.executemany(INSERT, [rows[number].values() for number in sorted(rows)])
            path.with_name(f"{path.name}-wal").unlink(missing_ok=True)
    except WorkError as error:
        raise OSError(errno.EIO, str(error)) from error
    except sqlite3.Error as error:
        raise to_os_error(error, path) from error
    return len(rows)


def _read_what_can_be_read(path: Path) -> dict[int, StoredRow]:
    """Events by number, read from both ends up to the damage."""
    rows: dict[int, StoredRow] = {}
    with suppress(sqlite3.Error), closing(connect(path, timeout=BUSY)) as database:
        for order in ("ASC", "DESC"):
            with suppress(sqlite3.Error):
                for number, stored, ticks, checksum, body in database.execute(
                    f"SELECT {COLUMNS} FROM event ORDER BY id {order}"
                ):
                    if number in rows:
                        break
                    if is_intact(checksum, body):
                        rows[number] = StoredRow(number, stored, ticks, body)
    return rows


def to_os_error(error: sqlite3.Error, path: Path) -> OSError:
    """What SQLite reports about the file at ``path``, as an OSError: ENOSPC for a full disk, EBUSY for a file that
    another program has locked, EACCES for one that may not be written, otherwise EIO."""
    text = str(error)
    if "is full" in text:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    if "locked" in text:
        return OSError(errno.EBUSY, "another program has the file locked", str(path))
    if "unable to open" in text or "readonly" in text:
        return OSError(errno.EACCES, f"{text}: check its owner and that of its folder", str(path))
    return OSError(errno.EIO, text, str(path))
