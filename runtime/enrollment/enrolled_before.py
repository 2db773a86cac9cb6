"""Which photos of a folder an interrupted run has enrolled already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..core.errors import InputError
from ..core.text import in_a_line
from ..gallery.gallery import Gallery
from ..gallery.rows import find_spelling
from .photo_folders import PersonPhoto


def find_enrolled(gallery: Gallery, photos: Sequence[PersonPhoto]) -> frozenset[Path]:
    """The files of ``photos`` from which ``gallery`` has a sample of the person, of this model, and which have not been
    changed since. The file is recognized by its path, as it was given: a run from another folder enrolls it again. So
    are files whose paths differ only in characters that the gallery does not keep."""
    rows = gallery.read(
        "SELECT person.name, source, MAX(sample.created) FROM sample JOIN person ON person = person.id "
        "WHERE identity = ? GROUP BY person.name, source",
        [gallery.identity],
    )
    enrolled = {(name, source): created for name, source, created in rows}
    sources = Counter(_source(photo) for photo in photos)
    return frozenset(
        photo.path for photo in photos if sources[_source(photo)] == 1 and _is_enrolled(gallery, photo, enrolled)
    )


def _source(photo: PersonPhoto) -> str:
    """What the gallery keeps of the file's path."""
    return in_a_line(str(photo.path))


def _is_enrolled(gallery: Gallery, photo: PersonPhoto, enrolled: dict[tuple[str, str], float]) -> bool:
    try:
        created = enrolled.get((find_spelling(gallery, photo.person), _source(photo)))
        return created is not None and not photo.problem and photo.path.stat().st_mtime <= created
    except (InputError, OSError):  # a name that is not one, or a file that is gone: enrollment says so
        return False
