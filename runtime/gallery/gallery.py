"""The gallery: who is known, and by which samples. SQLite holds the truth; the search index is rebuilt from it.

What it holds is biometric data. The file is for its owner only, and nothing of it is ever logged.
"""

from __future__ import annotations

import difflib
import json
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, RkfaceError
from ..core.text import shell_quoted
from ..vision.embed import unit
from .encryption import SETTING, Key, NoCipher, open_cipher
from .match import Match
from .people import GalleryState, Person, Sample, check_name
from .schema import explained, open_database, transaction
from .search import Precision
from .snapshot import Snapshot, read_snapshot

BOARD = Path("/var/lib/rkface")
FILE = "gallery.sqlite"


def default_path() -> Path:
    """Where the service of a board keeps its gallery, or the working folder where there is none."""
    return (BOARD if os.access(BOARD, os.W_OK) else Path()) / FILE


class Gallery:
    """People and samples at ``path``, with search in memory. Any thread may use it; a context manager.

    ``identity`` is ``embedding_identity`` of the bundle that makes the probes; None takes whatever the gallery holds
    (for listing, exporting and so on). A gallery takes the identity of its first sample and changes it by ``reembed``
    alone. An encrypted gallery needs its ``key`` for all that touches embeddings and crops; who is in it can be listed,
    backed up and forgotten without.
    """

    def __init__(
        self,
        path: Path,
        identity: str | None = None,
        *,
        create: bool = False,
        precision: Precision = "auto",
        key: Key | None = None,
    ) -> None:
        self.path = path
        self.database = open_database(path, create=create)
        self.lock = threading.RLock()
        self.searches = 0
        self._wanted = identity
        self._key = key
        self._cipher: tuple[str | None, NoCipher] | None = None
        self._precision = precision
        self._current: Snapshot | None = None  # replaced in one step, so that a search needs no lock

    def close(self) -> None:
        with self.lock:
            self.database.close()

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of the block or nothing, on the disk when it returns."""
        with self.lock, explained(self.path), transaction(self.database):
            yield self.database

    @contextmanager
    def reading(self) -> Iterator[None]:
        """What is read in the block is of one moment, whatever other processes write."""
        with self.lock, explained(self.path):
            self.database.execute("BEGIN")
            try:
                yield
            finally:
                self.database.execute("COMMIT")

    def read(self, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
        with self.lock, explained(self.path):
            return self.database.execute(statement, parameters).fetchall()

    def use_key(self, key: Key) -> None:
        """Use ``key`` from now on."""
        self._key, self._cipher = key, None
        self.changed()

    @property
    def cipher(self) -> NoCipher:
        """What embeddings and crops are encrypted with. InputError without the key, or with one that does not fit."""
        found = self.read("SELECT value FROM setting WHERE name = ?", [SETTING])
        proof = found[0][0] if found else None
        if self._cipher is None or self._cipher[0] != proof:  # another process may have encrypted it
            self._cipher = proof, open_cipher(self.path, proof, self._key)
        return self._cipher[1]

    @property
    def identity(self) -> str | None:
        """Of the samples that are searched; None while there has been no sample."""
        found = self.read("SELECT value FROM setting WHERE name = 'identity'")
        return found[0][0] if found else None

    def set_identity(self, identity: str) -> None:
        """Inside ``writing``: from now on these are the embeddings that are searched."""
        self.database.execute("INSERT OR REPLACE INTO setting VALUES ('identity', ?)", [identity])

    def people(self) -> list[Person]:
        """Everyone, by name."""
        return self._select("ORDER BY name")

    def person(self, key: str) -> Person:
        """By id or by name. InputError, with the names that look alike, for nobody."""
        found = self._select("WHERE person.id = ?1 OR name = ?1 ORDER BY person.id = ?1 DESC", [key])
        if found:
            return found[0]
        near = difflib.get_close_matches(key, [person.name for person in self.people()], n=3)
        hint = (
            f"did you mean {' or '.join(near)}?"
            if near
            else f"`rkface gallery list --gallery {shell_quoted(self.path)}` has all"
        )
        raise InputError(f"{self.path}: nobody is called {key!r}: {hint}")

    def _select(self, clause: str, parameters: Sequence[Any] = ()) -> list[Person]:
        rows = self.read(
            "SELECT id, name, metadata, created, changed, (SELECT count(*) FROM sample WHERE person = person.id) "
            f"FROM person {clause}",
            parameters,
        )
        return [Person(id, name, json.loads(metadata), *rest) for id, name, metadata, *rest in rows]

    def samples(self, person: Person) -> list[Sample]:
        """All of one person, oldest first."""
        rows = self.read(
            "SELECT embedding, image, quality, source, created, identity, id FROM sample "
            "LEFT JOIN crop ON sample = id WHERE person = ? ORDER BY id",
            [person.id],
        )
        decrypt = self.cipher.decrypt
        return [
            Sample(np.frombuffer(decrypt(embedding), "<f4"), None if crop is None else decrypt(crop), *rest)
            for embedding, crop, *rest in rows
        ]

    def holds(self, name: str, sample: Sample) -> bool:
        """Whether ``name`` has this very embedding already."""
        rows = self.read("SELECT embedding FROM sample JOIN person ON person.id = person WHERE name = ?", [name])
        decrypt = self.cipher.decrypt
        return _stored(sample.embedding) in {decrypt(embedding) for (embedding,) in rows}

    def add(self, name: str, samples: Iterable[Sample], metadata: Mapping[str, Any] | None = None) -> Person:
        """Add samples, and the person ``name`` where there is none yet; ``metadata`` is joined to what there is.

        Whatever this returns for is on the disk. InputError, and nothing added, for a name that is none or a sample of
        another identity or length, or with what is no number.
        """
        check_name(name)
        fresh, now, ids = list(samples), time.time(), []
        with self.lock:  # also until it is in memory: nobody is changed between
            with self.writing() as database:
                found = self._select("WHERE name = ?", [name])
                id = found[0].id if found else uuid.uuid4().hex
                known = found[0].metadata if found else {}
                database.execute(
                    "INSERT INTO person VALUES (?1, ?2, ?3, ?4, ?4) "
                    "ON CONFLICT (id) DO UPDATE SET metadata = ?3, changed = ?4",
                    [id, name, json.dumps({**known, **(metadata or {})}, ensure_ascii=False), now],
                )
                for sample in fresh:
                    identity = self._accepted(sample)
                    cursor = database.execute(
                        "INSERT INTO sample (person, identity, embedding, quality, source, created) "
                        "VALUES (?, ?, ?, ?, ?, ?)",
                        [
                            id,
                            identity,
                            self.cipher.encrypt(_stored(sample.embedding)),
                            sample.quality,
                            sample.source,
                            sample.created or now,
                        ],
                    )
                    ids.append(int(cursor.lastrowid or 0))
                    if sample.crop is not None:
                        database.execute("INSERT INTO crop VALUES (?, ?)", [ids[-1], self.cipher.encrypt(sample.crop)])
            person = self.person(id)
            self.changed(lambda now: now.plus(person, fresh, ids))
            return person

    def _accepted(self, sample: Sample) -> str:
        """The identity to store ``sample`` with; the first sample of a gallery decides it."""
        own = self.identity
        identity = sample.identity or self._wanted or own
        if identity is None:
            raise InputError(f"{self.path}: a first sample needs the identity of its model: use --bundle")
        if own is None or (identity != own and not self.read("SELECT 1 FROM sample LIMIT 1")):
            self.set_identity(identity)
        elif identity != own:
            raise InputError(
                f"{self.path} holds embeddings of another model or alignment (identity {own[:8]}, not {identity[:8]}), "
                "which cannot be compared: run "
                f"`rkface gallery reembed --gallery {shell_quoted(self.path)} --bundle DIR`"
            )
        rows = self.read("SELECT length(embedding) FROM sample WHERE identity = ? LIMIT 1", [identity])
        numbers = (rows[0][0] - self.cipher.overhead) // 4 if rows else len(sample.embedding)
        if sample.embedding.shape != (numbers,):
            raise InputError(f"an embedding of {sample.embedding.shape}, the gallery's have {numbers} numbers")
        if not np.isfinite(sample.embedding).all():  # beside one such nobody would be found
            raise InputError("an embedding with infinite numbers or none: the recognizer fails on this face")
        return identity

    def remove(self, person: Person, samples: Collection[int]) -> None:
        """Delete some samples of ``person``, by their ids; backups keep them. InputError, and nothing deleted, where
        one is not this person's."""
        with self.writing() as database:
            own = {id for (id,) in database.execute("SELECT id FROM sample WHERE person = ?", [person.id])}
            if strange := sorted(set(samples) - own):
                raise InputError(f"{person.name!r} has no sample {strange[0]}: `rkface gallery show` has their numbers")
            database.executemany("DELETE FROM sample WHERE id = ?", [(id,) for id in samples])
            database.execute("UPDATE person SET changed = ? WHERE id = ?", [time.time(), person.id])
        self.changed()

    def rename(self, person: Person, name: str) -> None:
        """InputError for a name that is none or that of somebody else."""
        check_name(name)
        other = self._select("WHERE name = ?", [name])
        if other and other[0].id != person.id:
            raise InputError(f"{name!r} is somebody else's name: if they are one person, use `rkface gallery merge`")
        with self.writing() as database:
            database.execute("UPDATE person SET name = ?, changed = ? WHERE id = ?", [name, time.time(), person.id])
        self.changed()

    def merge(self, person: Person, into: Person) -> None:
        """All samples of ``person`` become those of ``into``, who keeps name, id and, where both say something, its
        metadata; ``person`` is gone."""
        if person.id == into.id:
            raise InputError(f"{person.name!r} cannot be merged into the same person")
        now = time.time()
        with self.writing() as database:
            database.execute("UPDATE sample SET person = ? WHERE person = ?", [into.id, person.id])
            database.execute("DELETE FROM person WHERE id = ?", [person.id])
            database.execute("UPDATE former SET person = ? WHERE person = ?", [into.id, person.id])
            database.execute("INSERT OR REPLACE INTO former VALUES (?, ?, ?)", [person.id, into.id, now])
            database.execute(
                "UPDATE person SET metadata = ?, changed = ? WHERE id = ?",
                [json.dumps(person.metadata | into.metadata, ensure_ascii=False), now, into.id],
            )
        self.changed()

    def search(self, probes: NDArray[np.float32], k: int = 1) -> list[list[Match]]:
        """The ``k`` people nearest to each of N×D unit ``probes``, best first, whatever their cosine. Samples of other
        identities are ignored: ``state().ignored`` says how many."""
        snapshot = self._snapshot()
        self.searches += len(probes)
        found = snapshot.index.search(probes, k, self._read_exactly)
        people = snapshot.people
        return [[Match(people[hit.owner].id, people[hit.owner].name, hit.cosine) for hit in hits] for hits in found]

    def refresh(self) -> bool:
        """Take over what other processes changed; True where something was. Costs microseconds where nothing was.
        Searches in other threads go on with the old state meanwhile."""
        with self.lock:
            if self._current is not None and self.version() == self._current.version:
                return False
            self._current = self._read()
            return True

    def state(self) -> GalleryState:
        own, current = self.identity, self._current
        people, total, searched = self.read(
            "SELECT (SELECT count(*) FROM person), count(*), count(CASE identity WHEN ? THEN 1 END) FROM sample",
            [own if self._wanted in (None, own) else None],
        )[0]
        precision = current.index.precision if current is not None else ""
        return GalleryState(people, total, total - searched, precision, self.searches)

    def changed(self, successor: Callable[[Snapshot], Snapshot] | None = None) -> None:
        """After ``writing``: renew what is searched, if anything is yet, by ``successor`` where nobody else wrote. What
        was searched before is no longer so, even where the new cannot be read: then the next search tries again."""
        with self.lock:
            now = self._current
            if now is None:
                return
            try:
                fits = successor is not None and len(now.index) and now.version == self.version()
                self._current = successor(now) if successor and fits else self._read()
            except RkfaceError:
                self._current = None
                raise

    def version(self) -> int:
        """Changes when another process writes, never by what this one does."""
        return int(self.read("PRAGMA data_version")[0][0])

    def _read(self) -> Snapshot:
        version = self.version()
        with self.reading():
            people, own = tuple(self.people()), self.identity
            searched = own if self._wanted in (None, own) else None
            decrypt = self.cipher.decrypt if searched is not None else bytes
            return read_snapshot(self.database, searched, people, decrypt, version=version, precision=self._precision)

    def _read_exactly(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """For ``Index.search``: those of the samples ``ids`` that still exist, and their vectors."""
        rows = self.read(
            "SELECT id, embedding FROM sample WHERE id IN (SELECT value FROM json_each(?))", [json.dumps(ids.tolist())]
        )
        decrypt = self.cipher.decrypt
        vectors = [np.frombuffer(decrypt(embedding), "<f4") for _, embedding in rows]
        shape = len(rows), -1 if rows else 0
        return np.array([id for id, _ in rows], np.int64), np.array(vectors, np.float32).reshape(shape)

    def _snapshot(self) -> Snapshot:
        current = self._current
        if current is None:
            with self.lock:
                current = self._current = self._current or self._read()
        return current


def _stored(embedding: NDArray[np.float32]) -> bytes:
    """What is already of unit length keeps its bits, so that it can be exported and imported again."""
    whole = embedding if abs(float(embedding @ embedding) - 1) < 1e-6 else unit(embedding)
    return whole.astype("<f4").tobytes()
