"""The state of a gallery in memory that is searched, and reading it from the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.sqlite import DamagedContentError
from ..vision.embed import unit
from .blocks import Precision
from .people import PersonName, Sample
from .search import Index, build_index, choose_precision
from .stored_values import BATCH, SELECT_EMBEDDINGS, OpenEmbedding, embeddings_from_bytes


@dataclass(frozen=True)
class Snapshot:
    """A state of the gallery. Owners in ``index`` are positions in ``people``. ``version``: SQLite's data version of
    the file when it was read."""

    index: Index
    people: tuple[PersonName, ...]
    version: int

    def with_samples(self, person: PersonName, samples: Sequence[Sample], ids: Sequence[int]) -> Snapshot:
        """A copy with new samples of one person, who may be new; the other samples are not read again."""
        place = next((place for place, known in enumerate(self.people) if known.id == person.id), len(self.people))
        people = (*self.people[:place], person, *self.people[place + 1 :])
        if not samples:
            return Snapshot(self.index, people, self.version)
        vectors = unit(np.stack([sample.embedding for sample in samples]))
        return Snapshot(self.index.with_samples(vectors, ids, [place] * len(ids)), people, self.version)


def read_snapshot(
    database: sqlite3.Connection,
    identity: str | None,
    people: tuple[PersonName, ...],
    open_embedding: OpenEmbedding,
    *,
    version: int,
    precision: Precision,
) -> Snapshot:
    """Read all samples of ``people`` with ``identity`` (None: no samples) inside the caller's transaction. Raises
    DamagedContentError if an embedding cannot be right."""
    index = build_index(np.zeros((0, 1), np.float32), [], [])
    if identity is None:
        return Snapshot(index, people, version)
    places = {person.id: place for place, person in enumerate(people)}
    ((count,),) = database.execute("SELECT count(*) FROM sample WHERE identity = ?", [identity])
    index = build_index(np.zeros((0, 1), np.float32), [], [], choose_precision(precision, count))
    rows = database.execute(f"{SELECT_EMBEDDINGS} WHERE identity = ?", (identity,))
    while some := rows.fetchmany(BATCH):
        ids = [row[0] for row in some]
        vectors = embeddings_from_bytes(ids, map(open_embedding, some), index.dimensions)
        index = index.with_samples(vectors, ids, [places[row[1]] for row in some])
    if len(index) != count:
        raise DamagedContentError(f"{count - len(index)} samples belong to nobody")
    return Snapshot(index, people, version)
