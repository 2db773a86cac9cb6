"""Names for the people whom Frigate sees: looks at its pictures, and writes who it is into its events.

One thread looks at pictures, always at the newest state of an event: a slow board skips states, not people.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, RkfaceError
from ..gallery.match import Match
from ..vision.image import decode_image
from .api import FrigateApi, NotThereYetError
from .event import TrackedPerson

LOOKS = 8  # at pictures of one event
PAUSE = 1.0  # seconds between two looks at one event
RETRIES = 5  # of an answer that Frigate does not have yet: it stores an event some time after its message
BETTER = 0.03  # by how much the cosine must rise before the score of the same name is written again
EVENTS = 1000  # remembered at once; the oldest are forgotten

Identify = Callable[[NDArray[np.uint8]], Match | None]

log = logging.getLogger("rkface.frigate")


@dataclass(frozen=True)
class NamingCounters:
    """What the namer did since it was started."""

    events: int = 0
    pictures: int = 0
    named: int = 0
    failures: int = 0


@dataclass
class _NamedEvent:
    """What we know of one event of Frigate."""

    state: TrackedPerson
    match: Match | None = None  # what we have written
    looks: int = 0
    retries: int = 0
    due: float = 0.0  # by the monotonic clock
    fresh: bool = True  # its state has changed since the last look


class EventNamer:
    """Identifies the people of Frigate's events. ``note`` may be called from any thread, ``work`` in one.

    ``identify`` says who is in a picture (H×W×3 uint8 BGR). ``replace_names``: whether names that somebody else wrote
    into an event are replaced.
    """

    def __init__(
        self,
        api: FrigateApi,
        identify: Identify,
        *,
        replace_names: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api, self._identify, self._replace_names, self._clock = api, identify, replace_names, clock
        self._events: OrderedDict[str, _NamedEvent] = OrderedDict()
        self._changed = threading.Condition()
        self._stopping = False
        self.counters = NamingCounters()

    def note(self, state: TrackedPerson) -> None:
        """Take the state of an event. It returns at once."""
        with self._changed:
            known = self._events.get(state.id)
            if known is None:
                known = self._events[state.id] = _NamedEvent(state)
                self.counters = replace(self.counters, events=self.counters.events + 1)
                while len(self._events) > EVENTS:
                    self._events.popitem(last=False)
            elif known.state.frame_time != state.frame_time or known.state.ended != state.ended:
                known.fresh = True
                known.retries = 0
            known.state = state
            self._changed.notify_all()

    def stop(self) -> None:
        """Make ``work`` return."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def work(self) -> None:
        """Look at pictures until ``stop`` is called. Of failures in a row, the first one is logged."""
        failing = False
        while (known := self._next()) is not None:
            try:
                self._look(known)
            except NotThereYetError:
                self._postpone(known)
            except RkfaceError as error:
                if not failing:
                    log.warning("%s; trying again", error)
                failing = True
                self.counters = replace(self.counters, failures=self.counters.failures + 1)
                self._postpone(known)
            else:
                failing = False

    def _next(self) -> _NamedEvent | None:
        """The event to look at now; waits for one. None at the end."""
        with self._changed:
            while not self._stopping:
                waiting = [one for one in self._events.values() if self._is_wanted(one)]
                if waiting:
                    first = min(waiting, key=lambda one: one.due)
                    pause = first.due - self._clock()
                    if pause <= 0:
                        return first
                    self._changed.wait(pause)
                else:
                    self._changed.wait()
        return None

    def _is_wanted(self, known: _NamedEvent) -> bool:
        ours = known.match is not None and known.match.name == known.state.sub_label
        if known.state.sub_label and not ours and not self._replace_names:
            return False
        return known.fresh and known.looks < LOOKS and known.retries <= RETRIES

    def _look(self, known: _NamedEvent) -> None:
        state = known.state
        known.fresh = False
        known.due = self._clock() + PAUSE
        match = self._identify(self._picture(state))
        self.counters = replace(self.counters, pictures=self.counters.pictures + 1)
        if match is not None and _is_better(match, known.match):
            # If this fails, the picture is looked at again: the person may be forgotten or renamed meanwhile.
            self._api.set_sub_label(state.id, match.name, match.cosine, state.camera)
            self._note_named(known, match)
        known.looks += 1

    def _note_named(self, known: _NamedEvent, match: Match) -> None:
        known.match, known.retries = match, 0
        self.counters = replace(self.counters, named=self.counters.named + 1)
        log.info("camera %s: an event got a name", known.state.camera)  # without the name: logs name nobody

    def _picture(self, state: TrackedPerson) -> NDArray[np.uint8]:
        """The best picture that Frigate has: a frame of the recording has all pixels of the camera."""
        if state.ended and state.frame_time is not None:
            try:
                return decode_image(self._api.recorded_frame(state.camera, state.frame_time), "a frame of Frigate")
            except (NotThereYetError, InputError):  # recordings may be switched off
                pass
        return decode_image(self._api.snapshot(state.id, ended=state.ended), "a snapshot of Frigate")

    def _postpone(self, known: _NamedEvent) -> None:
        known.retries += 1
        known.fresh = True
        known.due = self._clock() + PAUSE * 2 ** min(known.retries, 6)


def _is_better(match: Match, before: Match | None) -> bool:
    """Whether Frigate should be told ``match`` after ``before``: another person only if the face is more similar."""
    if before is None:
        return True
    return match.cosine > before.cosine + (BETTER if match.person == before.person else 0.0)
