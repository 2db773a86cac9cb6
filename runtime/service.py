"""The camera service: cameras → scheduler → watchers → events and the log, with one object for whoever looks on."""

from __future__ import annotations

import fcntl
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from logging import getLogger
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import gallery_copies, tuning
from .appearance import Appearance, Match
from .appearances import FILE as LOG
from .appearances import AppearanceLog
from .enrol import Rules as EnrolRules
from .enrol import Verdict, decode, encode, enrol, enrol_shots
from .errors import InputError, RkfaceError, WorkError
from .faces import Faces
from .gallery import Gallery
from .guide import Guidance, guide
from .machine import read_clocks, read_machine
from .person import Sample, embedding_identity
from .pipeline import Pipeline
from .scheduler import Frame, Result, Scheduler, open_scheduler
from .settings import Settings
from .sinks import GRACE, open_sinks
from .status import metrics, read_health
from .systemd import notify, watchdog_seconds
from .view import View, open_view
from .visit import Rules, Shot
from .watch import Present, Watcher, watch
from .web.service_protocol import CameraHealth, Health, Setting

BEAT = 1.0  # seconds between two rounds of housekeeping
ROUND = 60.0  # seconds between two looks at what is too old
STUCK = 20.0  # seconds that frames may wait without any result before systemd is not told that all is well
EVENTS = 256  # that wait for one subscriber
SHOTS = 3  # of an appearance that become samples

log = getLogger("rkface.service")

OpenScheduler = Callable[[Settings], Scheduler]


def detect_doubtful(pipeline: Pipeline, image: NDArray[np.uint8]) -> Faces:
    """The scheduler's work: detection alone, down to the scores that carry a track on."""
    return pipeline.detect(image, Rules.of(pipeline.thresholds).doubtful)


def scheduler_of(settings: Settings) -> Scheduler:
    return open_scheduler(
        settings.bundle, settings.backend or None, cores=settings.cores or None, work=detect_doubtful
    )


class Service:
    """Runs from ``with`` to the block's end; ``run`` waits in between. ``web.service_protocol`` says what the methods
    do that a console calls.

    InputError, before a model is loaded, where a camera, a secret or a spool cannot be used or another service has this
    gallery; then BundleError, DeviceError and what opening a gallery raises.
    """

    def __init__(self, settings: Settings, *, open_scheduler: OpenScheduler = scheduler_of) -> None:
        self._settings = tuning.remembered(settings)
        self._open_scheduler = open_scheduler
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._opened = ExitStack()
        self._subscribers: list[queue.Queue[dict[str, Any]]] = []
        self._troubles: dict[str, str] = {}  # by part: what is wrong with it now
        self._telling = threading.Lock()
        self._manual = threading.Lock()  # one enrolment at a time
        self._result_at = self._pruned = time.monotonic()
        self.started = time.time()
        self.failed_frames = 0

    def __enter__(self) -> Service:
        settings = self._settings
        with self._opened as opened:
            opened.enter_context(_locked(settings.gallery))
            self._log = opened.enter_context(AppearanceLog(settings.beside(LOG)))
            self.sinks = open_sinks(settings, opened)
            self.views = {name: open_view(name, each) for name, each in settings.camera.items()}
            self.scheduler = opened.enter_context(self._open_scheduler(settings))
            self.pipeline = self.scheduler.pipeline()  # of whoever enrols
            self._eye = self.scheduler.pipeline()  # of the watchers
            self.gallery = opened.enter_context(_gallery(settings.gallery, self.pipeline))
            for view in self.views.values():
                view.watcher = self._watcher(view.name)
            self.machine = read_machine()
            self._threads = [
                threading.Thread(target=self._guarded, args=(work, *rest), name=f"rkface-{name}", daemon=True)
                for name, work, *rest in (
                    ("watch", self._watch),
                    ("house", self._keep_house),
                    *((f"camera-{view.name}", self._run_view, view) for view in self.views.values()),
                )
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
            for view in self.views.values():
                view.close()
            self.scheduler.close()
            for thread in self._threads:
                thread.join()
            for view in self.views.values():
                if view.watcher is not None:
                    self._tell_all(view, view.watcher.close())
            for sink in self.sinks:
                sink.close(GRACE)

    def run(self) -> None:
        """Wait until it is told to stop, or every camera has ended. Raises what ended the work of a thread."""
        while not self._stop.wait(BEAT):  # a plain wait would keep signals waiting too
            pass
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Have ``run`` return; from any thread or a signal's handler."""
        self._stop.set()

    # What a console asks.

    @property
    def cameras(self) -> Mapping[str, CameraHealth]:
        return {name: view.health() for name, view in self.views.items()}

    def latest(self, source: str) -> tuple[Frame | None, tuple[Present, ...]]:
        return self.views[source].latest

    def appearances(
        self, limit: int = 50, before: float | None = None, person: str | None = None, source: str | None = None
    ) -> list[dict[str, Any]]:
        return self._log.newest(limit, before, person, source)

    def face(self, appearance: str) -> bytes | None:
        shots = self._shots(appearance)
        return encode(shots[0].crop) if shots else self._log.face(appearance)

    def enrol(self, name: str, image: NDArray[np.uint8], source: str, *, force: bool = False) -> Verdict:
        with self._manual:
            return enrol(self.gallery, self.pipeline, name, image, source, rules=EnrolRules(force=force))

    def enrol_seen(self, name: str, appearance: str, *, force: bool = False) -> Verdict:
        with self._manual:
            shots = self._shots(appearance)[:SHOTS]
            samples = [Sample(shot.embedding, encode(shot.crop), shot.quality, "camera") for shot in shots]
            kept = None if samples else self._log.face(appearance)
            crop = decode(kept) if kept else None
            if crop is not None:
                samples = [Sample(self.pipeline.embed([crop])[0], kept, 1.0, "camera")]
            if not samples:
                return Verdict("refused", name, "camera", "no picture of this appearance is kept any more")
            threshold = self._rules().match
            return enrol_shots(self.gallery, name, samples, "camera", threshold=threshold, force=force)

    def guide(self, source: str) -> Guidance:
        frame, _ = self.latest(source)
        if frame is None:
            return Guidance(False, "The camera gives no picture yet.")
        with self._manual:
            return guide(self.pipeline, frame.image)

    def forget(self, person: str) -> Sequence[str]:
        with self._manual:
            left = gallery_copies.forget(self.gallery, self.gallery.person(person))
            self._prune()
        said = [f"{copy.path}: {copy.reason}" for copy in left]
        if self._settings.events.file:
            said.append(f"{self._settings.events.file} and its older parts may name this person in past events")
        return said

    def health(self) -> Health:
        return read_health(self, self._troubles, read_clocks())

    def metrics(self) -> str:
        return metrics(self, self.health())

    @contextmanager
    def subscribe(self) -> Iterator[queue.Queue[dict[str, Any]]]:
        mine: queue.Queue[dict[str, Any]] = queue.Queue(EVENTS)
        self._subscribers.append(mine)
        try:
            yield mine
        finally:
            self._subscribers.remove(mine)

    def settings(self) -> Sequence[Setting]:
        return tuning.listed(self._settings)

    def change(self, values: Mapping[str, bool | int | float | str]) -> None:
        settings = tuning.changed(self._settings, values)
        tuning.remember(settings)
        rules_stay = settings.recognition == self._settings.recognition
        self._settings = settings
        for view in self.views.values():
            if rules_stay or view.watcher is None:
                continue
            old, view.watcher = view.watcher, self._watcher(view.name)
            self._tell_all(view, old.close())
        log.info("settings changed: %s", ", ".join(sorted(values)))

    # How.

    def _rules(self) -> Rules:
        return self._settings.recognition.rules(self.pipeline.thresholds)

    def _watcher(self, source: str) -> Watcher:
        return Watcher(source, self._eye, self._search, self._rules())

    def _search(self, vectors: NDArray[np.float32], people: int) -> Sequence[Sequence[Match]]:
        """As the gallery's; one that cannot be read at the moment knows nobody, and health says so."""
        try:
            return self.gallery.search(vectors, people)
        except RkfaceError as error:
            self._trouble("gallery", str(error))
            return [[] for _ in vectors]

    def _shots(self, appearance: str) -> Sequence[Shot]:
        watchers = (view.watcher for view in self.views.values() if view.watcher is not None)
        return next((shots for watcher in watchers if (shots := watcher.shots(appearance))), ())

    def _run_view(self, view: View) -> None:
        try:
            view.run(self.scheduler.submit)
        except (RkfaceError, OSError) as error:  # of a file; a live camera raises nothing
            view.ended = True
            self._trouble(f"camera {view.name}", str(error))
        else:
            log.info("camera %s: ended", view.name)
        if all(each.ended for each in self.views.values()):
            self._stop.set()

    def _watch(self) -> None:
        """Thread: results → appearances → the world."""
        for appearance in watch(self._noted(self.scheduler.results()), _Watchers(self.views)):
            self._tell(self.views[appearance.source], appearance)

    def _noted(self, results: Iterable[Result]) -> Iterator[Result]:
        for result in results:
            view = self.views[result.frame.source]
            view.arrived(result)
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
                    self._tell_all(view, view.watcher.tick())
            with self._noting("gallery"):
                self.gallery.refresh()
            if time.monotonic() - self._pruned >= ROUND:
                self._pruned = time.monotonic()
                self._prune()
            waits = any(view.pending for view in self.views.values())
            if not waits or time.monotonic() - self._result_at < STUCK:
                notify("WATCHDOG=1")

    def _prune(self) -> None:
        with self._noting("appearances"):
            people = [person.id for person in self.gallery.people()]
            merged = self.gallery.read("SELECT id, person FROM former WHERE person IS NOT NULL")
            self._log.prune(self._settings.keep, people, dict(merged))

    def _tell_all(self, view: View, appearances: Iterable[Appearance]) -> None:
        for appearance in appearances:
            self._tell(view, appearance)

    def _tell(self, view: View, appearance: Appearance) -> None:
        event = appearance.as_event()
        face = None
        if appearance.match is None and self._settings.keep.unknown_faces and view.watcher is not None:
            face = next((encode(shot.crop) for shot in view.watcher.shots(appearance.id)), None)
        with self._telling:  # so that all hear the same order
            for sink in self.sinks:
                sink.send(event)
            for subscriber in list(self._subscribers):
                if subscriber.full():
                    with suppress(queue.Empty):
                        subscriber.get_nowait()
                subscriber.put_nowait(event)
            with self._noting("appearances"):
                self._log.record(appearance, face)

    @contextmanager
    def _noting(self, part: str) -> Iterator[None]:
        """What goes wrong in the block is a trouble of ``part``, until it goes well; the camera goes on."""
        try:
            yield
        except RkfaceError as error:
            self._trouble(part, str(error))
        else:
            self._troubles.pop(part, None)

    def _trouble(self, part: str, text: str) -> None:
        if self._troubles.get(part) != text:  # said once
            log.error("%s: %s", part, text)
        self._troubles[part] = text

    def _guarded(self, work: Callable[..., None], *arguments: Any) -> None:
        """What ends a thread for a reason nobody thought of ends the service: systemd starts it anew."""
        try:
            work(*arguments)
        except BaseException as error:
            if not self._stop.is_set():
                self._failure = error
                self._stop.set()


class _Watchers(Mapping[str, Watcher]):
    """The views' watchers as they are now: settings may replace one while results come."""

    def __init__(self, views: Mapping[str, View]) -> None:
        self._views = views

    def __getitem__(self, source: str) -> Watcher:
        watcher = self._views[source].watcher
        if watcher is None:
            raise KeyError(source)
        return watcher

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)


def _gallery(path: Path, pipeline: Pipeline) -> Gallery:
    identity = embedding_identity(pipeline.manifest)
    gallery = Gallery(path, identity, create=True)
    if gallery.identity not in (None, identity) and gallery.state().samples:
        gallery.close()
        raise InputError(
            f"{path} holds embeddings of another model than this bundle's, which cannot be compared: use that bundle, "
            f"or rkface gallery reembed --gallery {path} --bundle DIR"
        )
    return gallery


@contextmanager
def _locked(gallery: Path) -> Iterator[None]:
    """One service for each gallery. InputError, which says who it is, where there is one already."""
    path = gallery.with_name(f".{gallery.name}.lock")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise WorkError(f"{path}: cannot be written ({error.strerror}): name another place with --gallery") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.read(descriptor, 20).decode("ascii", "replace")
            raise InputError(
                f"{gallery} is in use by another rkface run (process {who or 'unknown'}): stop that one, "
                "or name another gallery"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)
