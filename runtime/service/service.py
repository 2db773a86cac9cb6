"""The camera service: cameras → scheduler → watchers → events and the log. Its console calls the same object."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from logging import getLogger
from queue import Queue
from types import TracebackType
from typing import TYPE_CHECKING

from ..core.errors import RkfaceError
from ..events import SwitchRequests
from ..inference.machine import read_clocks, read_machine
from ..inference.scheduler import Scheduler
from ..tracking.appearance import Appearance
from .camera_watch import watch_cameras
from .camera_worker import CameraWorker, open_camera_worker
from .current_settings import CurrentSettings
from .health import Parts, describe_board, read_health, report_board, write_metrics
from .losses import find_losses
from .problems import Problems
from .settings import CameraSettings, Settings
from .startup import follow_hub, lock_gallery, open_resources, open_service_scheduler
from .states import CameraHealth, Health, Setting, WatchedFrame
from .systemd import notify
from .threads import Threads

if TYPE_CHECKING:
    from ..events.homeassistant import BoardReport

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
        self._unreadable: RkfaceError | OSError | None = None  # what ended a recording
        self._opened = ExitStack()
        self._threads = Threads()
        self._ready = self._played = False
        self.started = time.time()
        self._begun = time.monotonic()

    def __enter__(self) -> Service:
        with self._opened as opened:
            opened.enter_context(lock_gallery(self._settings.gallery))
            self._current.start()
            self._resources = open_resources(
                self._settings,
                opened,
                self.problems,
                open_scheduler=self._open_scheduler,
                open_camera_worker=self._open_camera_worker,
                report=self._report,
                switches=self._switches,
            )
            self.workers, self.scheduler = self._resources.workers, self._resources.scheduler
            self.pipeline, self.gallery = self._resources.pipeline, self._resources.gallery
            self._watch = watch_cameras(self._resources, self._current, self.problems, self._switches)
            self.watchers, self.camera_control = self._watch.watchers, self._watch.control
            opened.callback(self._end_threads)
            # The cameras begin now. What is imported and opened from here on, the first frames do not need.
            self._threads.start("watch", self._watch.visits.watch, self.scheduler.results())
            for name, worker in self.workers.items():
                self._threads.start(f"camera-{name}", self._run_camera, worker)
            self.scheduler.open_later()
            self._take_requests()
            self.hub = opened.enter_context(
                follow_hub(
                    self._settings, self.gallery, self.erasure.erase_unnamed, self.erasure.finish, self._describe
                )
            )
            self._parts = Parts(
                started=self.started,
                machine=read_machine(),
                pipeline=self.pipeline,
                scheduler=self.scheduler,
                gallery=self.gallery,
                workers=self.workers,
                watchers=self.watchers,
                sinks=self._resources.sinks,
                problems=self.problems,
                hub=self.hub,
            )
            self._threads.start("house", self._housekeeping.run, self._threads.pause)
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
                self._watch.visits.end(camera)
            for sink in self._resources.sinks:
                sink.close(DELIVERY_GRACE)

    def run(self) -> None:
        """Wait until ``stop`` is called or every camera has ended. Raises the error that ended one of the threads."""
        failure = self._threads.wait()
        log.info("stopping")
        if failure is not None:
            raise failure

    def losses(self) -> list[str]:
        """What was lost, in words, if every camera was a recording that has ended; live cameras have health for that.
        Call it after the ``with`` block."""
        return [*find_losses(self._resources.sinks, self.workers.values(), self._watch)] if self._played else []

    def stop(self) -> None:
        """Make ``run`` return. May be called from any thread, and from a signal handler."""
        self._threads.end()

    # What the console calls: see CameraService.

    @property
    def cameras(self) -> Mapping[str, CameraHealth]:
        return {name: worker.health() for name, worker in self.workers.items()}

    def latest(self, source: str) -> WatchedFrame | None:
        return self.workers[source].latest

    def health(self) -> Health:
        return read_health(self._parts, read_clocks())

    def metrics(self) -> str:
        return write_metrics(self._parts, self.health(), self._watch.visits.failed_frames)

    def subscribe(self) -> AbstractContextManager[Queue[Appearance]]:
        return self._watch.publisher.subscribe()

    def settings(self) -> Sequence[Setting]:
        return self._current.live.list_settings()

    def change_settings(self, values: Mapping[str, bool | int | float | str | None]) -> None:
        before = self._current.change(lambda live: live.changed(values, time.time()))
        if self._settings.recognition != before.recognition:
            self._watch.visits.restart()
        log.info("settings changed: %s", ", ".join(sorted(values)))

    # The parts.

    def _take_requests(self) -> None:
        """Make what answers the requests of the console and of programs."""
        from .appearance_requests import AppearanceRequests
        from .enrollment_requests import EnrollmentRequests
        from .housekeeping import Housekeeping
        from .known_people import KnownPeople
        from .photo_requests import PhotoRequests
        from .review_requests import ReviewRequests
        from .rule_requests import RuleRequests
        from .service_erasure import ServiceErasure
        from .stranger_requests import StrangerRequests

        gallery, logged, watchers = self.gallery, self._resources.log, self.watchers
        people = KnownPeople(gallery)

        def threshold() -> float:
            return self._watch.rules().match

        def note_new_faces() -> None:
            """People were enrolled, or faces put on the ignore list or removed from it."""
            people.add_new()
            watchers.search_again()

        self.appearances = AppearanceRequests(
            gallery,
            logged,
            watchers,
            crop=self.pipeline.crop,
            pictures=self._resources.pictures,
            links=self._resources.links,
        )
        self.photos = PhotoRequests(self.scheduler.pipeline(), gallery, threshold)  # does not wait for an enrollment
        self.rules = RuleRequests(self._current, gallery, logged)
        self.enrollment = EnrollmentRequests(
            gallery,
            self.pipeline,
            logged,
            workers=self.workers,
            watchers=watchers,
            people=people,
            threshold=threshold,
        )
        lock = self.enrollment.lock
        self.reviews = ReviewRequests(gallery, logged, threshold=threshold, lock=lock, changed=note_new_faces)
        self.strangers = StrangerRequests(
            gallery, logged, self._watch.identity, threshold=threshold, lock=lock, changed=note_new_faces
        )
        self.erasure = ServiceErasure(
            self._resources,
            self._watch,
            self._current,
            people=people,
            enrollment=self.enrollment,
            strangers=self.strangers.finder,
        )
        self._housekeeping = Housekeeping(
            self._resources, self._watch, self._current, self.problems, people=people, enrollment=self.enrollment
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
            self._played = not worker.camera.closed
            self._threads.end(self._unreadable)

    def _end_threads(self) -> None:
        """End all threads, and close what they use. Calling it again does nothing."""
        self._threads.end()
        with ThreadPoolExecutor(max(1, len(self.workers))) as closing:  # a camera that hangs must not delay others
            list(closing.map(CameraWorker.close, self.workers.values()))
        self.scheduler.close()
        self._threads.join()

    # What they share.

    @property
    def _settings(self) -> Settings:
        return self._current.settings

    def _report(self) -> BoardReport | None:
        """The state of this board for Home Assistant."""
        return report_board(self.health()) if self._ready else None

    def _describe(self) -> dict[str, object]:
        """The state of this board for the hub."""
        return describe_board(self.health(), time.monotonic() - self._begun) if self._ready else {}
