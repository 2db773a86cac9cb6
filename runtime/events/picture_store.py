"""Pictures of alerts until they expire, in their own SQLite file beside the gallery.

An alert that waits for a receiver contains only the id of its picture. The receiver's channel reads the picture when it
sends the alert. So one picture serves all receivers and all links, and to forget a person, pictures are deleted in one
place. Only the owner can read the file, and the pictures are encrypted if the gallery is encrypted.
"""

from __future__ import annotations

import json
import logging
import secrets
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..core.atomic import SQLITE_SUFFIXES
from ..core.errors import RkfaceError, WorkError
from ..core.shared_database import SharedDatabase
from ..core.sqlite import (
    configure,
    create_private_file,
    open_sqlite,
    read_version,
)
from ..core.stored_clock import StoredClock
from ..gallery.encryption import NoCipher

VERSION = 1
BUSY = 5.0  # seconds to wait for another program
LINK_KEY = 32  # bytes: as many as the output of the SHA-256 that signs links
JPEG = b"\xff\xd8\xff"  # the start of a picture that is not encrypted

# appearance: its id. person: the id in the gallery, NULL for an unknown person. logged: when, by the StoredClock.
TABLES = """
    CREATE TABLE IF NOT EXISTS picture (
        id TEXT PRIMARY KEY, appearance TEXT NOT NULL, person TEXT, logged REAL NOT NULL, image BLOB NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
"""

log = logging.getLogger("rkface.events")


@dataclass(frozen=True)
class PictureLimits:
    """The most that a store may hold. ``seconds``: age of a picture. ``bytes``: all pictures together."""

    seconds: float = 86_400.0
    bytes: int = 32 << 20


class PictureStore(SharedDatabase):
    """The pictures of alerts in the file ``path``. Thread-safe; a context manager.

    ``cipher`` returns the cipher of the gallery. ``clock`` is the monotonic clock, and ``wall`` the wall clock, in
    seconds. A damaged file, and pictures that were stored before the gallery was encrypted, are deleted: pictures do
    not live long. ``prune`` must be called from time to time: it deletes what has expired. Raises WorkError if the file
    cannot be opened, and InputError if a newer version of rkface made it.
    """

    def __init__(
        self,
        path: Path,
        cipher: Callable[[], NoCipher] = NoCipher,
        limits: PictureLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.limits = limits or PictureLimits()
        self._cipher = cipher
        self._stored_clock = StoredClock("picture", clock, wall)
        self._waiting: set[str] = set()
        super().__init__(path, _open, "the pictures of alerts", self._delete_damaged)
        try:
            self.use_cipher(cipher)
            self._waiting = {id for (id,) in self.read("SELECT appearance FROM picture WHERE person IS NULL")}
        except BaseException:
            self._database.close()
            raise

    def use_cipher(self, cipher: Callable[[], NoCipher]) -> None:
        """Use what ``cipher`` returns from now on. If it encrypts, pictures that are not encrypted are deleted."""
        self._cipher = cipher
        if cipher().overhead:
            self._delete("substr(image, 1, 3) = ?", [JPEG])

    def _delete_damaged(self, error: sqlite3.DatabaseError) -> None:
        log.error("%s is damaged (%s): it was deleted, with the pictures of alerts in it", self.path, error)
        delete_pictures(self.path)

    def add(self, image: bytes, appearance: str, person: str | None) -> str | None:
        """Store ``image``, the JPEG of an appearance of ``person`` (ids), and return its new id. The oldest pictures
        make room for it. Returns None if it is larger than all pictures together may be. Raises WorkError."""
        id = secrets.token_hex(16)
        encrypted = self._cipher().encrypt(image, _place(id))
        if len(encrypted) > self.limits.bytes:
            return None
        with self.writing() as database:
            now = self._stored_clock.advance(database)
            self._delete_old(database, now)
            database.execute("INSERT INTO picture VALUES (?, ?, ?, ?, ?)", [id, appearance, person, now, encrypted])
            database.execute(
                "DELETE FROM picture WHERE id IN (SELECT id FROM (SELECT id, sum(length(image)) OVER "
                "(ORDER BY rowid DESC) AS total FROM picture) WHERE total > ?)",
                [self.limits.bytes],
            )
        if person is None:
            self._waiting.add(appearance)
        return id

    def jpeg(self, id: str) -> bytes | None:
        """The JPEG with this id. None if it was deleted, or was stored with another key. Raises WorkError."""
        rows = self.read("SELECT image FROM picture WHERE id = ?", [id])
        with suppress(RkfaceError):
            return self._cipher().decrypt(rows[0][0], _place(id)) if rows else None
        return None

    def has(self, id: str) -> bool:
        """Whether the picture with this id is stored. Raises WorkError."""
        return bool(self.read("SELECT 1 FROM picture WHERE id = ?", [id]))

    def note_person(self, appearance: str, person: str) -> None:
        """The unknown person of ``appearance`` was recognized as ``person`` (ids): forgetting this person deletes the
        picture. It costs nothing if there is no such picture. Raises WorkError."""
        if appearance in self._waiting:
            with self.writing() as database:
                database.execute("UPDATE picture SET person = ? WHERE appearance = ?", [person, appearance])
            self._waiting.discard(appearance)

    @property
    def unknown(self) -> tuple[str, ...]:
        """The appearances (ids) of unknown people with a picture here."""
        return tuple(self._waiting)

    def prune(self, people: Iterable[str], merged: Mapping[str, str]) -> None:
        """Delete what has expired, and all pictures of people who are not among ``people`` (ids). Pictures of a person
        who was ``merged`` (old id → new id) get the new id. Raises WorkError."""
        with self.writing() as database:
            self._delete_old(database, self._stored_clock.advance(database))
            for old, new in merged.items():
                database.execute("UPDATE picture SET person = ? WHERE person = ?", [new, old])
            self._waiting &= {id for (id,) in database.execute("SELECT appearance FROM picture WHERE person IS NULL")}
        self._delete(
            "person IS NOT NULL AND person NOT IN (SELECT value FROM json_each(?))", [json.dumps(list(people))]
        )
        # Bytes of expired pictures must not stay in the write-ahead log. If this fails, the next call tries again.
        self.shrink()

    def erase(self, people: Collection[str]) -> None:
        """Delete all pictures of ``people`` (ids), and leave no byte of them in the file. Raises WorkError if the file
        cannot be written, or another program reads old pages."""
        self._delete("person IN (SELECT value FROM json_each(?))", [json.dumps(list(people))])

    def erase_appearances(self, ids: Collection[str]) -> None:
        """As ``erase``, for all pictures of appearances (ids), of known and unknown people."""
        self._delete("appearance IN (SELECT value FROM json_each(?))", [json.dumps(list(ids))])
        self._waiting.difference_update(ids)

    def count(self) -> int:
        """The number of pictures."""
        return int(self.read("SELECT count(*) FROM picture")[0][0])

    def link_key(self) -> bytes:
        """The secret that signs links to pictures: random, made at the first call, and kept in the file."""
        with self.writing() as database:
            database.execute("INSERT OR IGNORE INTO setting VALUES ('link key', ?)", [secrets.token_hex(LINK_KEY)])
            (key,) = database.execute("SELECT value FROM setting WHERE name = 'link key'").fetchone()
        return str(key).encode()

    def _delete_old(self, database: sqlite3.Connection, now: float) -> None:
        database.execute("DELETE FROM picture WHERE logged < ?", [now - self.limits.seconds])

    def _delete(self, condition: str, parameters: list[object]) -> None:
        """Delete the pictures that meet ``condition``, with all their bytes."""
        with self.writing() as database:
            gone = database.execute(f"DELETE FROM picture WHERE {condition}", parameters).rowcount
        if gone:
            self.remove_deleted_bytes("deleted pictures are kept")


def delete_pictures(path: Path) -> None:
    """Delete the file ``path`` with all pictures, if there is one. Raises WorkError if that is impossible."""
    try:
        for suffix in SQLITE_SUFFIXES:
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    except OSError as error:
        raise WorkError(f"{path}: cannot be deleted: {error.strerror}: check the owner of its folder") from error


def _place(id: str) -> bytes:
    """What an encrypted picture is bound to (see gallery/encryption.py)."""
    return f"rkface alert picture {id}".encode()


def _open(path: Path) -> sqlite3.Connection:
    create_private_file(path)

    def prepare(database: sqlite3.Connection) -> None:
        # NORMAL: a power cut may lose the pictures of the last seconds, but cameras never wait for an SD card to sync.
        configure(database, "auto_vacuum=INCREMENTAL", "synchronous=NORMAL")
        read_version(database, path, VERSION)
        database.executescript(TABLES)
        database.execute(f"PRAGMA user_version = {VERSION}")

    return open_sqlite(path, prepare, timeout=BUSY)
