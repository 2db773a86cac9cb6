"""People of this gallery that a hub decides about: they are written with the ids and the samples of the hub."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..core.errors import InputError
from .bound_values import bind_to, is_encrypted
from .gallery import Gallery
from .groups import MOST_GROUPS, clean_group
from .people import Person, Sample, clean_name
from .rows import check_embedding, embedding_to_bytes, insert_sample, metadata_to_json, select_people, select_samples
from .schema import SCRUB

# Rows of the table ``setting``: see ``_read_unsent`` and ``is_told``.
UNSENT, TOLD = "hub.unsent", "hub.told"


@dataclass(frozen=True)
class ReplicatedPerson:
    """A person as the hub has it, with all samples and the names of all groups."""

    id: str
    name: str
    metadata: Mapping[str, Any]
    samples: tuple[Sample, ...]
    groups: tuple[str, ...] = ()


def apply_changes(
    gallery: Gallery,
    put: Iterable[ReplicatedPerson],
    gone: Collection[str],
    erased: Collection[str],
    settings: Mapping[str, str],
) -> list[str]:
    """Write the people ``put``, delete those who are ``gone`` from this site, and delete and remember those who were
    ``erased`` (ids; also those into whom they were merged here), all in one transaction with ``settings`` (rows of the
    table ``setting``).

    Somebody whom this gallery has forgotten or merged is not brought back: the hub is about to hear of it. Samples that
    were added here and that the hub did not get yet (``read_unsent``) stay. A local person with
    the name of another one from the hub gets a number behind the name: two people are never merged silently. Call
    ``backup.finish`` afterwards if somebody was deleted.

    Returns the ids of people of whom something was left out, because a gallery cannot hold it: it must not keep
    erasures of others from this board. Raises InputError for embeddings of another model; nothing was written
    then.
    """
    now, refused = time.time(), list[str]()
    with gallery.transaction() as database:
        told = is_told(gallery)
        erased = with_targets(gallery, erased)
        for id in (*gone, *erased):
            deleted = database.execute("DELETE FROM person WHERE id = ?", [id]).rowcount
            if id in erased:
                database.execute("INSERT OR REPLACE INTO former VALUES (?, NULL, ?)", [id, now])
                merged = database.execute("UPDATE former SET person = NULL, since = ? WHERE person = ?", [now, id])
                told &= not merged.rowcount  # who was merged into an erased person is forgotten, as the hub must hear
            if deleted:
                database.execute("INSERT OR REPLACE INTO setting VALUES (?, '1')", [SCRUB])
        here = {id for (id,) in database.execute("SELECT id FROM former")}
        unsent = _read_unsent(database)
        for person in put:
            usable = _usable_part(gallery, person)
            if usable is not person:
                refused.append(person.id)
            if usable is not None and person.id not in here:
                unsent -= _put(gallery, usable, now, unsent)
        _write_unsent(database, unsent)
        database.executemany("INSERT OR REPLACE INTO setting VALUES (?, ?)", list(settings.items()))
        if told:  # what came from the hub need not be told to it
            _note_told(database, read_content(gallery))
    gallery.update_index()
    return refused


def read_content(gallery: Gallery) -> str:
    """Something that is different after every change of the people in this gallery, also if a clock is set back."""
    time, most = "CAST({} * 1e6 AS INTEGER)", 1_000_000_007  # the sum of so many times would be too large
    parts = (("person", time.format("changed")), ("sample", "id"), ("former", time.format("since")))
    columns = ", ".join(f"(SELECT count(*) || '/' || total({number} % {most}) FROM {table})" for table, number in parts)
    return " ".join(gallery.read(f"SELECT {columns}")[0])


def is_told(gallery: Gallery) -> bool:
    """Whether the hub knows all that was changed here."""
    found = gallery.read("SELECT value FROM setting WHERE name = ?", [TOLD])
    return bool(found) and found[0][0] == read_content(gallery)


def note_told(gallery: Gallery, content: str) -> None:
    """The hub knows what was here when ``content`` was read."""
    with gallery.transaction() as database:
        _note_told(database, content)


def _note_told(database: sqlite3.Connection, content: str) -> None:
    database.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", [TOLD, content])


def read_unsent(gallery: Gallery) -> dict[str, set[int]]:
    """The numbers of the samples that were added here and that the hub did not get yet, by person (id)."""
    found: dict[str, set[int]] = {}
    with gallery.lock:
        numbers = _read_unsent(gallery.database)
        for sample, person in gallery.read("SELECT id, person FROM sample") if numbers else ():
            if sample in numbers:
                found.setdefault(person, set()).add(sample)
    return found


def with_targets(gallery: Gallery, people: Collection[str]) -> set[str]:
    """The ids of ``people``, and of those into whom some of them were merged here: they are the same people."""
    merged = gallery.read("SELECT id, person FROM former WHERE person IS NOT NULL") if people else ()
    return {*people, *(target for id, target in merged if id in people)}


def take_merges_back(gallery: Gallery, people: Collection[str]) -> None:
    """Forget that ``people`` (ids) were merged into others here: the hub may bring them back."""
    if people:
        with gallery.transaction() as database:
            database.executemany(
                "DELETE FROM former WHERE id = ? AND person IS NOT NULL", [(person,) for person in people]
            )


def list_people_of_hub(gallery: Gallery) -> list[Person]:
    """All people but those whom only this gallery has, because the hub did not take them yet."""
    unsent = read_unsent(gallery)
    return [one for one in gallery.people() if not one.samples or len(unsent.get(one.id, ())) < one.samples]


def note_sent(gallery: Gallery, samples: Collection[int]) -> None:
    """The hub has the ``samples`` (numbers): from now on it decides about them."""
    with gallery.transaction() as database:
        _write_unsent(database, _read_unsent(database).difference(samples))


def _read_unsent(database: sqlite3.Connection) -> set[int]:
    """Stored are the number of the last sample that a transaction with the hub saw, and the unsent ones up to it."""
    row = database.execute("SELECT value FROM setting WHERE name = ?", [UNSENT]).fetchone()
    last, unsent = json.loads(row[0]) if row else (0, [])
    return {*unsent, *(id for (id,) in database.execute("SELECT id FROM sample WHERE id > ?", [last]))}


def _write_unsent(database: sqlite3.Connection, unsent: Collection[int]) -> None:
    known = {id for (id,) in database.execute("SELECT id FROM sample")} if unsent else set()
    (last,) = database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'sample'").fetchone() or (0,)
    text = json.dumps([last, sorted(known.intersection(unsent))])
    database.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", [UNSENT, text])


def _usable_part(gallery: Gallery, person: ReplicatedPerson) -> ReplicatedPerson | None:
    """``person`` without embeddings that a gallery cannot hold. With the name and metadata that are here, if it cannot
    hold those of the hub; None for somebody who is not here."""
    samples = tuple(one for one in person.samples if _is_usable(gallery, one))
    groups = tuple(one for one in person.groups if _is_group(one))[:MOST_GROUPS]
    try:
        metadata_to_json(clean_name(person.name), person.metadata)
    except InputError:
        known = select_people(gallery, "WHERE person.id = ?", [person.id])
        return ReplicatedPerson(person.id, known[0].name, known[0].metadata, samples, groups) if known else None
    usable = replace(person, samples=samples, groups=groups)
    return person if (len(samples), groups) == (len(person.samples), person.groups) else usable


def _is_usable(gallery: Gallery, sample: Sample) -> bool:
    try:
        check_embedding(sample.embedding, gallery, sample.identity)
    except InputError:
        return False
    return True


def _is_group(name: str) -> bool:
    try:
        return clean_group(name) == name
    except InputError:
        return False


def _put(gallery: Gallery, person: ReplicatedPerson, now: float, unsent: Collection[int]) -> set[int]:
    """Write ``person``. Returns those of the ``unsent`` samples that turn out to be the hub's, too."""
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
    database.execute("DELETE FROM membership WHERE person = ?", [person.id])
    database.executemany("INSERT INTO membership VALUES (?, ?)", [(person.id, one) for one in set(person.groups)])
    wanted = {sample_content(sample): sample for sample in person.samples}
    own = {sample.id: sample_content(sample) for sample in (select_samples(gallery, person.id) if known else ())}
    for id, content in own.items():
        if content not in wanted and id not in unsent:
            database.execute("DELETE FROM sample WHERE id = ?", [id])
            database.execute("INSERT OR REPLACE INTO setting VALUES (?, '1')", [SCRUB])
    known_contents = set(own.values())
    for content, sample in wanted.items():
        if content not in known_contents:
            insert_sample(gallery, person.id, sample, now)
    return {id for id, content in own.items() if content in wanted}


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


def sample_content(sample: Sample) -> tuple[object, ...]:
    """What makes two samples the same one."""
    return embedding_to_bytes(sample.embedding), sample.identity
