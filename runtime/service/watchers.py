"""The watchers of all cameras. A watcher is replaced when the rules change or a person is deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from ..inference.pipeline import Pipeline
from ..tracking.visit import RecognitionRules, Shot
from ..tracking.watcher import AnchorCosines, Search, Watcher
from ..tracking.zones import Points, WatchedArea
from .settings import CameraSettings


class Watchers(Mapping[str, Watcher]):
    """The current watcher of each camera, by the camera's name. Watchers may be replaced while results arrive.

    ``settings`` returns the current settings of a camera."""

    def __init__(
        self,
        cameras: Iterable[str],
        pipeline: Pipeline,
        search: Search,
        rules: RecognitionRules,
        *,
        settings: Callable[[str], CameraSettings],
        anchor_cosines: AnchorCosines | None = None,
    ) -> None:
        self._pipeline, self._search, self._settings = pipeline, search, settings
        self._anchor_cosines = anchor_cosines
        self._present = {camera: self._open(camera, rules) for camera in cameras}

    def __getitem__(self, camera: str) -> Watcher:
        return self._present[camera]

    def __iter__(self) -> Iterator[str]:
        return iter(self._present)

    def __len__(self) -> int:
        return len(self._present)

    def replace(self, camera: str, rules: RecognitionRules) -> Watcher:
        """Replace the watcher of ``camera`` by a new one with ``rules``. Return the old one; the caller closes it."""
        old, self._present[camera] = self._present[camera], self._open(camera, rules)
        return old

    def shots(self, appearance: str) -> Sequence[Shot]:
        """Return the best shots of an appearance that lasts or has just ended, best first; () if no shot is
        known."""
        return next((shots for watcher in self.values() if (shots := watcher.shots(appearance))), ())

    def _open(self, camera: str, rules: RecognitionRules) -> Watcher:
        area = watched_area(self._settings(camera))
        return Watcher(
            camera,
            self._pipeline,
            self._search,
            rules,
            anchor_cosines=self._anchor_cosines,
            liveness=self._pipeline.liveness,
            area=area,
        )


def hidden_masks(settings: CameraSettings) -> tuple[Points, ...]:
    """The polygons that must be black in the pictures that are shown."""
    return tuple(one.points for one in settings.masks.values()) if settings.hide_masks else ()


def watched_area(settings: CameraSettings) -> WatchedArea:
    """The zones, masks and minimum size of ``settings``."""
    return WatchedArea(
        {name: one.points for name, one in settings.zones.items()},
        [one.points for one in settings.masks.values()],
        settings.min_face,
    )
