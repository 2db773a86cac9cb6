"""Changes of people flow from the hub to a board: read by revision, applied in one transaction each time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import InputError, WorkError
from ..gallery import backup
from ..gallery.gallery import Gallery
from ..gallery.people import Person, Sample
from ..gallery.replication import ReplicatedPerson, apply_changes, with_targets
from .connection import hub_errors, import_psycopg
from .sealed import PLAIN, PlainEmbeddings

if TYPE_CHECKING:
    from .connection import Hub

BATCH = 500  # people in one transaction

log = logging.getLogger("rkface.hub")


@dataclass(frozen=True)
class Pulled:
    """One batch of changes.

    revision  the last change in it
    more      whether there are later ones
    lease     seconds
    epoch     which database it is (``Lease.notice_restored``)
    limits    when people of this site are valid, if not always: id → (from, until), seconds since 1970
    """

    revision: int
    more: bool
    put: tuple[ReplicatedPerson, ...]
    gone: tuple[str, ...]
    erased: tuple[str, ...]
    lease: float
    epoch: str
    limits: dict[str, tuple[float | None, float | None]]


def sync(
    hub: Hub,
    gallery: Gallery,
    *,
    before: Callable[[Person], None] = lambda person: None,
    after: Callable[[], Sequence[str]] = lambda: (),
    embeddings: PlainEmbeddings = PLAIN,
) -> list[str]:
    """Bring ``gallery`` up to date with the hub, batch by batch; a batch that is applied stays applied.

    ``before`` is called with each person who is about to be erased, ``after`` when people were erased from the gallery:
    they erase what this machine has of them outside it, and may be called again for the same people. ``after`` returns
    sentences that say what is left, and so does ``sync``. If nothing is left, here and in the backups, the hub is told
    so; otherwise that is tried again at the next call.

    ``embeddings``: how those of the hub are read (``open_embeddings``).

    The lease is renewed with the last batch only: a board that has half of the changes has not heard of the others.
    Raises WorkError if the hub cannot be reached, InputError if its embeddings are of another model.
    """
    lease = gallery.lease
    if not lease.is_replica:
        lease.begin()
    while True:
        pulled = pull(hub, lease.revision, embeddings)
        _check_identity(gallery, pulled)
        settings = lease.renewed(pulled.revision, pulled.lease, pulled.limits, pulled.epoch)
        if pulled.more:
            settings = lease.advanced(pulled.revision, pulled.limits)
        erased = with_targets(gallery, pulled.erased)
        for person in gallery.people() if erased else ():
            if person.id in erased:
                before(person)
        refused = apply_changes(gallery, pulled.put, pulled.gone, pulled.erased, settings)
        if refused:
            log.warning(
                "the hub: a name, metadata or an embedding of these people cannot be stored here, and was left out: "
                "%s", ", ".join(refused),
            )  # fmt: skip
        lease.read()
        if pulled.gone or pulled.erased:
            backup.finish(gallery)  # the bytes, here and in the backups
        if not pulled.more:
            break
    # Somebody may have been erased since the last batch: that is for the next call.
    here = backup.forgotten(gallery)
    waiting = tuple(person for person in _read_unconfirmed(hub) if person in here)
    left = [*after()] if waiting else []  # an earlier call may have stopped between the gallery and the rest
    left += [f"{copy.path}: {copy.reason}" for copy in backup.finish(gallery)] if waiting else []
    if waiting and not left:
        confirm_erased(hub, waiting)
    return left


def pull(hub: Hub, revision: int, embeddings: PlainEmbeddings = PLAIN) -> Pulled:
    """The changes after ``revision`` at the site of this board, at most ``BATCH`` people. All of one state of the
    hub."""
    psycopg = import_psycopg()
    with hub_errors(), hub.transaction():
        hub.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        row = hub.execute("SELECT rkface.my_lease(), epoch FROM rkface.standing()").fetchone()
        if row is None or row[0] is None:
            raise psycopg.errors.InvalidAuthorizationSpecification("the hub does not know this board, or revoked it")
        changes = hub.execute(
            "SELECT person, kind, revision FROM rkface.change WHERE revision > %s ORDER BY revision LIMIT %s",
            [revision, BATCH + 1],
        ).fetchall()
        more, changes = len(changes) > BATCH, changes[:BATCH]
        ids = {kind: [person for person, one, _ in changes if one == kind] for kind in ("put", "gone", "erased")}
        people = _read_people(hub, ids["put"], embeddings)
        limits = hub.execute(
            "SELECT person, extract(epoch FROM valid_from)::float8, extract(epoch FROM valid_until)::float8 "
            "FROM rkface.stay WHERE valid_from IS NOT NULL OR valid_until IS NOT NULL"
        ).fetchall()
    return Pulled(
        changes[-1][2] if changes else revision,
        more,
        people,
        tuple(ids["gone"]),
        tuple(ids["erased"]),
        float(row[0]),
        str(row[1]),
        {person: (start, end) for person, start, end in limits},
    )


def _read_unconfirmed(hub: Hub) -> tuple[str, ...]:
    """The ids of erased people about whom the hub has no confirmation of this board: also of those whom an earlier call
    erased, before the connection broke."""
    with hub_errors(), hub.transaction():
        rows = hub.execute("SELECT person FROM rkface.change WHERE kind = 'erased' EXCEPT "
                           "SELECT person FROM rkface.receipt WHERE board = rkface.my_board()").fetchall()  # fmt: skip
    return tuple(sorted(person for (person,) in rows))


def confirm_erased(hub: Hub, people: tuple[str, ...]) -> None:
    """Tell the hub that nothing of the erased ``people`` (ids) is left here."""
    with hub_errors(), hub.transaction():
        for person in people:
            hub.execute(
                "INSERT INTO rkface.receipt (person, board) VALUES (%s, rkface.my_board()) ON CONFLICT DO NOTHING",
                [person],
            )


def _read_people(hub: Hub, ids: list[str], embeddings: PlainEmbeddings) -> tuple[ReplicatedPerson, ...]:
    samples: dict[str, list[Sample]] = {id: [] for id in ids}
    rows = hub.cursor(binary=True).execute(
        "SELECT person, identity, embedding, sealed, quality, source, extract(epoch FROM created)::float8 "
        "FROM rkface.sample WHERE person = ANY(%s) ORDER BY id",
        [ids],
    )
    for person, identity, embedding, sealed, quality, source, created in rows:
        try:
            vector = embeddings.read(identity, embedding, sealed)
        except WorkError:  # altered: ``apply_changes`` leaves it out
            vector = np.zeros(0, np.float32)
        samples[person].append(Sample(vector, None, min(1.0, float(quality)), source, created, identity))
    people = hub.execute("SELECT id, name, metadata, groups FROM rkface.person WHERE id = ANY(%s)", [ids])
    return tuple(
        ReplicatedPerson(id, name, metadata, tuple(samples[id]), tuple(groups)) for id, name, metadata, groups in people
    )


def _check_identity(gallery: Gallery, pulled: Pulled) -> None:
    """Raise InputError if the hub's embeddings are not of this board's model."""
    own = gallery.expected_identity or gallery.identity
    strange = {one.identity for person in pulled.put for one in person.samples} - {own}
    if own and strange:
        raise InputError(
            f"the hub has embeddings of another model or alignment (identity {min(strange)[:8]}, here {own[:8]}): "
            "install the same bundle on all boards, or compute the hub's embeddings again"
        )
