"""What a board tells the hub: people whom it enrolled, people whom it forgot, its events and its heartbeat."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from ..core.errors import RkfaceError
from ..events.channel import RefusedError, UndeliveredError
from ..events.event import OutgoingEvent
from ..gallery import backup
from ..gallery.gallery import Gallery
from ..gallery.people import Person, Sample
from ..gallery.replication import apply_changes, is_told, note_sent, note_told, read_content, read_unsent
from .connection import connect, explain, hub_errors, import_psycopg
from .push_changes import KnownPerson, notice_restored, push_groups, push_merged, push_name, push_removed, read_known
from .sealed import PLAIN, PlainEmbeddings

if TYPE_CHECKING:
    from .connection import Hub

log = logging.getLogger("rkface.hub")

NEVER = ("22", "23")  # classes of SQLSTATE (data exception, integrity) that a later attempt does not change


def must_push(hub: Hub, gallery: Gallery) -> bool:
    """Whether something was changed here since the last ``push_people``, other than by ``sync``, or the hub was
    restored from a backup since then."""
    return not is_told(gallery) or notice_restored(hub, gallery)


def push_people(hub: Hub, gallery: Gallery, embeddings: PlainEmbeddings = PLAIN) -> list[str]:
    """Enroll at the hub whom this gallery has and the hub does not, add and remove samples, rename and merge people as
    here, and forget there whom this gallery has forgotten. Returns the ids of people about whom a human at the hub must
    decide.
    ``embeddings``: how those of the hub are written (``open_embeddings``).

    Call it before ``sync``, which makes this gallery equal to the hub. It reads everybody of the site: ``must_push``
    says whether it has to.
    """
    content = read_content(gallery)  # first: what somebody changes meanwhile is for the next call
    notice_restored(hub, gallery)
    forgotten = [*backup.forgotten(gallery)]
    with hub_errors():  # a transaction each: others need not wait for all of them
        erased = hub.execute(
            "SELECT person FROM rkface.change WHERE kind = 'erased' AND person = ANY(%s)", [forgotten]
        ).fetchall()
        for person in {*forgotten} - {person for (person,) in erased}:  # also somebody of whom only events told the hub
            hub.execute("SELECT rkface.forget(%s)", [person])
    known = read_known(hub, gallery)
    unsent, sent, taken, waiting = read_unsent(gallery), set[int](), set[str](), list[str]()
    for one in gallery.people():
        there, new = known.get(one.id), unsent.get(one.id, set[int]())
        if there is None:
            samples = gallery.samples(one)
        else:
            samples = [found for found in gallery.samples(one) if found.id in new] if new else []
            if there.seen and not _push_changes(hub, gallery, one, there, samples=samples, embeddings=embeddings):
                waiting.append(one.id)
            if not samples:
                continue
        if _enroll(hub, one, samples, embeddings):
            sent |= {found.id for found in samples}
            taken |= {one.id} if there is None else set()
        else:
            waiting.append(one.id)
        if there is None and one.groups:
            push_groups(hub, one)
    push_merged(hub, gallery)
    if sent:
        note_sent(gallery, sent)
    gallery.lease.note_told()
    note_told(gallery, content)
    _delete_elsewhere(hub, gallery, taken)
    return sorted(waiting)


def _delete_elsewhere(hub: Hub, gallery: Gallery, people: Collection[str]) -> None:
    """Delete those of ``people`` (ids) whom the hub has at other sites only, if no change at this site says so: the hub
    was restored from a backup from before they were put at this site, and another site has enrolled them again."""
    if not people:
        return
    with hub_errors(), hub.transaction():
        told = hub.execute("SELECT person FROM rkface.change WHERE person = ANY(%s)", [[*people]]).fetchall()
    if gone := {*people} - {person for (person,) in told}:
        log.warning("the hub has %d people of this gallery at other sites only: they are deleted here", len(gone))
        apply_changes(gallery, (), gone, (), {})
        backup.finish(gallery)


def _push_changes(
    hub: Hub,
    gallery: Gallery,
    person: Person,
    there: KnownPerson,
    *,
    samples: list[Sample],
    embeddings: PlainEmbeddings,
) -> bool:
    """Make removed samples, groups and the name of ``person`` at the hub what they are here. To ``samples``, those that
    the hub did not get yet, come those that were given to the person here. Returns False if somebody has the name."""
    if there.samples != person.samples - len(samples):
        new = {one.id for one in samples}
        kept = [one for one in gallery.samples(person) if one.id not in new]
        samples += push_removed(hub, person, kept, embeddings, gallery.identity)
    if there.groups != {*person.groups}:
        push_groups(hub, person)
    return there.name == person.name or push_name(hub, person, there)


def _enroll(hub: Hub, person: Person, samples: Collection[Sample], embeddings: PlainEmbeddings) -> bool:
    """Enroll ``person`` at the hub. Returns whether it took the person, or has somebody of this name."""
    body = [
        {"identity": one.identity, **embeddings.write(one), "quality": one.quality, "source": one.source}
        for one in samples
    ]
    with hub_errors(), hub.transaction():
        row = hub.execute(
            "SELECT rkface.enroll(%s, %s, %s, %s)",
            [person.id, person.name, json.dumps(person.metadata), json.dumps(body)],
        ).fetchone()
    return bool(row and row[0])


def send_heartbeat(hub: Hub, gallery: Gallery, state: Mapping[str, Any]) -> None:
    """Tell the hub that this board is here, which changes it has, and its ``state`` (values for JSON)."""
    with hub_errors(), hub.transaction():
        hub.execute(
            "INSERT INTO rkface.heartbeat VALUES (rkface.my_board(), now(), %s, %s) ON CONFLICT (board) DO UPDATE "
            "SET seen = excluded.seen, revision = excluded.revision, state = excluded.state",
            [gallery.lease.revision, json.dumps(dict(state))],
        )


class HubEvents:
    """A ``Channel``: events become rows of the hub. The same event twice is one row. Raises InputError without the
    package psycopg."""

    def __init__(self, address: str) -> None:
        import_psycopg()  # see HubClient
        self._address = address
        self._hub: Hub | None = None

    def maintain(self, wake: Callable[[], None]) -> bool | None:
        """Connect, if the connection is lost."""
        if self._hub is None or self._hub.closed:
            try:
                self._hub = connect(self._address)
            except RkfaceError as error:
                raise UndeliveredError(str(error)) from error
        return True

    def withdraw(self, people: Collection[str]) -> bool:
        """The hub itself removes an erased person from its events."""
        return False

    def deliver(self, event: OutgoingEvent) -> None:
        """Insert one event. A notice about a forgotten person needs no row, but the hub forgets the person: also one
        whom it never took, but whom earlier events of this board name."""
        assert self._hub is not None
        psycopg = import_psycopg()
        try:
            if event.forgotten_person:
                self._hub.execute("SELECT rkface.forget(%s)", [event.forgotten_person])
                return
            self._hub.execute(
                "INSERT INTO rkface.event (id, board, body) VALUES (%s, rkface.my_board(), %s) ON CONFLICT DO NOTHING",
                [json.loads(event.body)["event"], event.body.decode()],
            )
        except psycopg.Error as error:
            if (error.sqlstate or "")[:2] in NEVER:
                raise RefusedError(str(explain(error))) from error
            self.close()
            raise UndeliveredError(str(explain(error))) from error

    def close(self) -> None:
        """Close the connection."""
        if self._hub is not None:
            self._hub.close()
            self._hub = None
