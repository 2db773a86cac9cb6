"""People of this gallery that a hub decides about: they are written with the ids and the samples of the hub."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..core.errors import InputError
from .bound_values import bind_to, is_encrypted
from .gallery import Gallery
from .people import Sample, clean_name
from .rows import embedding_to_bytes, insert_sample, metadata_to_json, select_people, select_samples
from .schema import SCRUB


@dataclass(frozen=True)
class ReplicatedPerson:
    """A person as the hub has it, with all samples."""

    id: str
    name: str
    metadata: Mapping[str, Any]
    samples: tuple[Sample, ...]


def apply_changes(
    gallery: Gallery,
    put: Iterable[ReplicatedPerson],
    gone: Collection[str],
    erased: Collection[str],
    settings: Mapping[str, str],
) -> None:
    """Write the people ``put``, delete those who are ``gone`` from this site, and delete and remember those who were
    ``erased`` (ids), all in one transaction with ``settings`` (rows of the table ``setting``).

    Somebody whom this gallery has forgotten is not brought back: the hub is about to hear of it. A local person with
    the name of another one from the hub gets a number behind the name: two people are never merged silently. Call
    ``backup.finish`` afterwards if somebody was deleted. Raises InputError for embeddings of another model; nothing was
    written then.
    """
    now = time.time()
    with gallery.transaction() as database:
        for id in (*gone, *erased):
            deleted = database.execute("DELETE FROM person WHERE id = ?", [id]).rowcount
            if id in erased:
                database.execute("INSERT OR REPLACE INTO former VALUES (?, NULL, ?)", [id, now])
                database.execute("UPDATE former SET person = NULL, since = ? WHERE person = ?", [now, id])
            if deleted:
                database.execute("INSERT OR REPLACE INTO setting VALUES (?, '1')", [SCRUB])
        here = {id for (id,) in database.execute("SELECT id FROM former WHERE person IS NULL")}
        for person in put:
            if person.id not in here:
                _put(gallery, person, now)
        database.executemany("INSERT OR REPLACE INTO setting VALUES (?, ?)", list(settings.items()))
    gallery.update_index()


def read_settings(gallery: Gallery, prefix: str) -> dict[str, str]:
    """The rows of the table ``setting`` whose names begin with ``prefix``."""
    return dict(gallery.read("SELECT name, value FROM setting WHERE substr(name, 1, ?) = ?", [len(prefix), prefix]))


def _put(gallery: Gallery, person: ReplicatedPerson, now: float) -> None:
    database, name = gallery.database, clean_name(person.name)
    _make_room(gallery, person.id, name, now)
    text = metadata_to_json(name, person.metadata)
    known = select_people(gallery, "WHERE person.id = ?", [person.id])
    if known and known[0].name != name and is_encrypted(database):
        bind_to(database, gallery.cipher, gallery.path, person.id, (person.id, name))
    database.execute(
        "INSERT INTO person VALUES (?1, ?2, ?3, ?4, ?4) ON CONFLICT (id) DO UPDATE SET name = ?2, metadata = ?3, "
        "changed = ?4",
        [person.id, name, text, now],
    )
    wanted = {_content(sample): sample for sample in person.samples}
    for sample in select_samples(gallery, person.id) if known else []:
        if wanted.pop(_content(sample), None) is None:
            database.execute("DELETE FROM sample WHERE id = ?", [sample.id])
            database.execute("INSERT OR REPLACE INTO setting VALUES (?, '1')", [SCRUB])
    for sample in wanted.values():
        insert_sample(gallery, person.id, sample, now)


def _make_room(gallery: Gallery, id: str, name: str, now: float) -> None:
    """Rename another person who has ``name``."""
    others = [one for one in select_people(gallery, "WHERE name = ?", [name]) if one.id != id]
    for other in others:
        for number in range(2, 1_000):
            free = f"{name} ({number})"
            if not gallery.read("SELECT 1 FROM person WHERE name = ?", [free]):
                break
        else:
            raise InputError(f"{gallery.path}: a thousand people have the same name: rename some")
        if is_encrypted(gallery.database):
            bind_to(gallery.database, gallery.cipher, gallery.path, other.id, (other.id, free))
        gallery.database.execute("UPDATE person SET name = ?, changed = ? WHERE id = ?", [free, now, other.id])


def _content(sample: Sample) -> tuple[object, ...]:
    """What makes two samples the same one."""
    return embedding_to_bytes(sample.embedding), sample.identity
