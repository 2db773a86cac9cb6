"""The camera service: cameras → scheduler → watchers → events and the log, with one object for whoever looks on."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from logging import getLogger
from queue import Queue
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import RkfaceError
from ..enrollment.enroll import EnrollOptions, Verdict, decode_crop, encode_crop, enroll, enroll_shots
from ..enrollment.guidance import Guidance, assess_face
from ..gallery import backup
from ..gallery.match import Match
from ..gallery.people import Sample
from ..inference.frames import Frame, Result
from ..inference.machine import read_clocks, read_machine
from ..inference.scheduler import Scheduler
from ..tracking.appearance import Appearance
from ..tracking.visit import RecognitionRules, Shot
from ..tracking.watcher import VisibleFace, Watcher, watch
from . import erasure, live_settings
from .appearance_log import FILE as LOG
from .appearance_log import AppearanceLog
from .camera_worker import CameraWorker, Watchers, open_camera_worker
from .console_protocol import CameraHealth, Health, Setting
from .health import Parts, metrics, read_health
from .problems import Problems
from .publisher import Publisher
from .settings import CameraSettings, Settings
from .startup import locked, open_gallery, open_sinks, scheduler_of
from .systemd import notify, watchdog_seconds

BEAT = 1.0  # seconds between two rounds of housekeeping
ROUND = 60.0  # seconds between two looks at what is too old
STUCK = 20.0  # seconds that frames may wait without any result before systemd is not told that all is well
GRACE = 5.0  # seconds that a sink may go on delivering when the service ends; the rest waits in its outbox
SHOTS = 3  # of an appearance that become samples

log = getLogger("rkface.service")


class Service:
    """Runs from ``with`` to the block's end; ``run`` waits in between. ``web.service_protocol`` says what the methods
    do that a console calls.

    InputError, before a model is loaded, where a camera, a secret or an outbox cannot be used or another service has
    this gallery; then BundleError, DeviceError and what opening a gallery raises.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        open_scheduler: Callable[[Settings], Scheduler] = scheduler_of,
        open_camera_worker: Callable[[str, CameraSettings], CameraWorker] = open_camera_worker,
    ) -> None:
        self._settings = live_settings.remembered(settings)
        self._open_scheduler, self._open_view = open_scheduler, open_camera_worker
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._opened = ExitStack()
        self._enrolling = threading.Lock()  # one at a time
        self._noticing = threading.Lock()  # who is there and who is gone
        self._result_at, self._pruned = time.monotonic(), -math.inf
        self._version = 0  # of the gallery, when it was last asked who is in it
        self.problems = Problems()
        self.started = time.time()
        self.failed_frames = 0

    def __enter__(self) -> Service:
        settings = self._settings
        with self._opened as opened:
            opened.enter_context(locked(settings.gallery))
            forgotten = erasure.read_forgotten(settings.gallery)  # also while no service ran
            self.sinks = open_sinks(settings, opened, forgotten)
            self.views = {name: self._open_view(name, each) for name, each in settings.camera.items()}
            self.scheduler = opened.enter_context(self._open_scheduler(settings))
            self.pipeline = self.scheduler.pipeline()  # of whoever enrolls
            self._eye = self.scheduler.pipeline()  # of the watchers
            self.gallery = opened.enter_context(open_gallery(settings, self.pipeline))
            self._log = opened.enter_context(AppearanceLog(settings.beside(LOG), lambda: self.gallery.cipher))
            with self.problems.of("appearances"):
                self._log.encrypt()
            self._people = self._ids()
            self._publisher = Publisher(self.gallery, self._log, self.sinks, self.problems)
            for view in self.views.values():
                view.watcher = self._watcher(view.name)
            self._parts = Parts(
                self.started,
                read_machine(),
                self.pipeline,
                self.scheduler,
                self.gallery,
                self.views,
                self.sinks,
                self.problems,
            )
            self._threads = [
                self._thread("watch", self._watch),
                self._thread("house", self._keep_house),
                *(self._thread(f"camera-{view.name}", self._run_view, view) for view in self.views.values()),
            ]
            self._opened = opened.pop_all()
        for thread in self._threads:
            thread.start()
        notify("READY=1", f"STATUS={len(self.views)} cameras")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        notify("STOPPING=1")
        self._stop.set()
        with self._opened:
            with ThreadPoolExecutor(max(1, len(self.views))) as closing:  # one that hangs for seconds delays no other
                list(closing.map(CameraWorker.close, self.views.values()))
            self.scheduler.close()
            for thread in self._threads:
                thread.join()
            for view in self.views.values():
                if view.watcher is not None:
                    self._tell(view.watcher, view.watcher.close())
            for sink in self.sinks:
                sink.close(GRACE)

    def run(self) -> None:
        """Wait until it is told to stop, or every camera has ended. Raises what ended the work of a thread."""
        while not self._stop.wait(BEAT):  # a plain wait would keep signals waiting too
            pass
        log.info("stopping")
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Have ``run`` return; from any thread or a signal's handler."""
        self._stop.set()

    # What a console asks.

    @property
    def cameras(self) -> Mapping[str, CameraHealth]:
        return {name: view.health() for name, view in self.views.items()}

    def latest(self, source: str) -> tuple[Frame | None, tuple[VisibleFace, ...]]:
        return self.views[source].latest

    def appearances(
        self, limit: int = 50, before: float | None = None, person: str | None = None, source: str | None = None
    ) -> list[dict[str, Any]]:
        return self._log.newest(limit, before, person, source)

    def face(self, appearance: str) -> bytes | None:
        shots = self._shots(appearance)
        return encode_crop(shots[0].crop) if shots else self._log.face(appearance)

    def enroll(self, name: str, image: NDArray[np.uint8], source: str, *, force: bool = False) -> Verdict:
        with self._enrolling:
            verdict = enroll(self.gallery, self.pipeline, name, image, source, rules=EnrollOptions(force=force))
            self._notice_new()
            return verdict

    def enroll_seen(self, name: str, appearance: str, *, force: bool = False) -> Verdict:
        with self._enrolling:
            shots = self._shots(appearance)[:SHOTS]
            samples = [Sample(shot.embedding, encode_crop(shot.crop), shot.quality, "camera") for shot in shots]
            kept = None if samples else self._log.face(appearance)
            crop = decode_crop(kept) if kept else None
            if crop is not None:
                samples = [Sample(self.pipeline.embed([crop])[0], kept, 1.0, "camera")]
            if not samples:
                return Verdict("refused", name, "camera", "no picture of this appearance is kept any more")
            match = self._rules().match
            verdict = enroll_shots(self.gallery, name, samples, "camera", threshold=match, force=force)
            self._notice_new()
            return verdict

    def guide(self, source: str) -> Guidance:
        frame, _ = self.latest(source)
        if frame is None:
            return Guidance(False, "The camera gives no picture yet.")
        with self._enrolling:
            return assess_face(self.pipeline, frame.image).guidance

    def forget(self, person: str) -> erasure.ErasureReport:
        with self._enrolling:
            copies = erasure.delete_in_service(self.gallery, self.gallery.person(person), self._notice_people)
        return erasure.report_in_service(self.gallery, copies, self.sinks, self._settings.events)

    def health(self) -> Health:
        return read_health(self._parts, read_clocks())

    def metrics(self) -> str:
        return metrics(self._parts, self.health(), self.failed_frames)

    def subscribe(self) -> AbstractContextManager[Queue[dict[str, Any]]]:
        return self._publisher.subscribe()

    def settings(self) -> Sequence[Setting]:
        return live_settings.listed(self._settings)

    def change(self, values: Mapping[str, bool | int | float | str]) -> None:
        settings = live_settings.changed(self._settings, values)
        live_settings.remember(settings)
        rules_stay = settings.recognition == self._settings.recognition
        self._settings = settings
        if not rules_stay:
            self._renew()
        log.info("settings changed: %s", ", ".join(sorted(values)))

    # How.

    def _rules(self) -> RecognitionRules:
        rules = self._settings.recognition.rules(self.pipeline.thresholds)
        return self._settings.liveness.rules(rules, self._eye.liveness)

    def _watcher(self, source: str) -> Watcher:
        return Watcher(source, self._eye, self._search, self._rules(), liveness=self._eye.liveness)

    def _renew(self) -> None:
        """End all visits and begin anew."""
        for view in self.views.values():
            if view.watcher is not None:
                old, view.watcher = view.watcher, self._watcher(view.name)
                self._tell(old, old.close())

    def _search(self, vectors: NDArray[np.float32], people: int) -> Sequence[Sequence[Match]]:
        """As the gallery's; one that cannot be read at the moment knows nobody, and health says so."""
        with self.problems.of("search"):
            return self.gallery.search(vectors, people)
        return [[] for _ in vectors]

    def _shots(self, appearance: str) -> Sequence[Shot]:
        watchers = (view.watcher for view in self.views.values() if view.watcher is not None)
        return next((shots for watcher in watchers if (shots := watcher.shots(appearance))), ())

    def _tell(self, watcher: Watcher, appearances: Iterable[Appearance]) -> None:
        def face(appearance: Appearance) -> bytes | None:
            shots = watcher.shots(appearance.id) if self._settings.keep.unknown_faces else ()
            return encode_crop(shots[0].crop) if shots else None

        for appearance in appearances:
            self._publisher.tell(appearance, face)

    def _run_view(self, view: CameraWorker) -> None:
        """Thread: one camera."""
        try:
            view.run(self.scheduler.submit)
        except (RkfaceError, OSError) as error:  # of a file; a live camera raises nothing
            view.ended = True
            self.problems.note(f"camera {view.name}", str(error))
        else:
            log.info("camera %s: ended", view.name)
        if all(each.ended for each in self.views.values()):
            self._stop.set()

    def _watch(self) -> None:
        """Thread: results → appearances → the world."""
        watchers = Watchers(self.views)
        for appearance in watch(self._noted(self.scheduler.results()), watchers):
            self._tell(watchers[appearance.source], [appearance])

    def _noted(self, results: Iterable[Result]) -> Iterator[Result]:
        for result in results:
            view = self.views[result.frame.source]
            self._result_at = time.monotonic()
            self.failed_frames += result.error is not None
            yield result
            view.seen(result)  # once the watcher has stepped

    def _keep_house(self) -> None:
        """Thread: what has to be done now and then."""
        beat = min(BEAT, (watchdog_seconds() or 3 * BEAT) / 3)
        while not self._stop.wait(beat):
            for view in self.views.values():
                view.sample()
                if view.watcher is not None and not view.pending:  # nothing comes: a camera that is away
                    self._tell(view.watcher, view.watcher.tick())
            with self.problems.of("gallery"):
                self.gallery.refresh()  # which says nothing new where a write of our own took it over before
                version = self.gallery.version()
                if version != self._version:
                    self._notice_people()
                    self._version = version
            if time.monotonic() - self._pruned >= ROUND:
                self._pruned = time.monotonic()
                self._publisher.prune(self._settings.keep)
            waits = any(view.pending for view in self.views.values())
            if not waits or time.monotonic() - self._result_at < STUCK:
                notify("WATCHDOG=1")

    def _ids(self) -> frozenset[str]:
        return frozenset(person.id for person in self.gallery.people())

    def _notice_new(self) -> None:
        with self._noticing:
            self._people |= self._ids()  # whom another program forgot meanwhile is still to be noticed

    def _notice_people(self) -> None:
        """Who was forgotten, here or by another program, is a stranger from now on, also one before a camera. On return
        all is done, whichever thread noticed first."""
        with self._noticing:
            before, self._people = self._people, self._ids()
            if before - self._people:
                erasure.erase_from_sinks(backup.forgotten(self.gallery), self.sinks)
                self._publisher.prune(self._settings.keep)
                self._renew()

    def _thread(self, name: str, work: Callable[..., None], *arguments: Any) -> threading.Thread:
        def guarded() -> None:
            """What ends a thread for a reason nobody thought of ends the service: systemd starts it anew."""
            try:
                work(*arguments)
            except BaseException as error:
                if not self._stop.is_set():
                    self._failure = error
                    self._stop.set()

        return threading.Thread(target=guarded, name=f"rkface-{name}", daemon=True)
