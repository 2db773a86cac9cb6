"""What a board has changed of people whom the hub has: renamed, merged, samples removed or given to somebody else.

Nothing of it is noted when it happens. It is what differs from the hub, if the board has seen the person's last change
there: otherwise the hub changed the person later, and the board follows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..core.errors import WorkError
from ..gallery.gallery import Gallery
from ..gallery.people import Person, Sample
from ..gallery.replication import sample_content, take_merges_back
from .connection import hub_errors
from .sealed import PlainEmbeddings

if TYPE_CHECKING:
    from .connection import Hub


@dataclass(frozen=True)
class KnownPerson:
    """A person whom the hub has at the site of this board. ``samples``: how many; ``groups``: their names; ``seen``:
    whether this board has the person's last change."""

    name: str
    samples: int
    groups: frozenset[str]
    seen: bool


def notice_restored(hub: Hub, gallery: Gallery) -> bool:
    """Notice that the hub was restored from a backup since the last sync. If it is older than this gallery, the
    differences are what the hub has lost. Returns whether everybody must be compared."""
    with hub_errors(), hub.transaction():
        row = hub.execute("SELECT epoch, last FROM rkface.standing()").fetchone()
    assert row is not None
    (epoch, last), known = row, gallery.lease.revision
    restored = gallery.lease.notice_restored(epoch, last)
    if known > last:
        with hub_errors(), hub.transaction():
            hub.execute("SELECT rkface.notice_restored(%s)", [known])
    return restored or gallery.lease.hub_is_older


def read_known(hub: Hub, gallery: Gallery) -> dict[str, KnownPerson]:
    """The people of this site at the hub, by id."""
    with hub_errors(), hub.transaction():
        rows = hub.execute(
            "SELECT id, name, (SELECT count(*) FROM rkface.sample WHERE sample.person = person.id), groups, "
            "change.revision "
            "FROM rkface.person JOIN rkface.change ON change.person = person.id",
        ).fetchall()
    lease = gallery.lease
    return {
        id: KnownPerson(name, samples, frozenset(groups), lease.hub_is_older or revision <= lease.revision)
        for id, name, samples, groups, revision in rows
    }


def push_merged(hub: Hub, gallery: Gallery) -> None:
    """Merge at the hub whom this board has merged, if the hub still has both, or one of them waits for a decision. If
    the other one has moved away from this site, the next ``sync`` brings the person back."""
    merged = gallery.read("SELECT id, person FROM former WHERE person IS NOT NULL")
    with hub_errors():  # a transaction each: others need not wait for all of them
        apart = {id for (id,) in hub.execute("SELECT id FROM rkface.person UNION SELECT person FROM rkface.review")}
        rows = [
            (person, hub.execute("SELECT rkface.merge(%s, %s)", [person, target]).fetchone())
            for person, target in merged
            if person in apart
        ]
    take_merges_back(gallery, [person for person, row in rows if row and row[0]])


def push_name(hub: Hub, person: Person, known: KnownPerson) -> bool:
    """Rename ``person`` at the hub. Returns False if somebody there has the name."""
    with hub_errors(), hub.transaction():
        row = hub.execute("SELECT rkface.rename(%s, %s, %s)", [person.id, known.name, person.name]).fetchone()
    return bool(row and row[0])


def push_groups(hub: Hub, person: Person) -> None:
    """Make the groups of ``person`` at the hub those that the person has here."""
    with hub_errors(), hub.transaction():
        hub.execute("SELECT rkface.set_groups(%s, %s)", [person.id, [*person.groups]])


def push_removed(
    hub: Hub, person: Person, sent: list[Sample], embeddings: PlainEmbeddings, own: str | None
) -> list[Sample]:
    """Remove samples at the hub that this board has no more. ``sent``: those that it has, without new ones. ``own``:
    the identity of its embeddings; others cannot be compared, and stay. Returns those that the hub does not have: they
    were given to this person here."""
    with hub_errors(), hub.transaction():
        rows = (
            hub.cursor(binary=True)
            .execute("SELECT id, identity, embedding, sealed FROM rkface.sample WHERE person = %s", [person.id])
            .fetchall()
        )
        there = {
            id: sample_content(Sample(vector, None, 0.0, "", identity=identity))
            for id, identity, embedding, sealed in rows
            if identity == own and (vector := _read(embeddings, identity, embedding, sealed)) is not None
        }
        here = {sample_content(one) for one in sent}
        if gone := [id for id, content in there.items() if content not in here]:
            hub.execute("SELECT rkface.remove_samples(%s, %s)", [person.id, gone])
    return [one for one in sent if sample_content(one) not in there.values()]


def _read(
    embeddings: PlainEmbeddings, identity: str, embedding: bytes | None, sealed: bytes | None
) -> NDArray[np.float32] | None:
    """The embedding; None if it was altered, so that nobody can compare it."""
    try:
        return embeddings.read(identity, embedding, sealed)
    except WorkError:
        return None
