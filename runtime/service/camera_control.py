"""Switches cameras on and off, and changes which parts of their pictures count, while the service runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from logging import getLogger

from ..core.errors import InputError
from ..events import SwitchRequests
from ..tracking.watcher import Watcher
from .camera_changes import CameraArea, CameraSchedule
from .camera_worker import CameraWorker, hidden_masks
from .current_settings import CurrentSettings
from .problems import Problems
from .states import CameraSetup
from .watchers import watched_area

log = getLogger("rkface.service")


class CameraControl:
    """The methods may be called from any thread. ``end_visits`` ends all visits to a camera; ``requests`` are those of
    the broker."""

    def __init__(
        self,
        workers: Mapping[str, CameraWorker],
        watchers: Mapping[str, Watcher],
        current: CurrentSettings,
        problems: Problems,
        *,
        requests: SwitchRequests,
        end_visits: Callable[[str], None],
    ) -> None:
        self._workers, self._watchers, self._current, self._problems = workers, watchers, current, problems
        self._requests, self._end_visits = requests, end_visits
        self._switching = threading.Lock()

    def setup(self, camera: str) -> CameraSetup:
        """Return which parts of a camera's picture count, and when it is on. Raises KeyError for an unknown one."""
        return self._current.live.camera_setup(camera, time.time())

    def change_area(self, camera: str, area: CameraArea | None) -> None:
        """Change the zones, masks and minimum size of faces of a camera, now and for the next start. None: those of the
        configuration. Raises InputError, and changes nothing, if something is wrong, and KeyError for an unknown
        camera."""
        worker = self._workers[camera]
        self._current.change(lambda live: live.with_area(camera, area, time.time()))
        settings = self._current.settings.camera[camera]
        self._watchers[camera].watch_area(watched_area(settings))
        worker.hide(hidden_masks(settings))
        log.info("camera %s: zones and masks changed", camera)

    def change_schedule(self, camera: str, schedule: CameraSchedule | None) -> None:
        """Change when a camera is on, now and for the next start; a switch by hand ends. None: as the configuration
        says. Raises InputError, and changes nothing, if something is wrong or the camera is a recording, and KeyError
        for an unknown camera."""
        self._refuse_recording(camera)
        self._current.change(lambda live: live.with_schedule(camera, schedule, time.time()))
        log.info("camera %s: schedule changed", camera)
        self._apply()

    def switch(self, camera: str, on: bool | None) -> None:
        """Switch a camera on or off, now and after the next start; now also if that cannot be stored. It holds until
        the schedule changes the next time; without a schedule, until somebody switches it again. None: the schedule
        decides. Raises InputError if the camera is a recording, and KeyError for an unknown camera."""
        self._refuse_recording(camera)
        self._current.change_at_once(lambda live: live.with_switch(camera, on, time.time()))
        self._apply()

    def tick(self) -> None:
        """Switch cameras as the broker asks for, and as their schedules say. Call it about once a second."""
        for camera, on in self._requests.take().items():
            try:
                self.switch(camera, on)
            except (KeyError, InputError) as error:
                log.warning("a command to switch camera %s was ignored: %s", camera, error)
        with self._problems.of("schedule"):
            self._apply()

    def _refuse_recording(self, camera: str) -> None:
        if self._workers[camera].camera.recording:
            raise InputError(f"camera {camera} is a recording, of which every picture is read: it cannot be switched")

    def _apply(self) -> None:
        with self._switching:
            live, now = self._current.live, time.time()
            switched = [worker for name, worker in self._workers.items() if worker.switch(live.is_on(name, now))]
            for worker in switched:
                log.info("camera %s: switched %s", worker.name, "on" if worker.on else "off")
                self._end_visits(worker.name)
        if switched:
            self._requests.note_switched()
