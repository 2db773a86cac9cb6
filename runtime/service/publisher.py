"""One appearance told to all: the sinks, whoever listens just now, and the log."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from ..events import Delivery
from ..gallery.gallery import Gallery
from ..gallery.match import Match
from ..tracking.appearance import Appearance
from .appearance_log import AppearanceLog
from .erasure import erase_from_log
from .problems import Problems
from .settings import Keep

EVENTS = 256  # that wait for one listener
RECENT = 256  # appearances that ended, of which nothing more is told

Face = Callable[[Appearance], bytes | None]


class Publisher:
    """``tell`` may be called from any thread; all hear the same order."""

    def __init__(self, gallery: Gallery, log: AppearanceLog, sinks: Sequence[Delivery], problems: Problems) -> None:
        self._gallery, self._log, self._sinks, self._problems = gallery, log, sinks, problems
        self._listeners: list[queue.Queue[dict[str, Any]]] = []
        self._telling = threading.Lock()
        self._over: deque[str] = deque(maxlen=RECENT)

    def tell(self, appearance: Appearance, face: Face) -> None:
        """``face`` gives a picture of somebody unknown for the log, or none."""
        picture = None
        if appearance.match is None:
            picture = face(appearance)
        else:
            appearance = replace(appearance, match=self._today(appearance.match))
        event = appearance.as_event()
        with self._telling:
            if appearance.id in self._over:  # news that another thread was faster to end
                return
            if appearance.stage == "end":
                self._over.append(appearance.id)
            for sink in self._sinks:
                sink.send(event)
            for listener in list(self._listeners):
                if listener.full():
                    with suppress(queue.Empty):
                        listener.get_nowait()
                listener.put_nowait(event)
            with self._problems.of("appearances"):
                self._log.record(appearance, picture)

    @contextmanager
    def subscribe(self) -> Iterator[queue.Queue[dict[str, Any]]]:
        """Events from now on; a queue that nobody reads loses its oldest."""
        mine: queue.Queue[dict[str, Any]] = queue.Queue(EVENTS)
        self._listeners.append(mine)
        try:
            yield mine
        finally:
            self._listeners.remove(mine)

    def prune(self, keep: Keep) -> None:
        """Delete from the log what is too old, and whoever is no longer in the gallery."""
        with self._problems.of("appearances"):
            erase_from_log(self._gallery, self._log, keep)

    def _today(self, match: Match) -> Match | None:
        """``match`` as the gallery has it now: people are renamed, merged and forgotten while they are before a
        camera, and a forgotten name must not be told again."""
        rows = [(match.person, match.name)]
        with self._problems.of("names"):  # not housekeeping's part: that one's problem would come and go
            rows = self._gallery.read(
                "SELECT id, name FROM person WHERE id = coalesce((SELECT person FROM former WHERE id = ?1), ?1)",
                [match.person],
            )
        return Match(rows[0][0], rows[0][1], match.cosine) if rows else None
