"""Changes of people and of who a sample belongs to, inside of a transaction. The search index is the caller's task."""

from __future__ import annotations

import json
import time
from collections.abc import Collection

from ..core.checks import check_type
from ..core.errors import InputError
from .bound_values import bind_to, is_encrypted
from .database import GalleryDatabase
from .people import Person, check_person, clean_name
from .rows import find_spelling, select_people


def check_own_samples(gallery: GalleryDatabase, person: Person, samples: Collection[int]) -> set[int]:
    """The numbers of all samples of ``person``. Raises InputError if ``samples`` has others."""
    check_type(samples, Collection, "samples must be a list of numbers", "write [sample.id]")
    own = {id for (id,) in gallery.read("SELECT id FROM sample WHERE person = ?", [person.id])}
    if missing := sorted(set(samples) - own):
        raise InputError(f"{person.name!r} has no sample {missing[0]}: `rkface gallery show` lists the samples")
    return own


def delete_samples(gallery: GalleryDatabase, person: Person, samples: Collection[int]) -> None:
    """See ``Gallery.remove_samples``."""
    check_person(person)
    check_own_samples(gallery, person, samples)
    gallery.database.executemany("DELETE FROM sample WHERE id = ?", [(id,) for id in samples])
    gallery.database.execute("UPDATE person SET changed = ? WHERE id = ?", [time.time(), person.id])


def rename_person(gallery: GalleryDatabase, person: Person, name: str) -> None:
    """See ``Gallery.rename``."""
    check_person(person)
    name, database = clean_name(name), gallery.database
    same = select_people(gallery, "WHERE name = ?", [find_spelling(gallery, name)])
    if any(other.id != person.id for other in same):
        raise InputError(f"another person is called {name!r}: if both are one person, use `rkface gallery merge`")
    if is_encrypted(database):
        bind_to(database, gallery.cipher, gallery.path, person.id, (person.id, name))
    database.execute("UPDATE person SET name = ?, changed = ? WHERE id = ?", [name, time.time(), person.id])


def merge_people(gallery: GalleryDatabase, person: Person, into: Person) -> None:
    """See ``Gallery.merge``."""
    check_person(person)
    check_person(into)
    if person.id == into.id:
        raise InputError(f"{person.name!r} cannot be merged into the same person")
    now, database = time.time(), gallery.database
    if is_encrypted(database):
        (name,) = database.execute("SELECT name FROM person WHERE id = ?", [into.id]).fetchone() or ("",)
        bind_to(database, gallery.cipher, gallery.path, person.id, (into.id, name))
    database.execute("UPDATE sample SET person = ? WHERE person = ?", [into.id, person.id])
    database.execute(
        "INSERT OR IGNORE INTO membership SELECT ?, name FROM membership WHERE person = ?", [into.id, person.id]
    )
    for column in ("named", "person"):
        database.execute(f"UPDATE review SET {column} = ?1 WHERE {column} = ?2", [into.id, person.id])
    database.execute("DELETE FROM person WHERE id = ?", [person.id])
    for table in ("former", "moved"):
        database.execute(f"UPDATE {table} SET person = ? WHERE person = ?", [into.id, person.id])
    database.execute("INSERT OR REPLACE INTO former VALUES (?, ?, ?)", [person.id, into.id, now])
    metadata = json.dumps(person.metadata | into.metadata, ensure_ascii=False)
    database.execute("UPDATE person SET metadata = ?, changed = ? WHERE id = ?", [metadata, now, into.id])
