"""What the service does from time to time: gallery changes by other programs, retention, the watchdog."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..inference.core import LONGEST_HANG, RETRIES
from .camera_watch import CameraWatch
from .current_settings import CurrentSettings
from .known_people import KnownPeople
from .problems import Problems
from .resources import Resources
from .systemd import notify, watchdog_seconds

if TYPE_CHECKING:
    from .enrollment_requests import EnrollmentRequests

INTERVAL = 1.0  # seconds
PRUNE_INTERVAL = 60.0  # seconds between two deletions of old appearances
# Seconds that frames may wait without any result before systemd's watchdog gets no more messages. Longer than any pause
# in which a core can still recover: the longest wait before it opens a model again, 7 s for that, and a run that hangs.
STUCK_AFTER = max(RETRIES) + 7.0 + LONGEST_HANG


class Housekeeping:
    """``run`` needs a thread of its own. Its first look makes what answers requests, if ``enrollment`` does: that also
    erases people whom ``people`` misses."""

    def __init__(
        self,
        resources: Resources,
        watch: CameraWatch,
        current: CurrentSettings,
        problems: Problems,
        *,
        people: KnownPeople,
        enrollment: Callable[[], EnrollmentRequests],
    ) -> None:
        self._gallery, self._workers = resources.gallery, resources.workers
        self._watch, self._current, self._problems = watch, current, problems
        self._people, self._enrollment = people, enrollment
        self._pruned = -math.inf
        self._naming = True  # whether the lease of a replica lasted, at the last look

    def run(self, pause: Callable[[float], bool]) -> None:
        """Keep house until ``pause``, which waits for some seconds, returns False."""
        interval = min(INTERVAL, (watchdog_seconds() or 3 * INTERVAL) / 3)
        while pause(interval):
            enrollment = self._enrollment()
            self._watch.control.tick()
            self._watch.visits.tick()
            self._watch.publisher.tick(self._watch.watchers.visible_appearances())
            with self._problems.of("gallery"):
                self._look_at_gallery()
            if time.monotonic() - self._pruned >= PRUNE_INTERVAL:
                self._pruned = time.monotonic()
                self._watch.publisher.prune(self._current.settings.keep)
                enrollment.drop_offers()
            frames_wait = any(worker.pending for worker in self._workers.values())
            if not frames_wait or time.monotonic() - self._watch.visits.last_result < STUCK_AFTER:
                notify("WATCHDOG=1")

    def _look_at_gallery(self) -> None:
        """If the gallery has changed, or names people no longer or again, look again at who is in view."""
        self._gallery.refresh()  # False does not mean that nothing changed: our own writes refresh it, too
        before, self._naming = self._naming, self._gallery.lease.left() > 0
        if self._people.poll() or self._naming != before:
            self._watch.watchers.search_again()
