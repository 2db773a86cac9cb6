"""What the web console may call and read of the camera service. The service itself does not know the web."""

from __future__ import annotations

import queue
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from ..gallery.gallery import Gallery
from ..tracking.appearance import Appearance
from .appearance_requests import AppearanceRequests
from .camera_control import CameraControl
from .enrollment_requests import EnrollmentRequests
from .photo_requests import PhotoRequests
from .review_requests import ReviewRequests
from .rule_requests import RuleRequests
from .service_erasure import ServiceErasure
from .states import CameraHealth, Health, Setting, WatchedFrame
from .stranger_requests import StrangerRequests


class CameraService(Protocol):
    """The camera service, as the console sees it.

    Every method may be called from any thread. All return quickly except those of ``erasure``, ``enrollment``,
    ``photos`` and ``reviews``. ``source`` is the name of a camera; an unknown name raises KeyError. Times are seconds
    since 1970, UTC.
    """

    @property
    def gallery(self) -> Gallery: ...

    @property
    def appearances(self) -> AppearanceRequests:
        """Requests about appearances in the log and in front of the cameras."""

    @property
    def erasure(self) -> ServiceErasure:
        """Deletes people."""

    @property
    def strangers(self) -> StrangerRequests:
        """Requests about people without a name, and about the ignore list. They take a moment."""

    @property
    def enrollment(self) -> EnrollmentRequests:
        """Requests about enrollment."""

    @property
    def reviews(self) -> ReviewRequests:
        """Requests about whom the cameras recognized."""

    @property
    def photos(self) -> PhotoRequests:
        """Requests about single photos."""

    @property
    def rules(self) -> RuleRequests:
        """Requests about rules for alerts. ``try_rule`` takes a moment."""

    @property
    def camera_control(self) -> CameraControl:
        """Switches cameras, and changes which parts of their pictures count."""

    @property
    def cameras(self) -> Mapping[str, CameraHealth]:
        """The cameras by name, in the order of the configuration."""

    def latest(self, source: str) -> WatchedFrame | None:
        """Return the newest frame that was processed. None before the first one, and while the camera is off."""

    def health(self) -> Health:
        """Return the current state of the service."""

    def metrics(self) -> str:
        """Return the counts and states in Prometheus' text format."""

    def subscribe(self) -> AbstractContextManager[queue.Queue[Appearance]]:
        """A queue of all appearances from now on, at each of their stages. If nobody reads it, it loses the oldest."""

    def settings(self) -> Sequence[Setting]:
        """Return the settings that can be changed while the service runs."""

    def change_settings(self, values: Mapping[str, bool | int | float | str | None]) -> None:
        """Change settings by their keys, now and for the next start. None: back to the configuration. Raises
        SettingsError, and changes nothing, if one is wrong."""
