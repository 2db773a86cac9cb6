"""The watchers of all cameras. A watcher is replaced when the rules change or a person is deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..gallery.anchors import NO_ANCHOR
from ..gallery.gallery import Gallery
from ..gallery.match import Match
from ..inference.pipeline import Pipeline
from ..tracking.rules import RecognitionRules
from ..tracking.visit import Shot
from ..tracking.watcher import Watcher
from ..tracking.zones import WatchedArea
from .problems import Problems
from .settings import CameraSettings


class Watchers(Mapping[str, Watcher]):
    """The current watcher of each camera, by the camera's name. Watchers may be replaced while results arrive.

    While ``gallery`` cannot be read, everybody is unknown and nobody is ignored, which ``problems`` gets. ``rules`` and
    ``settings`` return the current rules, and the current settings of a camera."""

    def __init__(
        self,
        cameras: Iterable[str],
        pipeline: Pipeline,
        gallery: Gallery,
        problems: Problems,
        *,
        rules: Callable[[], RecognitionRules],
        settings: Callable[[str], CameraSettings],
    ) -> None:
        self._pipeline, self._gallery, self._problems = pipeline, gallery, problems
        self._rules, self._settings = rules, settings
        self._present = {camera: self._open(camera) for camera in cameras}

    def __getitem__(self, camera: str) -> Watcher:
        return self._present[camera]

    def __iter__(self) -> Iterator[str]:
        return iter(self._present)

    def __len__(self) -> int:
        return len(self._present)

    def replace(self, camera: str) -> Watcher:
        """Replace the watcher of ``camera`` by a new one with the current rules. Return the old one; the caller closes
        it."""
        old, self._present[camera] = self._present[camera], self._open(camera)
        return old

    def search_again(self) -> None:
        """Search everybody who is in view in the gallery, which has changed."""
        for watcher in self.values():
            watcher.search_again()

    def visible_appearances(self) -> frozenset[str]:
        """The ids of the appearances of all people who are in view now."""
        return frozenset(
            face.appearance for watcher in self.values() for face in watcher.visible_faces() if face.appearance
        )

    def shots(self, appearance: str) -> Sequence[Shot]:
        """Return the best shots of an appearance that lasts or has just ended, best first; () if no shot is
        known."""
        return next((shots for watcher in self.values() if (shots := watcher.shots(appearance))), ())

    def _open(self, camera: str) -> Watcher:
        return Watcher(
            camera,
            self._pipeline,
            self._search,
            self._rules(),
            anchor_cosines=self._anchor_cosines,
            liveness=self._pipeline.liveness,
            area=watched_area(self._settings(camera)),
        )

    def _search(self, vectors: NDArray[np.float32], people: int) -> Sequence[Sequence[Match]]:
        with self._problems.of("search"):
            return self._gallery.search(vectors, people)
        return [[] for _ in vectors]

    def _anchor_cosines(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        with self._problems.of("ignore list"):  # a part of its own: it must not clear the problem of the search
            return self._gallery.anchor_cosines(vectors)
        return np.full(len(vectors), NO_ANCHOR, np.float32)


def watched_area(settings: CameraSettings) -> WatchedArea:
    """The zones, masks and minimum size of ``settings``."""
    return WatchedArea(
        {name: one.points for name, one in settings.zones.items()},
        [one.points for one in settings.masks.values()],
        settings.min_face,
    )
