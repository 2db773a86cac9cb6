"""Publishes each appearance to the sinks, the current subscribers and the log."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from ..alerts.alert import Alert
from ..alerts.rule import Rule
from ..events import Delivery
from ..gallery.gallery import Gallery
from ..gallery.match import Match
from ..gallery.reviews import age_reviews
from ..tracking.appearance import Appearance
from .alert_history import AlertHistory
from .alert_pictures import AlertPictures
from .alerts import Alerts
from .appearance_log import AppearanceLog
from .current_person import refresh_match
from .erasure import erase_from_log
from .problems import Problems
from .settings import DAY, Keep
from .sighting import Sighting

SUBSCRIBER_QUEUE = 256  # appearances that wait for one subscriber
HOUR = 3600.0  # seconds
ENDED = 256  # ended appearances to remember, so that nothing is published after their end

ReadSighting = Callable[[Appearance], Sighting]


class Publisher:
    """``publish`` may be called from any thread; all receivers get the appearances in the same order."""

    def __init__(
        self,
        gallery: Gallery,
        log: AppearanceLog,
        sinks: Sequence[Delivery],
        problems: Problems,
        *,
        pictures: AlertPictures,
        rules: Callable[[], Mapping[str, Rule]],
    ) -> None:
        self._gallery, self._log, self._problems, self._pictures = gallery, log, problems, pictures
        self._all_sinks, self._sinks = sinks, [sink for sink in sinks if not sink.only_alerts]
        self._alerts = Alerts(rules, gallery, AlertHistory(log), problems, self._send_alert)
        self._subscribers: list[queue.Queue[Appearance]] = []
        self._publishing = threading.Lock()
        self._ended: deque[str] = deque(maxlen=ENDED)
        self._aged = time.monotonic()
        self.unlogged = 0  # stages of appearances that could not be written into the log

    def publish(self, appearance: Appearance, read_sighting: ReadSighting) -> None:
        """Publish a stage of an appearance. ``read_sighting`` returns what the log may keep of the face."""
        sighting, deleted = read_sighting(appearance), False
        if appearance.match is not None:
            appearance = replace(appearance, match=self._refresh_match(appearance.match))
            if appearance.match is None:  # the person was deleted, so nothing of the face may be kept
                sighting, deleted = Sighting(), True
        event = appearance.as_event()
        with self._publishing:
            if appearance.id in self._ended:  # another thread has published its end already
                return
            if appearance.stage == "end":
                self._ended.append(appearance.id)
            for sink in self._sinks:
                sink.send(event)
            self._pictures.note_match(appearance)
            for subscriber in list(self._subscribers):
                if subscriber.full():
                    with suppress(queue.Empty):
                        subscriber.get_nowait()
                subscriber.put_nowait(appearance)
            with self._problems.of("appearances"):
                self.unlogged += 1
                self._log.record(appearance, sighting)
                self.unlogged -= 1
            self._alerts.note(appearance, deleted=deleted)

    @contextmanager
    def subscribe(self) -> Iterator[queue.Queue[Appearance]]:
        """A queue of the appearances that are published from now on. If nobody reads it, it loses the oldest ones."""
        mine: queue.Queue[Appearance] = queue.Queue(SUBSCRIBER_QUEUE)
        self._subscribers.append(mine)
        try:
            yield mine
        finally:
            self._subscribers.remove(mine)

    def prune(self, keep: Keep) -> None:
        """Delete from the log what is older than ``keep`` allows, and everybody who is no longer in the gallery. Once
        an hour, delete old reviews from the gallery."""
        self._pictures.prune(self._gallery)  # first: the log says whom they show
        with self._problems.of("appearances"):
            erase_from_log(self._gallery, self._log, keep)
        passed = time.monotonic() - self._aged
        if passed >= HOUR:  # not more often: it writes to the gallery
            self._aged += passed
            with self._problems.of("reviews"):
                age_reviews(self._gallery, passed, keep.reviews * DAY)

    def tick(self, visible: Collection[str]) -> None:
        """Apply the rules for alerts to the appearances with these ids, of people who are in view now. Call it about
        once a second."""
        with self._publishing:
            self._alerts.tick(visible)

    def _send_alert(self, alert: Alert) -> int:
        named = [sink for sink in self._all_sinks if sink.name in alert.receivers]
        self._pictures.send(alert.as_event(), alert.appearance, named)
        return len(named)

    def _refresh_match(self, match: Match) -> Match | None:
        with self._problems.of("names"):  # housekeeping has its own part, whose problem this must not clear
            return refresh_match(self._gallery, match)
        return match
