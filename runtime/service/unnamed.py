"""What rkface keeps of a person without the name, when the person is forgotten: appearances as a stranger, and entries
of the ignore list."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.errors import RkfaceError
from ..gallery.gallery import Gallery
from ..gallery.people import Person, Sample
from .appearance_log import AppearanceLog


def erase_unnamed(gallery: Gallery, log: AppearanceLog, person: Person) -> tuple[str, ...]:
    """Delete from ``log`` the appearances in which ``person`` was a stranger: those whose embedding reaches the match
    threshold with a sample. Call it before the samples are deleted.

    Returns a sentence for what is left: that it could not be done, or that the ignore list has such a face.
    """
    try:
        samples = gallery.samples(person)
        newest = log.newest(1)
        threshold = newest[0].threshold if newest else 1.0
        for identity in {sample.identity for sample in samples}:
            own = np.stack([sample.embedding for sample in samples if sample.identity == identity])
            stored = log.embeddings(identity, "")
            if len(stored) and stored.vectors.shape[1] == own.shape[1]:
                alike = (stored.vectors @ own.T).max(axis=1) >= threshold
                log.delete(id for id, one in zip(stored.ids, alike.tolist(), strict=True) if one)
        return _find_on_ignore_list(gallery, samples, threshold)
    except RkfaceError as error:
        return (f"appearances in which the person was a stranger may remain until they are too old: {error}",)


def _find_on_ignore_list(gallery: Gallery, samples: Sequence[Sample], threshold: float) -> tuple[str, ...]:
    probes = [sample.embedding for sample in samples if sample.identity == gallery.identity]
    if not probes or float(gallery.anchor_cosines(np.stack(probes)).max()) < threshold:
        return ()
    return ("the ignore list has a face like this person's: `rkface strangers ignored` lists it, `restore` deletes it",)
