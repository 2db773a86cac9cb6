"""What of a gallery is held in memory to be searched, and how it is read from the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..vision.embed import unit
from .people import Person, Sample
from .search import Index, Precision, build, chosen

BATCH = 2048  # samples, 4 MB: beside what is searched, only so many are in memory


@dataclass(frozen=True)
class Snapshot:
    """What is searched: owners in ``index`` are places in ``people``. ``version`` is SQLite's when it was read."""

    index: Index
    people: tuple[Person, ...]
    version: int

    def plus(self, person: Person, samples: Sequence[Sample], ids: Sequence[int]) -> Snapshot:
        """A copy with new samples of one person, new or known, without reading the rest again."""
        place = next((place for place, known in enumerate(self.people) if known.id == person.id), len(self.people))
        people = (*self.people[:place], person, *self.people[place + 1 :])
        if not samples:
            return Snapshot(self.index, people, self.version)
        vectors = unit(np.stack([sample.embedding for sample in samples]))
        return Snapshot(self.index.plus(vectors, ids, [place] * len(ids)), people, self.version)


def read_snapshot(
    database: sqlite3.Connection,
    identity: str | None,
    people: tuple[Person, ...],
    decrypt: Callable[[bytes], bytes],
    *,
    version: int,
    precision: Precision,
) -> Snapshot:
    """``people`` and all their samples of ``identity``, read inside the caller's transaction; no samples for None."""
    empty = build(np.zeros((0, 1), np.float32), [], [])
    if identity is None:
        return Snapshot(empty, people, version)
    places = {person.id: place for place, person in enumerate(people)}
    ((count,),) = database.execute("SELECT count(*) FROM sample WHERE identity = ?", [identity])
    index = build(np.zeros((0, 1), np.float32), [], [], chosen(precision, count))
    rows = database.execute("SELECT id, person, embedding FROM sample WHERE identity = ?", (identity,))
    while some := rows.fetchmany(BATCH):
        vectors = np.stack([np.frombuffer(decrypt(embedding), "<f4") for _, _, embedding in some])
        index = index.plus(vectors, [id for id, _, _ in some], [places[person] for _, person, _ in some])
    return Snapshot(index, people, version)
