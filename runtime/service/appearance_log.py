"""The appearance log, in its own SQLite file: who was where and when, for as long as the settings allow.

It contains names and, if the settings allow it, pictures and embeddings of faces. Only the owner can read the file, and
pictures and embeddings are encrypted if the gallery is encrypted.
"""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..alerts.rule import LONGEST_COOLDOWN
from ..core.errors import WorkError
from ..core.shared_database import SharedDatabase
from ..core.sqlite import move_damaged_file_away
from ..core.stored_clock import StoredClock
from ..gallery.encryption import NoCipher
from ..tracking.appearance import Appearance
from .appearance_tables import SCRUB, open_log
from .settings import DAY, Keep
from .sighting import EMBEDDING, PNG, Sighting, StoredEmbeddings, pack_embedding, unpack_embedding

MOST = 200  # appearances in one answer
NOTHING = Sighting()
KEPT = "its -wal file keeps what was deleted: stop it"

log = getLogger("rkface.appearances")


@dataclass(frozen=True)
class LoggedAppearance(Appearance):
    """``face``: whether a picture of the best shot is stored. ``renamed``: whether the person was named afterwards."""

    face: bool = False
    renamed: bool = False


class AppearanceLog(SharedDatabase):
    """The log at ``path``: one row per appearance, at its last stage. Thread-safe; a context manager.

    ``cipher`` returns the cipher for the faces: that of the gallery, which may be encrypted at any time. Ages come from
    a ``SteadyClock`` in the file, so no clock that jumps deletes what is young. ``clock`` is the monotonic clock, and
    ``wall`` the wall clock, in seconds.

    A damaged file is moved aside and a new one is created, because the service must start without its log, too. Raises
    WorkError if the file cannot be opened, and InputError if a newer version of rkface made it.
    """

    def __init__(
        self,
        path: Path,
        cipher: Callable[[], NoCipher] = NoCipher,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._cipher = cipher
        self.clock = StoredClock("appearance", clock, wall, also=("alert",))
        super().__init__(path, open_log, "the appearance log", self._move_away)

    def _move_away(self, error: sqlite3.DatabaseError) -> None:
        aside = move_damaged_file_away(self.path)
        log.error("%s is damaged (%s): it was renamed to %s, and a new log was created", self.path, error, aside.name)

    def record(self, appearance: Appearance, sighting: Sighting = NOTHING) -> None:
        """Store the current stage of ``appearance``, and what may be kept of the face. If the person has become another
        one since the last stage, the stored picture is deleted. Raises WorkError if the log cannot be written."""
        event = json.dumps(appearance.as_event(), ensure_ascii=False)
        person, cipher = appearance.match.person if appearance.match else None, self._cipher()
        face = None if sighting.face is None else cipher.encrypt(sighting.face)
        last = max(appearance.started, appearance.best, appearance.ended)
        with self.writing() as database:
            now = self.clock.advance(database)
            database.execute(
                "INSERT INTO appearance (id, source, person, started, logged, event, face, last) "
                "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (id) DO UPDATE SET person = ?3, started = ?4, "
                "last = ?8, event = ?6, face = iif(person IS ?3, coalesce(?7, face), ?7), "
                "renamed = iif(person IS ?3, renamed, NULL)",
                [appearance.id, appearance.source, person, appearance.started, now, event, face, last],
            )
            if sighting.embedding is not None:
                value = cipher.encrypt(pack_embedding(sighting.embedding))
                database.execute(
                    "INSERT OR REPLACE INTO embedding VALUES (?, ?, ?)", [appearance.id, sighting.identity, value]
                )

    def newest(
        self,
        limit: int = 50,
        before: float | None = None,
        person: str | None = None,
        source: str | None = None,
        *,
        since: float | None = None,
        until: float | None = None,
    ) -> list[LoggedAppearance]:
        """Return the newest appearances, newest start first.

        Args:
            limit: How many, at most. There are more if several started in the same frame as the last one: otherwise
                the next page, which starts ``before`` that frame, would miss them.
            before: Only appearances that started earlier than this; seconds since 1970.
            person: Only this person (an id); "" for unknown people.
            source: Only this camera.
            since: Only appearances that started then or later.
            until: Only appearances that started earlier, as ``before``, but it does not change from page to page.
        """
        if limit < 1:
            return []
        selection = (
            "FROM appearance WHERE (?1 IS NULL OR started < ?1) "
            "AND (?2 IS NULL OR ifnull(person, '') = ?2) AND (?3 IS NULL OR source = ?3) "
            "AND started >= ifnull(?5, -1e308) AND started < ifnull(?6, 1e308)"
        )
        last = f"SELECT started {selection} ORDER BY started DESC LIMIT 1 OFFSET ?4"
        rows = self.read(
            f"SELECT event, face IS NOT NULL, renamed IS NOT NULL {selection} AND started >= ifnull(({last}), -1e308) "
            "ORDER BY started DESC, id",
            [before, person, source, min(limit, MOST) - 1, since, until],
        )
        return [_from_row(row) for row in rows]

    def face(self, id: str) -> bytes | None:
        """Return the aligned face of an appearance, as PNG. None if no face is stored, or if it was stored with another
        key."""
        rows = self.read("SELECT face FROM appearance WHERE id = ? AND face IS NOT NULL", [id])
        with suppress(WorkError):
            return self._cipher().decrypt(rows[0][0]) if rows else None
        return None

    def find(self, id: str) -> LoggedAppearance | None:
        """Return the appearance with this id; None without one."""
        rows = self.read("SELECT event, face IS NOT NULL, renamed IS NOT NULL FROM appearance WHERE id = ?", [id])
        return _from_row(rows[0]) if rows else None

    def embedding(self, id: str) -> tuple[NDArray[np.float32], str] | None:
        """Return the stored embedding of an appearance (D float32) and the model's identity. None if no embedding is
        stored, or if it was stored with another key."""
        for identity, value in self.read("SELECT identity, value FROM embedding WHERE appearance = ?", [id]):
            vector = unpack_embedding(value, self._cipher())
            return None if vector is None else (vector, identity)
        return None

    def embeddings(self, identity: str, person: str | None = None, since: float = -math.inf) -> StoredEmbeddings:
        """The stored embeddings of the model ``identity`` (see ``embedding_identity``).

        Args:
            identity: Embeddings of other models are left out.
            person: Only this person (an id); "" for unknown people; None for everybody.
            since: Only appearances that started then or later; seconds since 1970.
        """
        rows = self.read(
            "SELECT id, person, source, started, CAST(json_extract(event, '$.quality') AS REAL), "
            "face IS NOT NULL, value "
            "FROM embedding JOIN appearance ON id = appearance "
            "WHERE identity = ?1 AND started >= ?2 AND (?3 IS NULL OR ifnull(person, '') = ?3) ORDER BY started, id",
            [identity, max(since, -1e308), person],
        )
        cipher = self._cipher()
        found = [(row, vector) for row in rows if (vector := unpack_embedding(row[-1], cipher)) is not None]
        size = len(found[0][1]) if found else 1
        found = [(row, vector) for row, vector in found if len(vector) == size]
        return StoredEmbeddings(
            ids=tuple(row[0] for row, _ in found),
            people=tuple(row[1] for row, _ in found),
            sources=tuple(row[2] for row, _ in found),
            started=np.array([row[3] for row, _ in found], np.float64),
            quality=np.array([float(row[4] or 0.0) for row, _ in found], np.float64),
            faces=np.array([row[5] for row, _ in found], bool),
            vectors=np.array([vector for _, vector in found], np.float32).reshape(len(found), size),
        )

    def identity(self) -> str | None:
        """The model of the embedding that was stored last; None if there is no embedding."""
        rows = self.read("SELECT identity FROM embedding ORDER BY rowid DESC LIMIT 1")
        return str(rows[0][0]) if rows else None

    def encrypt(self) -> None:
        """If the gallery is encrypted, encrypt the faces and embeddings that were stored before, and leave no byte of
        them in the file. It also finishes an earlier call that was interrupted. Raises WorkError if another program
        reads old pages."""
        cipher = self._cipher()
        if not cipher.overhead:
            return
        with self.writing() as database:
            for table, key, column, start in (
                ("appearance", "id", "face", PNG),
                ("embedding", "appearance", "value", EMBEDDING),
            ):
                plain = f"SELECT {key} FROM {table} WHERE substr({column}, 1, 8) = ?"
                for (id,) in database.execute(plain, [start]).fetchall():
                    (value,) = database.execute(f"SELECT {column} FROM {table} WHERE {key} = ?", [id]).fetchone()
                    encrypted = [cipher.encrypt(value), id]
                    database.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", encrypted)
                    database.execute("INSERT OR REPLACE INTO setting VALUES (?, '1')", [SCRUB])
        if not self.read("SELECT 1 FROM setting WHERE name = ?", [SCRUB]):
            return
        self.remove_deleted_bytes(
            "pictures and embeddings remain unencrypted in its -wal file: stop that program, then run "
            "`rkface gallery check --key FILE`"
        )
        with self.writing() as database:
            database.execute("DELETE FROM setting WHERE name = ?", [SCRUB])

    def count(self) -> int:
        """Return the number of appearances."""
        return int(self.read("SELECT count(*) FROM appearance")[0][0])

    def prune(self, keep: Keep, people: Iterable[str], merged: Mapping[str, str]) -> int:
        """Delete old appearances, pictures and embeddings, and all appearances that name a person who is not among
        ``people`` (ids). Return the number of deleted appearances.

        An appearance of a person who was ``merged`` (old id → new id) is kept under the new id. The age of an
        appearance counts from when it was logged.
        """
        with self.writing() as database:
            now = self.clock.advance(database)
            for old, new in merged.items():
                change = "person = ?1, event = json_set(event, '$.match.person', ?1)"
                database.execute(f"UPDATE appearance SET {change} WHERE person = ?2", [new, old])
                database.execute("UPDATE alert SET person = ? WHERE person = ?", [new, old])
            gone = database.execute(
                "DELETE FROM appearance WHERE logged < ?1 OR "
                "(person IS NOT NULL AND person NOT IN (SELECT value FROM json_each(?2)))",
                [now - keep.appearances * DAY, json.dumps(list(people))],
            ).rowcount
            # A picture of a stranger who was named afterwards was stored as one of a stranger, and ages like that.
            values = database.execute(
                "UPDATE appearance SET face = NULL WHERE face IS NOT NULL AND "
                "logged < iif(person IS NULL OR renamed IS NOT NULL, ?1, ?2)",
                [now - keep.unknown_faces * DAY, now - keep.known_faces * DAY],
            ).rowcount
            values += database.execute(
                "DELETE FROM embedding WHERE appearance IN (SELECT id FROM appearance WHERE logged < ?)",
                [now - keep.embeddings * DAY],
            ).rowcount
            values += database.execute(
                "DELETE FROM alert WHERE logged < ?1 OR "
                "(person IS NOT NULL AND person NOT IN (SELECT value FROM json_each(?2)))",
                [now - max(keep.appearances * DAY, LONGEST_COOLDOWN), json.dumps(list(people))],
            ).rowcount
        if gone or values:
            # The -wal file must not contain it either. If this fails, the next deletion tries again.
            self.shrink()
        return int(gone)

    def delete(self, ids: Iterable[str]) -> int:
        """Delete these appearances with their pictures and embeddings, and leave no byte of them in the file. Return
        how many there were. Raises WorkError if the file cannot be written, or another program reads old pages."""
        named, listed = "IN (SELECT value FROM json_each(?))", [json.dumps(list(ids))]
        with self.writing() as database:
            gone = database.execute(f"DELETE FROM appearance WHERE id {named}", listed).rowcount
            database.execute(f"DELETE FROM alert WHERE appearance {named}", listed)
        if gone:
            self.remove_deleted_bytes(KEPT)
        return int(gone)

    def erase(self, people: Iterable[str]) -> None:
        """Delete all appearances that name one of ``people`` (ids), and leave no byte of them in the file. Raises
        WorkError if the file cannot be written, or another program reads old pages."""
        named, ids = "person IN (SELECT value FROM json_each(?))", json.dumps(list(people))
        with self.writing() as database:
            gone = database.execute(f"DELETE FROM appearance WHERE {named}", [ids]).rowcount
            gone += database.execute(f"DELETE FROM alert WHERE {named}", [ids]).rowcount
        if gone:
            self.remove_deleted_bytes(KEPT)


def _from_row(row: Sequence[Any]) -> LoggedAppearance:
    """The appearance in a row: its event, whether its face is stored, and whether it was renamed."""
    event, face, renamed = row
    return LoggedAppearance(**vars(Appearance.from_event(json.loads(event))), face=bool(face), renamed=bool(renamed))
