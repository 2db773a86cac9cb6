"""Erase forgotten people everywhere that rkface stores or sends data about them, in five stages:

gallery → backups → appearance log → outboxes → receivers

The gallery remembers the ids of forgotten people permanently, and each stage finds its work from these ids. So a stage
can be repeated after a power cut, a full disk or a backup that was out of reach: by the running service as soon as it
notices, at each start of the service, by ``rkface gallery forget`` and by ``rkface gallery check``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ..core.errors import InputError, RkfaceError, WorkError
from ..events import Outbox, OutboxInUseError, PictureStore, Sink, find_outboxes
from ..gallery import backup
from ..gallery.companions import Companion, companion_path
from ..gallery.gallery import Gallery
from ..gallery.people import Person
from .alert_pictures import erase_from_pictures
from .appearance_log import AppearanceLog
from .log_files import OLD_FILE, log_path
from .settings import Keep
from .unnamed import erase_unnamed

FOREVER = Keep(appearances=math.inf, unknown_faces=math.inf, known_faces=math.inf, embeddings=math.inf)


class ErasureStage(Enum):
    """Where data about a person is erased, in this order."""

    GALLERY = "gallery"
    BACKUPS = "backups"
    APPEARANCE_LOG = "appearance log"
    OUTBOXES = "outboxes"
    RECEIVERS = "receivers"


@dataclass(frozen=True)
class StageReport:
    """The result of a stage, in sentences. ``done``: what was erased. ``left``: where data may remain, and why."""

    stage: ErasureStage
    done: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


@dataclass(frozen=True)
class ErasureReport:
    """What was erased (``done``), and where data about the person may remain for now or permanently (``left``). One
    sentence for each."""

    done: list[str]
    left: list[str]

    @staticmethod
    def of(stages: Iterable[StageReport]) -> ErasureReport:
        """The sentences of all stages, in their order."""
        reports = sorted(stages, key=lambda report: list(ErasureStage).index(report.stage))
        return ErasureReport(
            [sentence for report in reports for sentence in report.done],
            [sentence for report in reports for sentence in report.left],
        )


def forget_by_command(gallery: Gallery, people: Sequence[Person]) -> ErasureReport:
    """Delete ``people`` and erase them in all stages that a command can do, whether or not a service runs. Raises
    WorkError if the gallery file could not be overwritten yet; the other stages are done even so."""
    copies: list[backup.Left] = []
    unnamed = _erase_unnamed_beside(gallery, people)
    try:
        for person in people:
            copies = backup.forget(gallery, person)
    finally:
        stages = _erase_beside(gallery)
    return ErasureReport.of([_report_copies(copies), unnamed, *stages])


def finish_by_command(gallery: Gallery) -> ErasureReport:
    """Repeat all stages that a command can do, for everybody who was ever forgotten. The report only says what is left.
    Raises WorkError if the gallery file could not be overwritten yet."""
    copies = backup.finish(gallery)
    stages = _erase_beside(gallery) if backup.forgotten(gallery) else []
    return ErasureReport([], ErasureReport.of([_report_copies(copies), *stages]).left)


def finish_at_start(gallery: Gallery) -> Iterator[str]:
    """Repeat the stages from the gallery to the outboxes that no sink has open, after an earlier process was
    interrupted. Yields the problems. The appearance log follows when the service prunes it, the receivers with their
    sinks."""
    try:
        backup.resume(gallery)
    except WorkError as error:
        yield str(error)
    if backup.forgotten(gallery):
        yield from erase_from_old_log(gallery).left
        yield from _erase_from_pictures(gallery).left
        yield from erase_from_outboxes(gallery).left


def read_forgotten(gallery: Path) -> dict[str, float]:
    """The ids of all forgotten people of the gallery at this path, with the times; empty if there is no gallery yet."""
    if not gallery.exists():
        return {}
    with Gallery(gallery) as opened:
        return backup.forgotten(opened)


def erase_from_log(gallery: Gallery, log: AppearanceLog, keep: Keep) -> None:
    """Stage APPEARANCE_LOG: delete from ``log`` everybody who is no longer in ``gallery``, and entries that are older
    than ``keep`` allows. Raises WorkError if it cannot be written."""
    people = [person.id for person in gallery.people()]
    log.prune(keep, people, dict(gallery.read("SELECT id, person FROM former WHERE person IS NOT NULL")))


def erase_from_old_log(gallery: Gallery) -> StageReport:
    """Stage APPEARANCE_LOG for the log of an earlier version, in which other galleries may have entries: delete from it
    everybody whom ``gallery`` has forgotten."""
    return _erase_from_log_at(gallery.path.with_name(OLD_FILE), lambda log: log.erase(backup.forgotten(gallery)))


def _erase_from_log_at(path: Path, erase: Callable[[AppearanceLog], None]) -> StageReport:
    """Stage APPEARANCE_LOG: call ``erase`` with the log at ``path``, if there is one."""
    if not path.exists():
        return StageReport(ErasureStage.APPEARANCE_LOG)
    try:
        with AppearanceLog(path) as log:
            erase(log)
    except RkfaceError as error:
        return StageReport(ErasureStage.APPEARANCE_LOG, left=(str(error),))
    return StageReport(ErasureStage.APPEARANCE_LOG, (f"{path}: no entry names a forgotten person",))


def erase_from_outboxes(gallery: Gallery) -> StageReport:
    """Stage OUTBOXES: remove forgotten people from events that wait beside ``gallery``. An outbox that a running
    service has open is left to that service, which notices within a second."""
    done, left, forgotten = [], [], backup.forgotten(gallery)
    for folder in find_outboxes(gallery.path):
        try:
            with closing(Outbox(folder)) as outbox:
                outbox.erase(forgotten)
        except OutboxInUseError:
            done.append(f"{folder}: the running service removes the person, also from its broker, within seconds")
        except InputError as error:
            left.append(str(error))
        except OSError as error:
            left.append(f"{folder}: the person cannot be removed from waiting events: {error.strerror}")
        else:
            done.append(f"{folder}: no waiting event names a forgotten person")
            if folder.name.endswith("events-mqtt"):
                done.append("messages that the broker retains are overwritten by the next `rkface run`")
    return StageReport(ErasureStage.OUTBOXES, tuple(done), tuple(left))


def _erase_from_pictures(gallery: Gallery) -> StageReport:
    """Stage OUTBOXES for the pictures of alerts beside ``gallery``."""
    path = companion_path(gallery.path, Companion.ALERT_PICTURES)
    if not path.exists():
        return StageReport(ErasureStage.OUTBOXES)
    try:
        with PictureStore(path) as pictures, AppearanceLog(log_path(gallery.path)) as log:
            erase_from_pictures(gallery, pictures, log)
    except RkfaceError as error:
        return StageReport(ErasureStage.OUTBOXES, left=(str(error),))
    return StageReport(ErasureStage.OUTBOXES, (f"{path}: no picture of an alert shows a forgotten person",))


def erase_from_sinks(forgotten: Mapping[str, float], sinks: Iterable[Sink]) -> None:
    """Stages OUTBOXES and RECEIVERS for sinks of this process: they remove ``forgotten`` people (ids, with the times)
    from events that wait, and tell their receivers. Returns at once; the sinks' threads do it."""
    for sink in sinks:
        sink.forget(forgotten)


def _erase_beside(gallery: Gallery) -> list[StageReport]:
    """The stages after the backups, with the files beside ``gallery``."""
    pictures = _erase_from_pictures(gallery)  # first: the log says whom they show
    own = _erase_from_log_at(log_path(gallery.path), lambda log: erase_from_log(gallery, log, FOREVER))
    logs = [erase_from_old_log(gallery), own]
    outboxes = [pictures, erase_from_outboxes(gallery)]
    if not any(log.done for log in logs):
        return [*logs, *outboxes]
    told = (
        "receivers of events are told to delete their data about the person: by the running service within seconds, "
        "or by the next `rkface run`"
    )
    return [*logs, *outboxes, StageReport(ErasureStage.RECEIVERS, (told,))]


def _erase_unnamed_beside(gallery: Gallery, people: Sequence[Person]) -> StageReport:
    """Stage APPEARANCE_LOG for appearances in which ``people`` were strangers: it needs their samples, so it is the
    first one."""
    path, pictures_path = log_path(gallery.path), companion_path(gallery.path, Companion.ALERT_PICTURES)
    if not path.exists():
        return StageReport(ErasureStage.APPEARANCE_LOG)
    try:
        with (
            AppearanceLog(path, lambda: gallery.cipher) as log,
            PictureStore(pictures_path) if pictures_path.exists() else nullcontext() as pictures,
        ):
            left = [sentence for person in people for sentence in erase_unnamed(gallery, log, pictures, person)]
    except RkfaceError as error:
        left = [str(error)]
    return StageReport(ErasureStage.APPEARANCE_LOG, left=tuple(left))


def _report_copies(copies: Iterable[backup.Left]) -> StageReport:
    left = (
        f"{copy.path} may still hold what was deleted here: {copy.reason}; then run `rkface gallery check`"
        for copy in copies
    )
    return StageReport(ErasureStage.BACKUPS, left=tuple(left))
