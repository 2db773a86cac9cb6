"""The visits to all cameras: turns the results of the scheduler into appearances, publishes these, and ends visits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from ..core.crop_template import CropTemplate
from ..enrollment.stored_crop import encode_crop
from ..inference.frames import Result
from ..tracking.appearance import Appearance
from ..tracking.visit import fuse
from ..tracking.watch import watch_results
from ..tracking.watcher import Watcher
from .alert_pictures import AlertPictures
from .camera_worker import CameraWorker
from .publisher import Publisher
from .settings import Keep
from .sighting import Sighting
from .watchers import Watchers


class VisitControl:
    """``watch`` runs in a thread of its own; the other methods may be called from any thread.

    ``keep`` returns what may be stored of a face. ``crop`` and ``identity`` are those of the recognizer."""

    def __init__(
        self,
        workers: Mapping[str, CameraWorker],
        watchers: Watchers,
        publisher: Publisher,
        pictures: AlertPictures,
        *,
        keep: Callable[[], Keep],
        crop: CropTemplate,
        identity: str,
    ) -> None:
        self._workers, self._watchers, self._publisher, self._pictures = workers, watchers, publisher, pictures
        self._keep, self._crop, self._identity = keep, crop, identity
        self.last_result = time.monotonic()
        self.failed_frames = 0

    def watch(self, results: Iterable[Result]) -> None:
        """Publish the appearances in ``results`` until they end."""
        for appearance in watch_results(self._note_results(results), self._watchers):
            self._publish(self._watchers[appearance.source], [appearance])

    def tick(self) -> None:
        """End visits on time at cameras that deliver no frames. Call it about once a second."""
        for name, worker in self._workers.items():
            worker.sample()
            if not worker.pending:  # no frames arrive: the camera may be away
                self._publish(self._watchers[name], self._watchers[name].tick())

    def end(self, camera: str) -> None:
        """End all visits to ``camera``."""
        self._publish(self._watchers[camera], self._watchers[camera].close())

    def restart(self) -> None:
        """End all visits, and start new ones with the current rules."""
        for camera in self._workers:
            old = self._watchers.replace(camera)
            self._publish(old, old.close())

    def _note_results(self, results: Iterable[Result]) -> Iterator[Result]:
        for result in results:
            self.last_result = time.monotonic()
            self.failed_frames += result.error is not None
            source = result.frame.source
            if self._workers[source].on:
                self._pictures.note_result(result, self._workers[source].hidden)
                yield result
            self._workers[source].note_result(result, self._watchers[source])  # its watcher has processed it by now

    def _publish(self, watcher: Watcher, appearances: Iterable[Appearance]) -> None:
        for appearance in appearances:
            self._publisher.publish(appearance, lambda appearance: self._read_sighting(watcher, appearance))

    def _read_sighting(self, watcher: Watcher, appearance: Appearance) -> Sighting:
        keep = self._keep()
        pictures = keep.known_faces if appearance.match else keep.unknown_faces
        shots = watcher.shots(appearance.id) if pictures or keep.embeddings else ()
        if not shots:
            return Sighting()
        face = encode_crop(shots[0].crop, self._crop) if pictures else None
        return Sighting(face, fuse(shots) if keep.embeddings else None, self._identity)
