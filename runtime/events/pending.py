"""Events that wait for one receiver: in memory, in an outbox, and notices about forgotten people."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from .deletion_notices import DeletionNotices
from .event import OutgoingEvent, anonymize
from .outbox import Outbox

DISK_EVERY = 5.0  # seconds between two attempts to use a disk that refused
SWEEP_AFTER = 5.0  # seconds without an event after which the bytes of delivered events are removed from the disk

log = logging.getLogger("rkface.events")


@dataclass(frozen=True)
class ForgottenPeople:
    """Everybody who is forgotten: ids of the gallery, with the times. ``generation`` counts the changes."""

    people: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    generation: int = 0

    def including(self, people: Mapping[str, float]) -> ForgottenPeople:
        """These and ``people``."""
        return ForgottenPeople({**self.people, **people}, self.generation + 1)


class PendingEvents:
    """What waits to be delivered. Any thread adds; one thread runs ``store``; another one calls ``next`` and then
    ``finish`` for each event.

    Without an outbox, and while it cannot be written, events go from memory straight to ``next``. At most
    ``capacity`` of them wait there: the oldest are dropped. ``changed`` guards all attributes; wait on it for a change.
    """

    def __init__(self, name: str, outbox: Outbox | None, notices: DeletionNotices, capacity: int) -> None:
        self.changed = threading.Condition()
        self.notices = notices
        self.forgotten = ForgottenPeople()
        self.erased = 0  # generation of forgotten people whom no stored event names
        self.closing_at: float | None = None  # when the sender must end, by the monotonic clock; None: not yet
        self.error = ""  # the last problem, of the disk or of the receiver
        self._name = name
        self._outbox = outbox
        self._capacity = capacity
        self._memory: deque[bytes] = deque()
        self._moving = 0  # events that were taken from memory and are not on disk yet
        self._direct = outbox is None  # events are delivered from memory
        self._held: OutgoingEvent | None = None  # taken from memory and not delivered yet
        self._unwanted = False  # the receiver is gone, and nothing is kept for the next start
        self._unreadable = False  # the disk refused to read stored events
        self._woken = True  # the connection needs attention, even if no event waits
        self._lost = 0
        self._surplus = 0  # of these, those dropped since memory was empty: each outage is logged

    @property
    def queued(self) -> int:
        """Events that wait, of every kind."""
        stored = self._outbox.queued if self._outbox else 0
        return stored + len(self.notices) + len(self._memory) + self._moving + (self._held is not None)

    @property
    def dropped(self) -> int:
        """Events that were lost since the start."""
        return self._lost + (self._outbox.dropped if self._outbox else 0)

    @property
    def unsafe(self) -> int:
        """Events that are neither on disk nor delivered."""
        return len(self._memory) + self._moving + (self._held is not None)

    def add(self, body: bytes) -> None:
        """Put an event into memory. After ``close_after`` it is counted as dropped."""
        with self.changed:
            if self._unwanted:
                return
            if self.closing_at is not None:
                self._lost += 1
                return
            self._memory.append(body)
            self._drop_surplus()
            self.changed.notify_all()

    def count_lost(self) -> None:
        """An event could not even be put into memory."""
        with self.changed:
            self._lost += 1

    def stop_memory(self) -> None:
        """Keep no more events in memory for a receiver without an outbox that wants none: they are not lost."""
        with self.changed:
            if self._outbox is None:
                self._unwanted, self._held = True, None
                self._memory.clear()
                self.changed.notify_all()

    def forget(self, people: Mapping[str, float]) -> bool:
        """Remove ``people`` from everything that waits, and prepare a notice for each. Returns whether any is new."""
        with self.changed:
            new = {person: when for person, when in people.items() if person not in self.forgotten.people}
            if not new:
                return False
            self.forgotten = self.forgotten.including(new)
            self.notices.add(new)
            if self._outbox is None:
                self.erased = self.forgotten.generation  # events in memory are anonymized when they are delivered
            self.wake()
            return True

    def wake(self) -> None:
        """Make ``next`` return, even if no event waits."""
        with self.changed:
            self._woken = True
            self.changed.notify_all()

    @property
    def ended(self) -> bool:
        """Whether it is time to end: nothing waits after ``close_after``, or its time is over."""
        with self.changed:
            return self.closing_at is not None and (time.monotonic() >= self.closing_at or self._is_finished())

    def close_after(self, seconds: float) -> bool:
        """Take no more events, and have ``store`` and ``next`` end when nothing waits, or after this time. Returns
        False if that was said before."""
        with self.changed:
            if self.closing_at is not None:
                return False
            self.closing_at = time.monotonic() + seconds
            self.changed.notify_all()
            return True

    def store(self) -> None:
        """Move events from memory to the outbox until it is time to end. Runs in a thread of its own."""
        outbox = self._outbox
        while outbox is not None:
            with self.changed:
                self.changed.wait_for(
                    lambda: self._memory or self.closing_at is not None or self.erased < self.forgotten.generation
                )
                batch = list(self._memory)
                self._memory.clear()
                self._moving = len(batch)
            problem = ""
            try:
                self._erase(outbox)
                if batch:
                    outbox.append([anonymize(body, self.forgotten.people) for body in batch])
            except OSError as error:
                problem = f"events cannot be written to the disk: {error.strerror}"
            with self.changed:
                self._note_stored(batch, problem)
                ending = self.closing_at is not None
                if ending and (problem or not batch):
                    return
                if problem and self.changed.wait_for(lambda: self.closing_at is not None, DISK_EVERY):
                    return

    def next(self, patience: float) -> OutgoingEvent | None:
        """The event to deliver now: notices first, then the oldest. Returns None after ``patience`` seconds without an
        event, after ``wake``, or if it is time to end."""
        started = time.monotonic()
        sweep_at = started + SWEEP_AFTER
        while True:
            now = time.monotonic()
            if self.closing_at is not None and now >= self.closing_at:
                return None
            if (event := self._notice_or_held() or self._stored()) is not None:
                return event
            with self.changed:
                if self._direct and self._memory:
                    self._held = OutgoingEvent(self._memory.popleft())
                    self._surplus = self._surplus if self._memory else 0
                    return self._held
                if self._woken or now >= started + patience or self._is_finished():
                    self._woken = False
                    return None
                until = min(started + patience, self.notices.due, now + DISK_EVERY if self._unreadable else math.inf)
                if self._outbox is not None and self._outbox.needs_sweep:
                    until = min(until, sweep_at)
                self.changed.wait_for(self._is_stirred, until - now)
            if time.monotonic() >= sweep_at:
                self._sweep()
                sweep_at = time.monotonic() + SWEEP_AFTER

    def finish(self, event: OutgoingEvent) -> None:
        """``event`` was delivered, or refused permanently."""
        if event.forgotten_person:
            self.notices.finish(event.forgotten_person)
        elif event is not self._held and self._outbox is not None:
            self._outbox.advance(event)
            return
        with self.changed:
            if event is self._held:
                self._held = None
            self.changed.notify_all()

    def close(self) -> None:
        """Store what is left after both threads ended, and close the outbox. What cannot be stored is lost."""
        with self.changed:
            left = [*([self._held.body] if self._held else []), *self._memory]
            self._held = None
            self._memory.clear()
        if self._outbox is not None:
            try:
                if left:
                    self._outbox.append([anonymize(body, self.forgotten.people) for body in left])
                    left = []
            except OSError as error:
                log.error("%s: events cannot be written to the disk: %s", self._name, error.strerror)
            if waiting := self._outbox.queued:
                log.warning("%s: events wait on disk (%d): they are sent when rkface runs again", self._name, waiting)
            self._outbox.close()
        if left:
            self._lost += len(left)
            log.error("%s: %d events lost undelivered", self._name, len(left))

    def _erase(self, outbox: Outbox) -> None:
        """In the thread that stores events, so that no event is stored in between."""
        forgotten = self.forgotten
        if self.erased < forgotten.generation:
            outbox.erase(forgotten.people)
            with self.changed:
                self.erased = forgotten.generation
                self.changed.notify_all()

    def _note_stored(self, batch: list[bytes], problem: str) -> None:
        self._moving = 0
        if problem:
            self._memory.extendleft(reversed(batch))
            self._drop_surplus()
            if not self._direct:
                log.error("%s: %s; events wait in memory until the disk accepts them", self._name, problem)
        else:
            self._surplus = 0
        self.error = problem or self.error
        self._direct = bool(problem)
        self.changed.notify_all()

    def _notice_or_held(self) -> OutgoingEvent | None:
        with self.changed:
            return self.notices.first() or self._held

    def _stored(self) -> OutgoingEvent | None:
        if self._outbox is None:
            return None
        try:
            self._outbox.expire()
            event = self._outbox.peek()
        except OSError as error:
            self.error = f"stored events cannot be read: {error.strerror}"
            if not self._unreadable:
                log.error("%s: %s; trying again", self._name, self.error)
            self._unreadable = True
            return None
        self._unreadable = False
        return event

    def _sweep(self) -> None:
        if self._outbox is not None:
            try:
                self._outbox.sweep()
            except OSError as error:
                self.error = f"delivered events cannot be removed from the disk: {error.strerror}"

    def _is_stirred(self) -> bool:
        return bool(self._woken or self._has_stored() or (self._direct and self._memory) or self._is_finished())

    def _is_finished(self) -> bool:
        return self.closing_at is not None and not (self._memory or self._moving or self._has_stored())

    def _has_stored(self) -> bool:
        return self._outbox is not None and self._outbox.queued > 0 and not self._unreadable

    def _drop_surplus(self) -> None:
        before = self._surplus
        while len(self._memory) > self._capacity:
            self._memory.popleft()
            self._lost += 1
            self._surplus += 1
        if before.bit_length() < self._surplus.bit_length():  # the first one, and whenever the number has doubled
            log.error(
                "%s: too many events wait in memory, %d dropped: %s",
                self._name,
                self._surplus,
                self.error or "the receiver is slower than the camera",
            )
