"""Anchors: the embeddings of the faces on the ignore list. A face that is nearer to one of them than to every person is
nobody. This module reads and writes their rows; ``ignored`` has what users do with the list.

A letter is a dimension: A anchors, B probes, D numbers of an embedding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.sqlite import DamagedContentError
from .bound_values import AnchorPlace, altered_anchor
from .database import GalleryDatabase
from .encryption import AlteredError, NoCipher
from .match import Match
from .people import Sample, check_sample
from .rows import check_embedding, embedding_to_bytes, identity_of
from .schema import gallery_errors
from .stored_values import SELECT_ANCHORS, embeddings_from_bytes

TIE = 1e-5  # cosines this close are equal: a bound for the error of a float32 sum of 512 products

NO_ANCHOR = -2.0  # the cosine with an empty list: below any other, so that no threshold reaches it


def read_anchors(gallery: GalleryDatabase, identity: str) -> NDArray[np.float32]:
    """The anchors of the model ``identity``, A×D float32; 0×0 without anchors. Call it inside a transaction. Raises
    DamagedContentError or AlteredError, and InputError if the gallery is encrypted and was opened without its key."""
    cipher = gallery.cipher  # first: it may change the rows of an older rkface
    rows = gallery.database.execute(f"{SELECT_ANCHORS} WHERE identity = ? ORDER BY id", [identity]).fetchall()
    if not rows:
        return np.zeros((0, 0), np.float32)

    def open_anchor(row: Sequence[Any]) -> bytes:
        place = AnchorPlace(*row[:3])
        with altered_anchor(gallery.path, place):
            return cipher.decrypt(row[3], place.embedding)

    return embeddings_from_bytes([row[0] for row in rows], map(open_anchor, rows), what="anchor")


def nearer_than_anchors(found: Sequence[list[Match]], cosines: NDArray[np.float32]) -> list[list[Match]]:
    """The matches ``found`` for B probes, without those who are farther from the probe than an anchor is.

    ``cosines``: B, of each probe with the anchor that is nearest to it."""
    return [
        [match for match in matches if match.cosine >= cosine - TIE]
        for matches, cosine in zip(found, cosines.tolist(), strict=True)
    ]


def is_ignored(matches: Sequence[Match], anchor_cosine: float, threshold: float) -> bool:
    """Whether a face is on the ignore list: an anchor is as near as ``threshold``, and nearer than every person.

    ``matches``: what ``Gallery.search`` found for the face; ``anchor_cosine``: ``Gallery.anchor_cosines`` of it."""
    return not matches and anchor_cosine >= threshold


def insert_anchor(gallery: GalleryDatabase, ignored: str, face: Sample) -> None:
    """Insert an anchor of the entry ``ignored`` of the ignore list, inside a transaction. Raises InputError if the
    embedding is of another model, has the wrong shape, or contains NaN or infinity."""
    check_sample(face)
    identity = identity_of(face, gallery)
    check_embedding(face.embedding, gallery, identity)
    ((id,),) = gallery.read(
        "SELECT max((SELECT coalesce(max(id), 0) FROM anchor), (SELECT coalesce(max(seq), 0) FROM sqlite_sequence "
        "WHERE name = 'anchor')) + 1"
    )
    place, cipher = AnchorPlace(id, ignored, identity), gallery.cipher
    embedding = cipher.encrypt(embedding_to_bytes(face.embedding), place.embedding)
    image = None if face.crop is None else cipher.encrypt(face.crop, place.crop)
    gallery.database.execute(
        "INSERT INTO anchor (id, ignored, identity, embedding, image, quality) VALUES (?, ?, ?, ?, ?, ?)",
        [id, ignored, identity, embedding, image, float(face.quality)],
    )


def read_anchor_crops(gallery: GalleryDatabase, ignored: str | None = None) -> list[tuple[AnchorPlace, bytes]]:
    """The places and the stored pictures of the anchors of one entry, or of all, best quality first. Raises
    AlteredError."""
    rows = gallery.read(
        "SELECT id, ignored, identity, image FROM anchor WHERE image IS NOT NULL AND (?1 IS NULL OR ignored = ?1) "
        "ORDER BY quality DESC, id",
        [ignored],
    )
    crops = []
    for *where, image in rows:
        place = AnchorPlace(*where)
        with altered_anchor(gallery.path, place):
            crops.append((place, gallery.cipher.decrypt(image, place.crop)))
    return crops


def find_damaged_anchors(gallery: GalleryDatabase, cipher: NoCipher) -> Iterator[str]:
    """A sentence for each anchor with a value that cannot be right, or that was tampered with."""
    for *where, embedding, image in gallery.read("SELECT id, ignored, identity, embedding, image FROM anchor"):
        place = AnchorPlace(*where)
        try:
            with altered_anchor(gallery.path, place), gallery_errors(gallery.path):
                embeddings_from_bytes([place.anchor], [cipher.decrypt(embedding, place.embedding)], what="anchor")
                if image is not None:
                    cipher.decrypt(image, place.crop)
        except (DamagedContentError, AlteredError) as error:
            yield str(error)
