"""Events on disk until one receiver has them: an outbox, with the SQLite file of ``outbox_file``.

A receiver has an outbox of its own, in a folder (mode 0700) that one process at a time may use. An event is a row, and
is deleted when it is delivered.

Storing an event is durable (``synchronous=FULL``): when ``append`` returns, a power cut does not lose it. Deleting
a delivered event is not (``NORMAL``), because that saves an fsync and a power cut then repeats at most ``SYNC_EVERY``
events. Deleted bytes are zeros in the file immediately, but stay in the write-ahead log until ``sweep``.
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from ..core.errors import InputError
from ..core.sqlite import commit, empty_write_ahead_log, is_damage, remove_deleted_bytes
from .event import OutgoingEvent, anonymize
from .outbox_file import (
    FILE,
    INSERT,
    StoredRow,
    claim_folder,
    is_intact,
    open_database,
    rebuild,
    take_over_old_spool,
    to_os_error,
)
from .outbox_limits import Limits, OutboxClocks, delete_old, is_oldest_too_old, make_room

SYNC_EVERY = 32  # deliveries after which their deletion is made durable; it survives a killed process in any case

T = TypeVar("T")
log = logging.getLogger("rkface.events")


class Outbox:
    """The events of one receiver, in ``folder``. Any thread may use it.

    Opening it takes over what an earlier process left, also a spool of rkface 0.1. ``dropped`` counts events that were
    lost: no room, too old, unreadable. Raises OutboxInUseError if it is open elsewhere, InputError if the folder cannot
    be used. A disk that is full or fails does not raise an error here: each later call tries again to open the file.
    """

    def __init__(
        self,
        folder: Path,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.dropped = 0
        self._path = folder / FILE
        self._limits = limits or Limits()
        self._clock, self._wall = clock, wall
        self._opened, self._opened_wall = clock(), wall()
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        self._first = self._next = 1  # number of the first event of this process, and of the next one
        self._delivered = 0  # number of the last event that was delivered
        self._waiting = 0
        self._since_sync = 0
        self._deleted = False  # bytes of deleted events may be in the write-ahead log
        self._cannot_delete = False
        self._owner = claim_folder(folder)
        try:
            self._run(lambda database: None)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EIO):
                self.close()
                raise InputError(f"{self._path}: events cannot be read: {error.strerror}") from error
            log.error("%s: cannot be opened: %s; trying again", self._path, error.strerror)
        except BaseException:
            self.close()
            raise

    @property
    def queued(self) -> int:
        """Events that are not delivered yet."""
        return self._waiting

    @property
    def needs_sweep(self) -> bool:
        """Whether bytes of delivered events may still be on disk."""
        return self._deleted

    def append(self, bodies: Sequence[bytes]) -> None:
        """Store events. When this returns they are on disk, also after a power cut. Raises OSError if none of them is;
        earlier events are not affected."""

        def store(database: sqlite3.Connection) -> None:
            now, wall = self._clock(), self._wall()
            rows = [StoredRow(self._next + index, wall, now, body).values() for index, body in enumerate(bodies)]
            with commit(database, durable=True):
                self._delete_delivered(database)
                too_old = delete_old(database, self._clocks(now), self._limits.seconds)
                no_room = make_room(database, self._limits.bytes, sum(map(len, bodies)), self._waiting - too_old)
                database.executemany(INSERT, rows)
            self._next += len(rows)
            self._waiting += len(rows)
            self._note_dropped(too_old, "too old")
            self._note_dropped(no_room, "the outbox is full")

        self._run(store)

    def peek(self) -> OutgoingEvent | None:
        """The oldest event that is not delivered. Raises OSError if the file cannot be read."""

        def read(database: sqlite3.Connection) -> OutgoingEvent | None:
            while True:
                row = database.execute(
                    "SELECT id, checksum, body FROM event WHERE id > ? ORDER BY id LIMIT 1", [self._delivered]
                ).fetchone()
                if row is None:
                    return None
                number, checksum, body = row
                if is_intact(checksum, body):
                    return OutgoingEvent(body, number < self._first, number)
                with commit(database, durable=False):
                    database.execute("DELETE FROM event WHERE id = ?", [number])
                self._note_dropped(1, "damaged")

        return self._run(read)

    def advance(self, event: OutgoingEvent) -> None:
        """Delete ``event``, which was delivered, and never return it again. If the disk refuses, it is deleted later;
        until then a restart repeats it."""

        def delete(database: sqlite3.Connection) -> None:
            numbers = [self._delivered, event.number]
            (count,) = database.execute("SELECT count(*) FROM event WHERE id > ? AND id <= ?", numbers).fetchone()
            self._delivered = max(numbers)
            self._waiting -= count
            durable = self._since_sync + 1 >= SYNC_EVERY
            with commit(database, durable=durable):
                self._delete_delivered(database)
            self._since_sync = 0 if durable else self._since_sync + 1

        try:
            self._run(delete)
            self._cannot_delete = False
        except OSError as error:
            if not self._cannot_delete:
                log.warning("%s: delivered events cannot be deleted: %s; trying again", self._path, error.strerror)
            self._cannot_delete = True

    def erase(self, people: Collection[str]) -> None:
        """Remove ``people`` (ids of the gallery) from all events: they then report an unknown person. When this
        returns, no file of the outbox contains a byte of what was removed, nor of delivered events. Raises OSError if
        some may still; call it again then."""

        def anonymize_all(database: sqlite3.Connection) -> None:
            database.create_function("anonymize", 1, lambda body: anonymize(body, people), deterministic=True)
            with commit(database, durable=True):
                self._delete_delivered(database)
                damaged = database.execute("DELETE FROM event WHERE NOT intact(checksum, body)").rowcount
                database.execute(
                    "UPDATE event SET body = anonymize(body), checksum = crc32(anonymize(body)) "
                    "WHERE anonymize(body) != body"
                )
            self._note_dropped(damaged, "damaged")
            if not remove_deleted_bytes(database):
                raise sqlite3.OperationalError("the write-ahead log is locked")
            self._deleted = False

        self._run(anonymize_all)

    def sweep(self) -> None:
        """Remove the bytes of delivered events from the disk, and give back the space. Raises OSError if that fails."""

        def clean(database: sqlite3.Connection) -> None:
            database.executescript("PRAGMA incremental_vacuum")
            self._deleted = not empty_write_ahead_log(database)

        if self._deleted:
            self._run(clean)

    def expire(self) -> None:
        """Drop events that are older than the limit. Raises OSError if the disk refuses."""

        def delete(database: sqlite3.Connection) -> None:
            clocks = self._clocks(self._clock())
            if is_oldest_too_old(database, clocks, self._limits.seconds):
                with commit(database, durable=False):
                    self._delete_delivered(database)
                    too_old = delete_old(database, clocks, self._limits.seconds)
                self._note_dropped(too_old, "too old")

        self._run(delete)

    def close(self) -> None:
        """Release the folder for the next process."""
        with suppress(OSError):
            self.sweep()
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None
            if self._owner >= 0:
                os.close(self._owner)
                self._owner = -1

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` in the database, which is opened first if necessary. It runs twice if the first attempt finds
        that the file is damaged, which is then rebuilt, or that the disk is full: the write-ahead log is then moved
        into the file, where the same events need a tenth of the space."""
        with self._lock:
            if self._owner < 0:
                raise OSError(errno.EBADF, "the outbox is closed", str(self._path))
            try:
                try:
                    return work(self._open())
                except sqlite3.Error as error:
                    if is_damage(error):
                        self._rebuild(error)
                    elif self._database is None or to_os_error(error, self._path).errno != errno.ENOSPC:
                        raise
                    else:
                        empty_write_ahead_log(self._database)
                return work(self._open())
            except sqlite3.Error as error:
                raise to_os_error(error, self._path) from error

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            database = open_database(self._path)
            try:
                take_over_old_spool(self._path.parent, database)
                count, last = database.execute("SELECT count(*), coalesce(max(id), 0) FROM event").fetchone()
            except BaseException:
                database.close()
                raise
            self._first = self._next = max(self._next, last + 1)
            self._database, self._waiting = database, count
            self._deleted = True  # by a process that was killed, perhaps
        return self._database

    def _rebuild(self, error: sqlite3.Error) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None
        first, before = self._first, self._waiting
        saved = rebuild(self._path)
        log.error("%s was damaged (%s): %d events could be read, the others are lost", self._path, error, saved)
        self.dropped += max(0, before - saved)
        self._open()
        self._first = first if before else self._first

    def _delete_delivered(self, database: sqlite3.Connection) -> None:
        self._deleted |= database.execute("DELETE FROM event WHERE id <= ?", [self._delivered]).rowcount > 0

    def _clocks(self, now: float) -> OutboxClocks:
        return OutboxClocks(now, self._opened, self._opened_wall, self._first)

    def _note_dropped(self, count: int, reason: str) -> None:
        if count:
            self._waiting -= count
            self._deleted = True
            self.dropped += count
            log.warning("%s: %d events dropped undelivered: %s", self._path, count, reason)
