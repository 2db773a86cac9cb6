"""Deletes people while the service runs, from the files that it has open and from everything that it has in use."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from logging import getLogger

from ..core.errors import RkfaceError
from ..events import Sink
from ..gallery import backup
from ..gallery.gallery import Gallery
from ..gallery.people import Person
from .alert_pictures import erase_from_pictures
from .camera_watch import CameraWatch
from .current_settings import CurrentSettings
from .enrollment_requests import EnrollmentRequests
from .erasure import (
    FOREVER,
    ErasureReport,
    ErasureStage,
    StageReport,
    erase_from_log,
    erase_from_old_log,
    erase_from_outboxes,
    erase_from_sinks,
)
from .known_people import KnownPeople
from .receiver_settings import Events
from .resources import Resources
from .strangers import StrangerFinder
from .unnamed import erase_unnamed

PATIENCE = 3.0  # seconds to wait for receivers before the report says that they could not be told yet
SENT_BEFORE = {
    "stdout": "lines that were written to stdout before (for example into the systemd journal)",
    "file": "lines that were written to {file} and its older parts before",
    "webhook": "events that the webhook received before",
    "hub": "events at the hub before",
    "mqtt": "events that subscribers of the broker received before",
    "notify": "messages and pictures that {name} sent before",
}

log = getLogger("rkface.service")


class ServiceErasure:
    """Also erases a person whom another program deletes from the gallery, as soon as ``people`` notices.

    The methods may be called from any thread: ``forget`` by the console, ``erase_unnamed`` and ``finish`` by the
    connection with the hub."""

    def __init__(
        self,
        resources: Resources,
        watch: CameraWatch,
        current: CurrentSettings,
        *,
        people: KnownPeople,
        enrollment: EnrollmentRequests,
        strangers: StrangerFinder,
    ) -> None:
        self._gallery, self._log = resources.gallery, resources.log
        self._pictures, self._sinks = resources.pictures, resources.sinks
        self._watch, self._current = watch, current
        self._people, self._enrollment, self._strangers = people, enrollment, strangers
        people.on_deleted = self._erase_deleted

    def forget(self, person: str) -> ErasureReport:
        """Delete the person with this id forever: samples, backups, appearances and pictures, and the name in events
        that wait and in messages that the broker retains. It waits some seconds for receivers, at most.

        Raises InputError if there is no such person, and WorkError if the gallery file could not be overwritten yet;
        the service has erased the person from everything else even so."""
        with self._enrollment.lock:
            known = self._gallery.person(person)
            unnamed = erase_unnamed(self._gallery, self._log, self._pictures, known)
            try:
                copies = backup.forget(self._gallery, known)
            finally:
                self._people.notice_deleted()
        report = report_erasure(self._gallery, copies, self._sinks, self._current.settings.events)
        return ErasureReport(report.done, [*unnamed, *report.left])

    def erase_unnamed(self, person: Person) -> None:
        """Erase what is kept of ``person``, whom the hub has erased, without the name. What is left is logged."""
        for sentence in erase_unnamed(self._gallery, self._log, self._pictures, person):
            log.warning("the hub erased somebody: %s", sentence)

    def finish(self) -> list[str]:
        """Erase everybody whom the hub has erased from the log, the pictures of alerts and the outboxes beside the
        gallery, and wait until their files are rewritten, but not longer than ``PATIENCE``. Returns sentences that say
        what is left; call it again later then."""
        self._people.notice_deleted()
        left: list[str] = []
        erase_from_sinks(backup.forgotten(self._gallery), self._sinks)
        try:
            if self._pictures is not None:  # first: the log says whom they show
                erase_from_pictures(self._gallery, self._pictures, self._log)
            erase_from_log(self._gallery, self._log, FOREVER)
        except RkfaceError as error:
            left.append(str(error))
        left += [*erase_from_old_log(self._gallery).left, *erase_from_outboxes(self._gallery).left]
        until = time.monotonic() + PATIENCE
        for sink in self._sinks:
            if not sink.wait_until_erased(max(0.0, until - time.monotonic())):
                state = sink.state()
                problem = state.error or "no answer"
                left.append(f"{state.name}: events that wait, or what the receiver stores ({problem})")
        return left

    def _erase_deleted(self) -> None:
        """Make deleted people unknown in the sinks, in the log, and in the visits to the cameras."""
        self._enrollment.drop_offers(older=0)  # they may show a deleted person
        self._strangers.forget()
        # Before the sinks, which withdraw the pictures that are gone, and before the log.
        self._watch.pictures.prune(self._gallery)
        erase_from_sinks(backup.forgotten(self._gallery), self._sinks)
        self._watch.publisher.prune(self._current.settings.keep)
        self._watch.visits.restart()


def report_erasure(
    gallery: Gallery, copies: Iterable[backup.Left], sinks: Sequence[Sink], events: Events
) -> ErasureReport:
    """Finish the stages after the backups, of which ``copies`` could not be reached, also for outboxes that no sink
    uses any more. Waits for receivers, but not longer than ``PATIENCE``."""
    deleted = "the samples, photos and appearances are deleted, here and in every backup that could be reached"
    stages = [
        StageReport(ErasureStage.GALLERY, (deleted,)),
        StageReport(ErasureStage.BACKUPS, left=tuple(f"{copy.path}: {copy.reason}" for copy in copies)),
        StageReport(ErasureStage.APPEARANCE_LOG, left=erase_from_old_log(gallery).left),
        StageReport(ErasureStage.OUTBOXES, left=erase_from_outboxes(gallery).left),
    ]
    until = time.monotonic() + PATIENCE
    erase_from_sinks(backup.forgotten(gallery), sinks)  # another thread may have noticed, and not said so yet
    for sink in sinks:
        stages += _wait_for_sink(sink, until, events)
    return ErasureReport.of(stages)


def _wait_for_sink(sink: Sink, until: float, events: Events) -> list[StageReport]:
    """Stages OUTBOXES and RECEIVERS of one sink; what it has not done by ``until`` (monotonic clock) is left."""
    erased = sink.wait_until_erased(max(0.0, until - time.monotonic()))
    told = sink.wait_until_told(max(0.0, until - time.monotonic()))
    state = sink.state()
    name, problem = state.name, state.error or "no answer"
    sent = SENT_BEFORE.get(name.partition(".")[0], "events that it received before")
    shown = name.startswith("notify.") or getattr(getattr(events, name, None), "picture", "none") != "none"
    remains = f"{sent.format(file=events.file, name=name)} may name {'or show ' if shown else ''}the person"
    if erased:
        broker = ", and no message that the broker retains" if name == "mqtt" else ""
        outbox = StageReport(ErasureStage.OUTBOXES, (f"{name}: no waiting event names a forgotten person{broker}",))
    else:
        later = "data about the person is removed as soon as the disk and the receiver allow it"
        outbox = StageReport(ErasureStage.OUTBOXES, left=(f"{name}: {later} ({problem})",))
    if name.startswith("notify."):  # people cannot be told to delete anything
        return [outbox, StageReport(ErasureStage.RECEIVERS, left=(remains,))]
    if told:
        done = f"{name}: was told to delete its data about the person"
        return [outbox, StageReport(ErasureStage.RECEIVERS, (done,), (remains,))]
    untold = f"{name}: could not be told yet to delete its data about the person ({problem})"
    return [outbox, StageReport(ErasureStage.RECEIVERS, left=(untold, remains))]
