"""Checking a gallery for damage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

from ..core.errors import InputError, RkfaceError
from ..core.sqlite import find_damage
from .anchors import find_damaged_anchors
from .gallery import Gallery
from .reviews import find_damaged_reviews
from .rows import find_damaged_people, find_damaged_samples
from .schema import gallery_errors

MOST_PROBLEMS = 20  # in one answer


def find_problems(gallery: Gallery) -> list[str]:
    """Check the whole file of ``gallery`` and all its rows. Returns one sentence for each problem, at most 20.

    The values of an encrypted gallery are checked too if it was opened with its key.
    """
    return list(islice(_find_problems(gallery), MOST_PROBLEMS))


def _find_problems(gallery: Gallery) -> Iterator[str]:
    with gallery.lock, gallery_errors(gallery.path):
        problem = find_damage(gallery.database)
        orphans = gallery.database.execute("PRAGMA foreign_key_check").fetchall()
    if problem is not None:
        yield problem
    if orphans:
        yield f"{len(orphans)} samples, crops or anchors belong to nobody"
    try:
        yield from find_damaged_people(gallery)
        with suppress(InputError):  # encrypted, and without the key
            yield from find_damaged_samples(gallery, gallery.cipher)
            yield from find_damaged_anchors(gallery, gallery.cipher)
            yield from find_damaged_reviews(gallery)
    except RkfaceError as error:
        yield str(error)
