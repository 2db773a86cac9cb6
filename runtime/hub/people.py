"""People at the hub: who is known where, and since when."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import InputError
from ..gallery.people import Sample, clean_name
from .connection import hub_errors

if TYPE_CHECKING:
    from .connection import Hub

IDENTITY = "identity"  # row of the hub's table ``setting``: the identity of its embeddings
SEALED = "sealed"  # another one, of a hub with encrypted embeddings: proves which key they have


@dataclass(frozen=True)
class HubPerson:
    """A person at the hub: ``sites`` where the person is known, and the number of samples."""

    id: str
    name: str
    sites: tuple[str, ...]
    samples: int


@dataclass(frozen=True)
class Confirmation:
    """Who has confirmed that an erased person is gone: names of boards, ``confirmed`` and ``missing``."""

    person: str
    erased: float
    confirmed: tuple[str, ...]
    missing: tuple[str, ...]


def add_person(
    hub: Hub, name: str, sites: Sequence[str], samples: Iterable[Sample], identity: str, *, id: str | None = None
) -> str:
    """Add the person ``name``, known at ``sites``, with ``samples``. Returns the id.

    Raises InputError if somebody has this name, if a site does not exist, or if the samples are of another model than
    those of the hub.
    """
    name, person = clean_name(name), id or uuid.uuid4().hex
    with hub_errors(), hub.transaction():
        _check_identity(hub, identity)
        if hub.execute("SELECT 1 FROM rkface.person WHERE name = %s", [name]).fetchone():
            raise InputError(f"the hub knows somebody called {name!r}: add samples to this person, or use another name")
        hub.execute("INSERT INTO rkface.person (id, name) VALUES (%s, %s)", [person, name])
        for site in sites:
            check_site(hub, site)
            hub.execute("INSERT INTO rkface.stay (person, site) VALUES (%s, %s)", [person, site])
        insert_samples(hub, person, samples, identity)
    return person


def insert_samples(hub: Hub, person: str, samples: Iterable[Sample], identity: str) -> None:
    """Add ``samples`` of ``person`` (an id), inside a transaction."""
    with hub.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO rkface.sample (person, identity, embedding, quality, source) VALUES (%s, %s, %s::vector, %s, "
            "%s)",
            [(person, sample.identity or identity, as_vector(sample), sample.quality, sample.source)
             for sample in samples],
        )  # fmt: skip


def as_vector(sample: Sample) -> str:
    """The embedding as pgvector's text, exact to the last bit."""
    return json.dumps([float(value) for value in np.asarray(sample.embedding, np.float32)])


def find_person(hub: Hub, key: str) -> HubPerson:
    """The person with the id or the name ``key``. Raises InputError if nobody has it."""
    found = [one for one in list_people(hub) if key in (one.id, one.name)]
    if not found:
        raise InputError(f"the hub knows nobody called {key!r}: `rkface hub people` lists all")
    return found[0]


def list_people(hub: Hub) -> list[HubPerson]:
    """All people, by name."""
    return find_people(hub, "", None, None)


def find_people(hub: Hub, text: str, limit: int | None, after: str | None) -> list[HubPerson]:
    """People whose name contains ``text`` (small and capital letters are the same), by name, at most ``limit``, only
    those after the name ``after``."""
    with hub_errors(), hub.transaction():
        rows = hub.execute(
            """
            SELECT id, name, coalesce((SELECT array_agg(site ORDER BY site) FROM rkface.stay WHERE person = id), '{}'),
                (SELECT count(*) FROM rkface.sample WHERE person = person.id)
            FROM rkface.person WHERE strpos(lower(name), lower(%s)) > 0 AND (%s::text IS NULL OR name > %s)
            ORDER BY name LIMIT %s
            """,
            [text, after, after, limit],
        ).fetchall()
    return [HubPerson(id, name, tuple(sites), samples) for id, name, sites, samples in rows]


def move_person(hub: Hub, person: str, sites: Sequence[str]) -> None:
    """Make ``person`` (an id) known at exactly ``sites``; limits of validity at sites that stay are kept."""
    with hub_errors(), hub.transaction():
        for site in sites:
            check_site(hub, site)
        hub.execute("DELETE FROM rkface.stay WHERE person = %s AND site <> ALL(%s)", [person, list(sites)])
        for site in sites:
            hub.execute("INSERT INTO rkface.stay (person, site) VALUES (%s, %s) ON CONFLICT DO NOTHING", [person, site])


def erase_person(hub: Hub, person: str) -> None:
    """Erase ``person`` (an id) here, and at all boards as soon as they sync. Events keep that somebody was there."""
    with hub_errors(), hub.transaction():
        hub.execute("DELETE FROM rkface.person WHERE id = %s", [person])


def list_erased(hub: Hub) -> list[Confirmation]:
    """Everybody who was erased, newest first, and which boards have confirmed it. Boards that were revoked count: they
    have not confirmed."""
    with hub_errors(), hub.transaction():
        rows = hub.execute("""
            SELECT tombstone.person, extract(epoch FROM erased)::float8,
                array(SELECT board FROM rkface.receipt WHERE receipt.person = tombstone.person ORDER BY board),
                array(SELECT DISTINCT board.id FROM rkface.board JOIN rkface.change USING (site)
                    WHERE change.person = tombstone.person AND board.created < erased AND NOT EXISTS (
                        SELECT 1 FROM rkface.receipt WHERE receipt.person = change.person AND receipt.board = board.id)
                    ORDER BY board.id)
            FROM rkface.tombstone ORDER BY erased DESC, tombstone.person
        """).fetchall()
    return [
        Confirmation(person, erased, tuple(confirmed), tuple(missing)) for person, erased, confirmed, missing in rows
    ]


def _check_identity(hub: Hub, identity: str) -> None:
    row = hub.execute("SELECT value FROM rkface.setting WHERE name = %s", [IDENTITY]).fetchone()
    if row is None:
        hub.execute("INSERT INTO rkface.setting VALUES (%s, %s)", [IDENTITY, identity])
    elif row[0] != identity:
        raise InputError(
            f"the hub has embeddings of another model or alignment (identity {row[0][:8]}, not {identity[:8]}): use "
            "the bundle that its boards have"
        )


def check_site(hub: Hub, site: str) -> None:
    """Raise InputError if the hub has no such site."""
    if hub.execute("SELECT 1 FROM rkface.site WHERE id = %s", [site]).fetchone() is None:
        raise InputError(f"the hub has no site {site!r}: `rkface hub add-board BOARD --site {site}` adds it")
