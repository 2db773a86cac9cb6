"""The state of a gallery in memory that is searched, and reading it from the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..core.sqlite import DamagedContentError
from ..vision.embed import unit
from .anchors import read_anchors
from .blocks import Precision
from .database import GalleryDatabase
from .people import PersonName, Sample
from .rows import embedding_opener, select_names
from .search import Index, build_index, choose_precision
from .stored_values import BATCH, SELECT_EMBEDDINGS, embeddings_from_bytes


@dataclass(frozen=True)
class Snapshot:
    """A state of the gallery. Owners in ``index`` are positions in ``people``. ``version``: SQLite's data version of
    the file when it was read. ``anchors``: A×D float32, the ignore list (see ``anchors``)."""

    index: Index
    people: tuple[PersonName, ...]
    version: int
    anchors: NDArray[np.float32]

    @property
    def dimensions(self) -> int:
        """D, or 0 if there are neither samples nor anchors."""
        return self.index.dimensions or self.anchors.shape[1]

    def anchor_cosines(self, probes: NDArray[np.float32]) -> NDArray[np.float32]:
        """The cosine of each of the B×D ``probes`` with the anchor that is nearest to it, B float32. There must be an
        anchor."""
        cosines: NDArray[np.float32] = (probes @ self.anchors.T).max(axis=1)
        return cosines

    def with_samples(self, person: PersonName, samples: Sequence[Sample], ids: Sequence[int]) -> Snapshot:
        """A copy with new samples of one person, who may be new; the other samples are not read again."""
        place = next((place for place, known in enumerate(self.people) if known.id == person.id), len(self.people))
        people = (*self.people[:place], person, *self.people[place + 1 :])
        if not samples:
            return replace(self, people=people)
        vectors = unit(np.stack([sample.embedding for sample in samples]))
        return replace(self, index=self.index.with_samples(vectors, ids, [place] * len(ids)), people=people)


def read_snapshot(gallery: GalleryDatabase, version: int, precision: Precision) -> Snapshot:
    """Read the people, the samples that can be searched and the ignore list, inside the caller's transaction.
    ``version``: of the file before it. Raises DamagedContentError if an embedding cannot be right, InputError if the
    gallery is encrypted and was opened without its key."""
    people, identity, database = select_names(gallery), gallery.identity, gallery.database
    if identity is None or gallery.expected_identity not in (None, identity):
        index = build_index(np.zeros((0, 1), np.float32), [], [])
        return Snapshot(index, people, version, np.zeros((0, 0), np.float32))
    open_embedding = embedding_opener(gallery)  # first: it binds the values of an older rkface to their places
    anchors = read_anchors(gallery, identity)
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
    if len(index) and len(anchors) and anchors.shape[1] != index.dimensions:
        raise DamagedContentError("the anchors have another length than the samples")
    return Snapshot(index, people, version, anchors)
