"""What of a gallery is held in memory to be searched, and how it is read from the file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..vision.embed import unit
from .people import Person, Sample
from .search import Index, Precision, build, chosen

if TYPE_CHECKING:
    from .gallery import Gallery

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


def read_snapshot(gallery: Gallery, identity: str | None, version: int, precision: Precision) -> Snapshot:
    """Everyone in ``gallery``, and its samples where it is of ``identity`` (None: of whichever it is)."""
    with gallery.reading():
        people, own = tuple(gallery.people()), gallery.identity
        if own is None or identity not in (None, own):
            return Snapshot(build(np.zeros((0, 1), np.float32), [], []), people, version)
        places = {person.id: place for place, person in enumerate(people)}
        ((count,),) = gallery.read("SELECT count(*) FROM sample WHERE identity = ?", [own])
        index = build(np.zeros((0, 1), np.float32), [], [], chosen(precision, count))
        unseal = gallery.seal.open
        rows = gallery.database.execute("SELECT id, person, embedding FROM sample WHERE identity = ?", (own,))
        while some := rows.fetchmany(BATCH):
            vectors = np.stack([np.frombuffer(unseal(embedding), "<f4") for _, _, embedding in some])
            index = index.plus(vectors, [id for id, _, _ in some], [places[person] for _, person, _ in some])
    return Snapshot(index, people, version)


def read_exactly(gallery: Gallery, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For ``Index.search``: those of the samples ``ids`` that still exist, and their vectors."""
    rows = gallery.read(
        "SELECT id, embedding FROM sample WHERE id IN (SELECT value FROM json_each(?))", [json.dumps(ids.tolist())]
    )
    unseal = gallery.seal.open
    vectors = [np.frombuffer(unseal(embedding), "<f4") for _, embedding in rows]
    return np.array([id for id, _ in rows], np.int64), np.array(vectors, np.float32).reshape(
        len(rows), -1 if rows else 0
    )
