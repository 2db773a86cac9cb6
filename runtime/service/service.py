"""The camera service: cameras → scheduler → watchers → events and the log. Its console calls the same object."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from logging import getLogger
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..core.background import in_background
from ..core.errors import RkfaceError
from ..inference.scheduler import Scheduler
from .camera_worker import CameraWorker, open_camera_worker, set_cameras
from .current_settings import CurrentSettings
from .problems import Problems
from .settings import CameraSettings, Settings
from .startup import check_library, lock_gallery, open_service_scheduler
from .states import CameraHealth, Health, Setting, WatchedFrame
from .systemd import notify
from .threads import Threads

# All other modules are imported where they are used, while the first frames are searched.
if TYPE_CHECKING:
    from concurrent.futures import Future
    from queue import Queue

    from ..events.homeassistant import BoardReport
    from ..tracking.appearance import Appearance
    from .appearance_requests import AppearanceRequests
    from .enrollment_requests import EnrollmentRequests
    from .photo_requests import PhotoRequests
    from .requests import Requests
    from .review_requests import ReviewRequests
    from .rule_requests import RuleRequests
    from .service_erasure import ServiceErasure
    from .stranger_requests import StrangerRequests

DELIVERY_GRACE = 5.0  # seconds that a sink may still deliver when the service ends; the rest waits in its outbox

log = getLogger("rkface.service")


class Service:
    """Runs while its ``with`` block does; call ``run`` in the block to wait. ``CameraService`` in console_protocol.py
    describes the methods that the console calls.

    Entering raises InputError, before a model is loaded, if a camera cannot be used or another service uses this
    gallery. It then raises BundleError and DeviceError. While the cameras begin, it raises InputError if a secret or an
    outbox cannot be used, and the errors of opening a gallery.
    """

    # What answers the requests of the console and of programs; see ``__getattr__``.
    appearances: AppearanceRequests
    photos: PhotoRequests
    rules: RuleRequests
    enrollment: EnrollmentRequests
    reviews: ReviewRequests
    strangers: StrangerRequests
    erasure: ServiceErasure

    def __init__(
        self,
        settings: Settings,
        *,
        open_scheduler: Callable[[Settings], Scheduler] = open_service_scheduler,
        open_camera_worker: Callable[[str, CameraSettings], CameraWorker] = open_camera_worker,
    ) -> None:
        self.problems = Problems()
        self._current = CurrentSettings(settings, self.problems)
        self._open_scheduler, self._open_camera_worker = open_scheduler, open_camera_worker
        self._unreadable: RkfaceError | OSError | None = None  # what ended a recording
        self._opened = ExitStack()
        self._recognizer: Future[None] | None = None
        self._requests: Requests | None = None
        self._taking = Lock()
        self._threads = Threads()
        self._ready = self._played = False
        self.started = time.time()
        self._begun = time.monotonic()

    def __enter__(self) -> Service:
        with self._opened as opened:
            opened.enter_context(lock_gallery(self._settings.gallery))
            self._current.start()
            self._begin_cameras(opened)
            # What is imported and opened from here on, the first frames do not need.
            self._recognizer = in_background("recognizer", self.scheduler.open_later)
            self._watch_cameras(opened)
            self._keep_house(opened)
            self._recognizer.result()
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
        from .losses import find_losses

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
        from ..inference.machine import read_clocks
        from .health import read_health

        return read_health(self._parts, read_clocks())

    def metrics(self) -> str:
        from .health import write_metrics

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

    def _begin_cameras(self, opened: ExitStack) -> None:
        """Open the models that find faces, and let the cameras begin."""
        settings = self._settings
        self.workers = {name: self._open_camera_worker(name, camera) for name, camera in settings.camera.items()}
        self.scheduler = opened.enter_context(self._open_scheduler(settings))
        self.pipeline = self.scheduler.pipeline()
        check_library(self.pipeline)
        set_cameras(self.workers, self._current.live)
        opened.callback(self._end_threads)
        for name, worker in self.workers.items():
            worker.note_detector(self.pipeline.manifest.longest_side)
            self._threads.start(f"camera-{name}", self._run_camera, worker)

    def _watch_cameras(self, opened: ExitStack) -> None:
        """Open the receivers, the gallery and the log, and turn the results of frames into appearances."""
        from .camera_watch import watch_cameras
        from .known_people import KnownPeople
        from .resources import open_resources

        self._resources = open_resources(
            self._settings,
            opened,
            self.problems,
            workers=self.workers,
            scheduler=self.scheduler,
            report=self._report,
        )
        self.gallery = self._resources.gallery
        self._people = KnownPeople(self.gallery)
        self._watch = watch_cameras(self._resources, self._current, self.problems)
        self.watchers, self.camera_control = self._watch.watchers, self._watch.control
        opened.callback(self._end_threads)  # before what they use is closed
        self._threads.start("watch", self._watch.visits.watch, self.scheduler.results())

    def _keep_house(self, opened: ExitStack) -> None:
        """Follow the hub, if there is one, note the parts for health, and keep house."""
        from ..inference.machine import read_machine
        from .health import Parts
        from .housekeeping import Housekeeping
        from .resources import follow_hub

        self.hub = opened.enter_context(
            follow_hub(
                self._settings,
                self.gallery,
                lambda person: self.erasure.erase_unnamed(person),  # noqa: PLW0108 (made on first use)
                lambda: self.erasure.finish(),  # noqa: PLW0108
                self._describe,
            )
        )
        self._parts = Parts(
            self.started, read_machine(), self.pipeline, self.scheduler, self.gallery, self.workers, self.watchers,
            self._resources.sinks, self.problems, self.hub,
        )  # fmt: skip
        parts = (self._resources, self._watch, self._current, self.problems)
        keeping = Housekeeping(*parts, people=self._people, enrollment=lambda: self.enrollment)
        self._threads.start("house", keeping.run, self._threads.pause)

    def __getattr__(self, name: str) -> Any:
        """What answers requests is made when the first one comes, or by the first look of the house thread."""
        if name not in Service.__annotations__:
            raise AttributeError(f"a service has no {name!r}")
        with self._taking:
            if self._requests is None:
                from .requests import take_requests

                self._requests = take_requests(self._resources, self._watch, self._current, self._people)
        return getattr(self._requests, name)

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
        from concurrent.futures import ThreadPoolExecutor

        self._threads.end()
        if self._recognizer is not None:
            self._recognizer.exception()  # waits: nothing is closed while it opens
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
        from .health import report_board

        return report_board(self.health()) if self._ready else None

    def _describe(self) -> dict[str, object]:
        """The state of this board for the hub."""
        from .health import describe_board

        return describe_board(self.health(), time.monotonic() - self._begun) if self._ready else {}
