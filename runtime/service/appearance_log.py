"""The log of appearances: who was where and when, for as long as it may be kept, in an SQLite file of its own.

It holds names and, where that is wanted, the faces of people who were not recognized: the file is for its owner only,
and faces are encrypted where those of the gallery are.
"""

from __future__ import annotations

import json
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from logging import getLogger
from pathlib import Path
from typing import Any

from ..core.errors import WorkError
from ..core.sqlite import (
    configure,
    create_private_file,
    empty_write_ahead_log,
    is_damage,
    move_damaged_file_away,
    open_sqlite,
    read_version,
    readable_errors,
    remove_deleted_bytes,
    transaction,
)
from ..events.outbox import SET_SINCE
from ..gallery.encryption import NoCipher
from ..gallery.gallery import Gallery
from ..tracking.appearance import Appearance
from .settings import DAY, Keep

FILE = "appearances.sqlite"
VERSION = 1
MOST = 200  # that one question is answered with
BUSY = 5.0  # seconds to wait for another program
SCRUB = "scrub"  # the setting that stands while bytes of faces that were encrypted may still be in the file
PNG = b"\x89PNG\r\n\x1a\n"  # how a face begins that is not encrypted

log = getLogger("rkface.appearances")

TABLES = """
    CREATE TABLE IF NOT EXISTS appearance (
        id TEXT PRIMARY KEY, source TEXT NOT NULL, person TEXT, started REAL NOT NULL, logged REAL NOT NULL,
        event TEXT NOT NULL, face BLOB
    ) STRICT;
    CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS appearance_started ON appearance (started);
    CREATE INDEX IF NOT EXISTS appearance_person ON appearance (person, started);
"""


class AppearanceLog:
    """Appearances at ``path``, one row each, as they were told last. Any thread may use it; a context manager.

    ``cipher`` says what faces are encrypted with: the gallery's, which may be encrypted at any time.

    A file that is damaged is set aside under another name and a new one begun: a log is no reason not to start.
    """

    def __init__(self, path: Path, cipher: Callable[[], NoCipher] = NoCipher) -> None:
        self.path = path
        self._cipher = cipher
        self._lock = threading.Lock()
        try:
            self._database = _open(path)
        except OSError as error:
            raise WorkError(f"{path}: cannot be opened ({error.strerror}): check its owner and its folder's") from error
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise WorkError(f"{path}: the log of appearances cannot be opened: {error}") from error
            aside = move_damaged_file_away(path)
            log.error("%s is damaged (%s): set aside as %s, and a new one begun", path, error, aside.name)
            self._database = _open(path)

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def __enter__(self) -> AppearanceLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def record(self, appearance: Appearance, face: bytes | None = None) -> None:
        """Note the present stage of ``appearance``; ``face`` is a PNG of somebody unknown, who has none once known."""
        event = json.dumps(appearance.as_event(), ensure_ascii=False)
        person = appearance.match.person if appearance.match else None
        encrypted = None if face is None else self._cipher().encrypt(face)
        row = [appearance.id, appearance.source, person, appearance.started, time.time(), event, encrypted]
        with self._writing() as database:
            database.execute(
                "INSERT INTO appearance VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (id) DO UPDATE SET "
                "person = ?3, started = ?4, event = ?6, face = iif(?3 IS NULL, coalesce(?7, face), NULL)",
                row,
            )

    def newest(
        self, limit: int = 50, before: float | None = None, person: str | None = None, source: str | None = None
    ) -> list[dict[str, Any]]:
        """``limit`` appearances that started ``before``, newest first, as events with "face": is one kept? Who came in
        the same frame as the last comes along: asked for those before it, the next page would leave them out.

        ``person``: an id, or "" for those of nobody known.
        """
        if limit < 1:
            return []
        asked = (
            "FROM appearance WHERE (?1 IS NULL OR started < ?1) "
            "AND (?2 IS NULL OR ifnull(person, '') = ?2) AND (?3 IS NULL OR source = ?3)"
        )
        last = f"SELECT started {asked} ORDER BY started DESC LIMIT 1 OFFSET ?4"
        rows = self._read(
            f"SELECT event, face IS NOT NULL {asked} AND started >= ifnull(({last}), -1e308) ORDER BY started DESC, id",
            [before, person, source, min(limit, MOST) - 1],
        )
        return [{**json.loads(event), "face": bool(face)} for event, face in rows]

    def face(self, id: str) -> bytes | None:
        """The aligned face of an appearance of somebody unknown, as PNG. None for one that was kept under another key,
        or before there was one."""
        rows = self._read("SELECT face FROM appearance WHERE id = ? AND face IS NOT NULL", [id])
        with suppress(WorkError):
            return self._cipher().decrypt(rows[0][0]) if rows else None
        return None

    def encrypt(self) -> None:
        """Encrypt the faces that were kept before the gallery was encrypted, if it is, and leave no byte of what they
        were. Finishes what was cut off. WorkError where another program holds on to old pages."""
        cipher = self._cipher()
        if not cipher.overhead:
            return
        with self._writing() as database:
            for (id,) in database.execute("SELECT id FROM appearance WHERE substr(face, 1, 8) = ?", [PNG]).fetchall():
                (face,) = database.execute("SELECT face FROM appearance WHERE id = ?", [id]).fetchone()
                database.execute("UPDATE appearance SET face = ? WHERE id = ?", [cipher.encrypt(face), id])
                database.execute("INSERT OR REPLACE INTO setting VALUES (?, '1')", [SCRUB])
        if not self._read("SELECT 1 FROM setting WHERE name = ?", [SCRUB]):
            return
        with self._lock, readable_errors(self.path):
            removed = remove_deleted_bytes(self._database)
        if not removed:
            raise WorkError(
                f"{self.path}: another program reads old pages, so that faces stay in the -wal file as they were: "
                "stop it, then run `rkface gallery check --key FILE`"
            )
        with self._writing() as database:
            database.execute("DELETE FROM setting WHERE name = ?", [SCRUB])

    def count(self) -> int:
        return int(self._read("SELECT count(*) FROM appearance")[0][0])

    def prune(self, keep: Keep, people: Iterable[str], merged: Mapping[str, str], now: float | None = None) -> int:
        """Delete what is too old, and whatever names somebody who is not among ``people`` (ids) any more; what names
        one who was ``merged`` names the other then. How many appearances went.

        Age counts from when it was logged. What a clock says was logged before any clock was set, or is yet to come,
        was logged by a clock that jumped since: it counts from now.
        """
        now = time.time() if now is None else now
        if now < SET_SINCE:  # nobody knows how old anything is
            keep = replace(keep, appearances=math.inf, unknown_faces=math.inf)
        with self._writing() as database:
            if now >= SET_SINCE:
                database.execute("UPDATE appearance SET logged = ?1 WHERE logged < ?2 OR logged > ?1", [now, SET_SINCE])
            for old, new in merged.items():
                change = "person = ?1, event = json_set(event, '$.match.person', ?1)"
                database.execute(f"UPDATE appearance SET {change} WHERE person = ?2", [new, old])
            gone = database.execute(
                "DELETE FROM appearance WHERE logged < ?1 OR "
                "(person IS NOT NULL AND person NOT IN (SELECT value FROM json_each(?2)))",
                [now - keep.appearances * DAY, json.dumps(list(people))],
            ).rowcount
            faces = database.execute(
                "UPDATE appearance SET face = NULL WHERE face IS NOT NULL AND logged < ?",
                [now - keep.unknown_faces * DAY],
            ).rowcount
        if gone or faces:
            # Nor may the journal still hold it. What fails here is tried again with the next that goes.
            with self._lock, suppress(sqlite3.Error):
                empty_write_ahead_log(self._database)
                self._database.executescript("PRAGMA incremental_vacuum")
        return int(gone)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, readable_errors(self.path), transaction(self._database):
            yield self._database

    def _read(self, statement: str, parameters: Iterable[Any] = ()) -> list[Any]:
        with self._lock, readable_errors(self.path):
            return self._database.execute(statement, tuple(parameters)).fetchall()


def _open(path: Path) -> sqlite3.Connection:
    create_private_file(path)
    return open_sqlite(path, lambda database: _prepare(database, path), timeout=BUSY)


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    # NORMAL: a power cut may cost the last seconds of a log, and no camera waits for a card to sync.
    configure(database, "auto_vacuum=INCREMENTAL", "synchronous=NORMAL")
    read_version(database, path, VERSION)
    database.executescript(TABLES)
    database.execute(f"PRAGMA user_version = {VERSION}")


def encrypt_log_beside(gallery: Gallery) -> None:
    """Encrypt the faces in the log beside ``gallery`` if the gallery is encrypted; see ``AppearanceLog.encrypt``."""
    path = gallery.path.with_name(FILE)
    if path.exists():
        with AppearanceLog(path, lambda: gallery.cipher) as log:
            log.encrypt()
