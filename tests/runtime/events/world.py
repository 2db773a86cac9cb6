"""What events are sent to in tests, and what an appearance looks like."""

import threading

from rkface.runtime.alerts.alert import Alert
from rkface.runtime.gallery.match import Match
from rkface.runtime.tracking.appearance import Appearance

PATIENCE = 30.0  # seconds, after which what should have happened never will: nothing waits that long when all is well
ADA = Match("p-1", "Ada", 0.71)


def appearance(number=0, stage="start", match=ADA, source="door", identity=None):
    return Appearance(
        id=identity or f"a-{number}", source=source, stage=stage, match=match, threshold=0.4,
        started=1_780_000_000.0 + number, best=1_780_000_000.5 + number,
        ended=0.0 if stage != "end" else 1_780_000_003.0 + number,
        box=(0.1, 0.2, 0.3, 0.4), score=0.9, quality=0.8, frames=7,
    )  # fmt: skip


def event(number=0, **more):
    return appearance(number, **more).as_event()


class Log:
    """What arrives, in order; others wait for it."""

    def __init__(self):
        self.entries = []
        self._changed = threading.Condition()

    def add(self, entry):
        with self._changed:
            self.entries.append(entry)
            self._changed.notify_all()

    def wait(self, enough):
        """Until ``enough(entries)``, or the test fails."""
        with self._changed:
            assert self._changed.wait_for(lambda: enough(self.entries), PATIENCE), self.entries
            return list(self.entries)

    def wait_for(self, count):
        return self.wait(lambda entries: len(entries) >= count)[:count]


def alert(number=0, picture=None, match=ADA, source="door", rule="night"):
    seen = appearance(number, match=match, source=source)
    return {**Alert(rule, (), seen).as_event(), "picture": picture}


def reference(id, kind="face"):
    return {"id": id, "kind": kind, "type": "image/jpeg", "width": 64, "height": 64}
