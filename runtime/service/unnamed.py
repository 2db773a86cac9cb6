"""What rkface keeps of a person without the name, when the person is forgotten: appearances as a stranger, reviews
of them, and entries of the ignore list."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..core.errors import RkfaceError
from ..events import PictureStore
from ..gallery.gallery import Gallery
from ..gallery.people import Person, Sample
from ..gallery.reviews import list_reviews, read_review_embeddings, remove_reviews
from .appearance_log import AppearanceLog


def erase_unnamed(
    gallery: Gallery, log: AppearanceLog, pictures: PictureStore | None, person: Person
) -> tuple[str, ...]:
    """Delete the appearances in which ``person`` was a stranger, from ``log`` and from the ``pictures`` of alerts, and
    reviews that say that such a face is nobody: those whose embedding reaches the match threshold with a sample. Call
    it before the samples are deleted.

    Returns sentences for what is left: that it could not be done, that backups have such reviews, or that the ignore
    list has such a face.
    """
    left: tuple[str, ...] = ()
    try:
        samples = gallery.samples(person)
        newest = log.newest(1)
        threshold = newest[0].threshold if newest else 1.0
        reviewed = [review for review in list_reviews(gallery) if review.embedding and review.person is None]
        for identity in {sample.identity for sample in samples}:
            own = np.stack([sample.embedding for sample in samples if sample.identity == identity])
            stored = log.embeddings(identity, "")
            alike = _find_alike(stored.ids, stored.vectors, own, threshold)
            if pictures is not None:  # first: without the log, nothing says whom they show
                pictures.erase_appearances(alike)
            log.delete(alike)
            found = read_review_embeddings(gallery, identity, [review.appearance for review in reviewed])
            least = min([threshold, *(review.threshold for review in reviewed)])
            vectors = np.stack(list(found.values())) if found else np.zeros((0, 0), np.float32)
            if remove_reviews(gallery, _find_alike(list(found), vectors, own, least)):
                left = ("backups from before keep embeddings of reviews of this face, which name nobody",)
        return left + _find_on_ignore_list(gallery, samples, threshold)
    except RkfaceError as error:
        return (f"appearances in which the person was a stranger may remain until they are too old: {error}",)


def _find_alike(
    ids: Sequence[str], vectors: NDArray[np.float32], own: NDArray[np.float32], threshold: float
) -> list[str]:
    """The ``ids`` of those of the N×D ``vectors`` that reach the ``threshold`` with one of the S×D vectors ``own``."""
    if not len(vectors) or vectors.shape[1] != own.shape[1]:
        return []
    alike = (vectors @ own.T).max(axis=1) >= threshold
    return [id for id, one in zip(ids, alike.tolist(), strict=True) if one]


def _find_on_ignore_list(gallery: Gallery, samples: Sequence[Sample], threshold: float) -> tuple[str, ...]:
    probes = [sample.embedding for sample in samples if sample.identity == gallery.identity]
    if not probes or float(gallery.anchor_cosines(np.stack(probes)).max()) < threshold:
        return ()
    return (
        "the ignore list has a face like this person's: `rkface strangers ignored` lists it, and `rkface strangers "
        "restore` deletes it",
    )
