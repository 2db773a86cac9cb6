"""Samples that belong to somebody else: they are given to another person."""

from __future__ import annotations

import time
from collections.abc import Collection

from ..core.errors import InputError
from .bound_values import bind_to, is_encrypted
from .gallery import Gallery
from .people import Person, check_person
from .person_changes import check_own_samples
from .rows import insert_person


def move_samples(gallery: Gallery, person: Person, samples: Collection[int], name: str) -> Person:
    """Give some samples of ``person`` (by their numbers) to the person ``name``, who is created if there is no such
    person. Returns that person.

    Backups keep them as samples of ``person``; they are deleted there when the person ``name`` is forgotten.

    Raises InputError if a sample does not belong to ``person``, if all do (that would be ``rename`` or ``merge``), if
    ``name`` is the same person or invalid, or if the gallery is encrypted and was opened without its key. Nothing was
    moved then.
    """
    check_person(person)
    now = time.time()
    with gallery.transaction() as database:
        own = check_own_samples(gallery, person, samples)
        if not samples:
            raise InputError("choose at least one sample to move")
        if own == set(samples):
            raise InputError(
                f"these are all samples of {person.name!r}: rename the person instead, or merge the two people"
            )
        into = insert_person(gallery, name, {}, now)
        if into == person.id:
            raise InputError(f"{person.name!r} has these samples already: choose another name")
        (stored,) = database.execute("SELECT name FROM person WHERE id = ?", [into]).fetchone()
        if is_encrypted(database):
            bind_to(database, gallery.cipher, gallery.path, person.id, (into, stored), samples=samples)
        numbers = [(id,) for id in samples]
        database.executemany("UPDATE sample SET person = ? WHERE id = ?", [(into, id) for (id,) in numbers])
        database.executemany(
            "INSERT OR REPLACE INTO moved SELECT id, created, person FROM sample WHERE id = ?", numbers
        )
        database.execute("UPDATE person SET changed = ? WHERE id IN (?, ?)", [now, person.id, into])
    gallery.update_index()
    return gallery.person(into)
