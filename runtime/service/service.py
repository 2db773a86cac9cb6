"""The camera service: cameras → scheduler → watchers → events and the log. Its console calls the same object."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from logging import getLogger
from queue import Queue
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..core.errors import RkfaceError
from ..enrollment.stored_crop import encode_crop
from ..events import SwitchRequests
from ..gallery import backup
from ..gallery.people import Person, embedding_identity
from ..inference.core import LONGEST_HANG, RETRIES
from ..inference.machine import read_clocks, read_machine
from ..inference.scheduler import Scheduler
from ..tracking.appearance import Appearance
from ..tracking.visit import RecognitionRules
from . import erasure
from .alert_pictures import AlertPictures
from .appearance_log import LoggedAppearance
from .camera_control import CameraControl
from .camera_worker import CameraWorker, open_camera_worker
from .current_settings import CurrentSettings
from .health import Parts, read_health, report_board, write_metrics
from .hub_erasure import finish_erasure
from .known_people import KnownPeople
from .problems import Problems
from .publisher import Publisher
from .receivers import HUB_SINK
from .settings import CameraSettings, Settings
from .startup import follow_hub, lock_gallery, open_resources, open_service_scheduler
from .states import CameraHealth, Health, Setting, WatchedFrame
from .systemd import notify, watchdog_seconds
from .unnamed import erase_unnamed
from .visit_control import VisitControl
from .watchers import Watchers

if TYPE_CHECKING:
    from ..events.homeassistant import BoardReport
    from .logged_stops import LoggedStops

HOUSEKEEPING_INTERVAL = 1.0  # seconds
PRUNE_INTERVAL = 60.0  # seconds between two deletions of old appearances
# Seconds that frames may wait without any result before systemd's watchdog gets no more messages. Longer than any pause
# in which a core can still recover: the longest wait before it opens a model again, 7 s for that, and a run that hangs.
STUCK_AFTER = max(RETRIES) + 7.0 + LONGEST_HANG
DELIVERY_GRACE = 5.0  # seconds that a sink may still deliver when the service ends; the rest waits in its outbox

log = getLogger("rkface.service")


class Service:
    """Runs while its ``with`` block does; call ``run`` in the block to wait. ``CameraService`` in console_protocol.py
    describes the methods that the console calls.

    Entering raises InputError, before a model is loaded, if a camera, a secret or an outbox cannot be used, or if
    another service uses this gallery. It then raises BundleError, DeviceError and the errors of opening a gallery.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        open_scheduler: Callable[[Settings], Scheduler] = open_service_scheduler,
        open_camera_worker: Callable[[str, CameraSettings], CameraWorker] = open_camera_worker,
    ) -> None:
        self.problems = Problems()
        self._current = CurrentSettings(settings, self.problems)
        self._switches = SwitchRequests()
        self._open_scheduler, self._open_camera_worker = open_scheduler, open_camera_worker
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._unreadable: RkfaceError | OSError | None = None  # what ended a recording
        self._opened = ExitStack()
        self._threads: list[threading.Thread] = []
        self._last_prune = -math.inf
        self._naming = True  # whether the lease of a replica lasted, at the last look
        self._ready = False
        self.started = time.time()
        self._begun = time.monotonic()

    def __enter__(self) -> Service:
        with self._opened as opened:
            opened.enter_context(lock_gallery(self._settings.gallery))
            self._current.start()
            self._open(opened)
            self._watch_cameras()
            opened.callback(self._end_threads)
            # The cameras begin now. What is imported and opened from here on, the first frames do not need.
            self._start("watch", self._visits.watch, self.scheduler.results())
            for name, worker in self.workers.items():
                self._start(f"camera-{name}", self._run_camera, worker)
            self.scheduler.open_later()
            self._take_requests()
            self.hub = opened.enter_context(
                follow_hub(self._settings, self.gallery, self._erase_unnamed, self._finish_erasure, self._describe)
            )
            self._parts = Parts(
                started=self.started,
                machine=read_machine(),
                pipeline=self.pipeline,
                scheduler=self.scheduler,
                gallery=self.gallery,
                workers=self.workers,
                watchers=self.watchers,
                sinks=self.sinks,
                problems=self.problems,
                hub=self.hub,
            )
            self._start("house", self._keep_house)
            self._opened = opened.pop_all()
        self._ready = True
        notify("READY=1", f"STATUS={len(self.workers)} cameras")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        notify("STOPPING=1")
        with self._opened:
            self._end_threads()
            for camera in self.workers:
                self._visits.end(camera)
            for sink in self.sinks:
                sink.close(DELIVERY_GRACE)

    def run(self) -> None:
        """Wait until ``stop`` is called or every camera has ended. Raises the error that ended one of the threads."""
        while not self._stop.wait(HOUSEKEEPING_INTERVAL):  # a wait without timeout would delay signals, too
            pass
        log.info("stopping")
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Make ``run`` return. May be called from any thread, and from a signal handler."""
        self._stop.set()

    # What the console calls: see CameraService.

    @property
    def cameras(self) -> Mapping[str, CameraHealth]:
        return {name: worker.health() for name, worker in self.workers.items()}

    def latest(self, source: str) -> WatchedFrame | None:
        return self.workers[source].latest

    def appearances(
        self,
        limit: int = 50,
        before: float | None = None,
        person: str | None = None,
        source: str | None = None,
        *,
        since: float | None = None,
        until: float | None = None,
    ) -> list[LoggedAppearance]:
        return self._log.newest(limit, before, person, source, since=since, until=until)

    def stops(
        self,
        person: str | None = None,
        source: str | None = None,
        *,
        since: float | None = None,
        until: float | None = None,
    ) -> LoggedStops:
        from .logged_stops import LoggedStops

        return LoggedStops(self._log, self.gallery, person, source, since, until)

    def delete_appearances(self, ids: Sequence[str]) -> int:
        if self._pictures is not None:
            self._pictures.erase_appearances(ids)
        return self._log.delete(ids)

    def face(self, appearance: str) -> bytes | None:
        shots = self.watchers.shots(appearance)
        return encode_crop(shots[0].crop, self.pipeline.crop) if shots else self._log.face(appearance)

    def forget(self, person: str) -> erasure.ErasureReport:
        with self.enrollment.lock:
            known = self.gallery.person(person)
            unnamed = erase_unnamed(self.gallery, self._log, self._pictures, known)
            copies = erasure.delete_in_service(self.gallery, known, self._people.notice_deleted)
        report = erasure.report_in_service(self.gallery, copies, self.sinks, self._settings.events)
        return replace(report, left=[*unnamed, *report.left])

    def alert_picture(self, id: str, expires: int, signature: str) -> bytes | None:
        if self._pictures is None or self._links is None or not self._links.is_valid(id, expires, signature):
            return None
        return self._pictures.jpeg(id)

    def health(self) -> Health:
        return read_health(self._parts, read_clocks())

    def metrics(self) -> str:
        return write_metrics(self._parts, self.health(), self._visits.failed_frames)

    def subscribe(self) -> AbstractContextManager[Queue[Appearance]]:
        return self._publisher.subscribe()

    def settings(self) -> Sequence[Setting]:
        return self._current.live.list_settings()

    def change_settings(self, values: Mapping[str, bool | int | float | str | None]) -> None:
        before = self._current.change(lambda live: live.changed(values, time.time()))
        if self._settings.recognition != before.recognition:
            self._visits.restart()
        log.info("settings changed: %s", ", ".join(sorted(values)))

    # The parts.

    def _open(self, opened: ExitStack) -> None:
        resources = open_resources(
            self._settings,
            opened,
            self.problems,
            open_scheduler=self._open_scheduler,
            open_camera_worker=self._open_camera_worker,
            report=self._report,
            switches=self._switches,
        )
        self._pictures, self._links, self.sinks = resources.pictures, resources.links, resources.sinks
        self.workers, self.scheduler, self.pipeline = resources.workers, resources.scheduler, resources.pipeline
        self.gallery, self._log = resources.gallery, resources.log

    def _watch_cameras(self) -> None:
        """Make what turns the results of frames into appearances."""
        self._people = KnownPeople(self.gallery, self._forget_deleted)
        self._watch_pipeline = self.scheduler.pipeline()
        self._identity = embedding_identity(self.pipeline.manifest)
        self.watchers = Watchers(
            self.workers,
            self._watch_pipeline,
            self.gallery,
            self.problems,
            rules=self._rules,
            settings=lambda camera: self._settings.camera[camera],
        )
        self._alert_pictures = AlertPictures(
            self._pictures,
            self._log,
            self.watchers,
            self.watchers.shots,
            self.problems,
            frame_side=self.pipeline.manifest.longest_side,
        )
        self._publisher = Publisher(
            self.gallery,
            self._log,
            self.sinks,
            self.problems,
            pictures=self._alert_pictures,
            rules=lambda: self._settings.rules,
        )
        self._visits = VisitControl(
            self.workers,
            self.watchers,
            self._publisher,
            self._alert_pictures,
            keep=lambda: self._settings.keep,
            crop=self.pipeline.crop,
            identity=self._identity,
        )
        self.camera_control = CameraControl(
            self.workers,
            self.watchers,
            self._current,
            self.problems,
            requests=self._switches,
            end_visits=self._visits.end,
        )
        self.camera_control.start()

    def _take_requests(self) -> None:
        """Make what answers the requests of the console and of programs."""
        from .enrollment_requests import EnrollmentRequests
        from .photo_requests import PhotoRequests
        from .review_requests import ReviewRequests
        from .rule_requests import RuleRequests
        from .stranger_requests import StrangerRequests

        photo_pipeline = self.scheduler.pipeline()  # a request about a photo does not wait for an enrollment
        self.photos = PhotoRequests(photo_pipeline, self.gallery, lambda: self._rules().match)
        self.rules = RuleRequests(self._current, self.gallery, self._log)
        self.enrollment = EnrollmentRequests(
            self.gallery,
            self.pipeline,
            self._log,
            workers=self.workers,
            watchers=self.watchers,
            people=self._people,
            threshold=lambda: self._rules().match,
        )
        self.reviews = ReviewRequests(
            self.gallery,
            self._log,
            threshold=lambda: self._rules().match,
            lock=self.enrollment.lock,
            changed=self._note_new_faces,
        )
        self.strangers = StrangerRequests(
            self.gallery,
            self._log,
            self._identity,
            threshold=lambda: self._rules().match,
            lock=self.enrollment.lock,
            changed=self._note_new_faces,
        )

    # The threads.

    def _run_camera(self, worker: CameraWorker) -> None:
        """Read one camera until it ends."""
        try:
            worker.run(self.scheduler.submit)
        except (RkfaceError, OSError) as error:  # from a file; a live camera never raises
            worker.ended = True
            self.problems.note(f"camera {worker.name}", str(error))
            self._unreadable = error
        else:
            log.info("camera %s: ended", worker.name)
        if all(each.ended for each in self.workers.values()):
            self._failure = self._failure or self._unreadable
            self._stop.set()

    def _keep_house(self) -> None:
        """Do everything that must be done from time to time."""
        interval = min(HOUSEKEEPING_INTERVAL, (watchdog_seconds() or 3 * HOUSEKEEPING_INTERVAL) / 3)
        while not self._stop.wait(interval):
            self.camera_control.tick()
            self._visits.tick()
            self._publisher.tick(self.watchers.visible_appearances())
            with self.problems.of("gallery"):
                self.gallery.refresh()  # False does not mean that nothing changed: our own writes refresh it, too
                before, self._naming = self._naming, self.gallery.lease.left() > 0
                if self._people.poll() or self._naming != before:
                    self.watchers.search_again()
            if time.monotonic() - self._last_prune >= PRUNE_INTERVAL:
                self._last_prune = time.monotonic()
                self._publisher.prune(self._settings.keep)
                self.enrollment.drop_offers()
            frames_wait = any(worker.pending for worker in self.workers.values())
            if not frames_wait or time.monotonic() - self._visits.last_result < STUCK_AFTER:
                notify("WATCHDOG=1")

    def _start(self, name: str, work: Callable[..., None], *arguments: Any) -> None:
        def run() -> None:
            """An unexpected error in a thread ends the service, and systemd starts it again."""
            try:
                work(*arguments)
            except BaseException as error:
                if not self._stop.is_set():
                    self._failure = error
                    self._stop.set()

        thread = threading.Thread(target=run, name=f"rkface-{name}", daemon=True)
        thread.start()
        self._threads.append(thread)

    def _end_threads(self) -> None:
        """End all threads, and close what they use. Calling it again does nothing."""
        self._stop.set()
        with ThreadPoolExecutor(max(1, len(self.workers))) as closing:  # a camera that hangs must not delay others
            list(closing.map(CameraWorker.close, self.workers.values()))
        self.scheduler.close()
        for thread in self._threads:
            thread.join()

    # What they share.

    def _rules(self) -> RecognitionRules:
        rules = self._settings.recognition.rules(self.pipeline.thresholds)
        return self._settings.liveness.rules(rules, self._watch_pipeline.liveness)

    @property
    def _settings(self) -> Settings:
        return self._current.settings

    def _note_new_faces(self) -> None:
        """People were enrolled, or faces put on the ignore list or removed from it: look again at who is in view."""
        self._people.add_new()
        self.watchers.search_again()

    def _report(self) -> BoardReport | None:
        """The state of this board for Home Assistant."""
        return report_board(self.health()) if self._ready else None

    def _describe(self) -> dict[str, object]:
        """The state of this board for the hub. ``running`` (seconds), ``lost`` (events) and ``blind`` (cameras) tell it
        when nobody looked."""
        if not self._ready:
            return {}
        health = self.health()
        return {
            "release": health.version, "queue": sum(sink.waiting for sink in health.sinks), "celsius": health.celsius,
            "ok": health.ok, "running": round(time.monotonic() - self._begun, 1),
            "lost": sum(sink.lost for sink in health.sinks if sink.name == HUB_SINK),
            "blind": [camera.name for camera in health.cameras if not (camera.connected and camera.on)],
        }  # fmt: skip

    def _erase_unnamed(self, person: Person) -> None:
        """Erase what is kept of ``person``, whom the hub has erased, without the name. What is left is logged."""
        for sentence in erase_unnamed(self.gallery, self._log, self._pictures, person):
            log.warning("the hub erased somebody: %s", sentence)

    def _finish_erasure(self) -> list[str]:
        """Erase people whom the hub has erased. Returns sentences that say what is left."""
        self._people.notice_deleted()
        return finish_erasure(self.gallery, self._log, self._pictures, self.sinks)

    def _forget_deleted(self) -> None:
        """Make deleted people unknown in the sinks, in the log, and in the visits to the cameras."""
        self.enrollment.drop_offers(older=0)  # they may show a deleted person
        self.strangers.finder.forget()
        self._alert_pictures.prune(
            self.gallery
        )  # before the sinks, which withdraw those that are gone, and before the log
        erasure.erase_from_sinks(backup.forgotten(self.gallery), self.sinks)
        self._publisher.prune(self._settings.keep)
        self._visits.restart()
