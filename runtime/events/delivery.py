"""Delivery of events to one place: never in the way of the camera, in order, at least once.

``Delivery.send`` puts an event into memory and returns. One thread moves it from there to the spool on disk, another
takes it from the spool to a ``Channel`` (webhook, MQTT, file) and tries again, later and later, until the channel took
it. Without a spool, or while the disk takes nothing, events go from memory straight to the channel. Who is forgotten is
told before all that waits.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from .channel import Channel, GoneError, RefusedError, SinkState, UndeliveredError, encode, without
from .forgotten import Untold
from .spool import Record, Spool

MEMORY = 1000  # events that wait in memory, about half a megabyte
LOOK_EVERY = 60.0  # seconds after which an idle delivery looks after its spool and its connection
DISK_EVERY = 5.0  # seconds between two tries to write to a disk that took nothing
BUGS = 5  # tries that may end in an error nobody thought of, before the event is taken for its cause and left out

log = logging.getLogger("rkface.events")


@dataclass(frozen=True)
class Backoff:
    """Seconds between tries: doubled from ``first`` to ``longest``, each cut by up to half at random, so that many
    boards do not return at once ("equal jitter", M. Brooker, Exponential Backoff and Jitter, AWS 2015)."""

    first: float = 1.0
    longest: float = 120.0

    def seconds(self, failures: int) -> float:
        return min(self.longest, self.first * 2.0 ** min(failures - 1, 30)) * random.uniform(0.5, 1.0)


class Delivery:
    """A ``Sink``. Its threads live from ``with`` to ``close`` or the block's end. It owns spool and channel. ``told``:
    a file that notes of whom the receiver was told that they are forgotten; without one it is told again by each run.
    """

    def __init__(
        self,
        name: str,
        channel: Channel,
        spool: Spool | None = None,
        backoff: Backoff | None = None,
        memory: int = MEMORY,
        *,
        told: Path | None = None,
    ) -> None:
        self.name = name
        self._channel = channel
        self._spool = spool
        self._backoff = backoff or Backoff()
        self._memory = memory
        self._waiting: deque[bytes] = deque()
        self._moving = 0  # events out of memory, not on disk yet
        self._held: Record | None = None  # taken from memory, not delivered yet
        self._direct = spool is None  # memory is delivered from, not the disk
        self._sent = self._lost = self._refused = self._retries = 0
        self._connected: bool | None = None
        self._error = ""
        self._woken = True  # to connect at once, events or none
        # Who is forgotten; the same once the spool, and the other side, name none of them.
        self._gone = self._cleaned = self._withdrawn = dict[str, float]()
        self._untold = Untold(told)
        self._until: float | None = None  # when closing: how long the sender may go on
        self._changed = threading.Condition()
        self._sender = threading.Thread(target=self._deliver, name=f"{name}-sender", daemon=True)
        self._threads = [self._sender]
        if spool is not None:
            self._threads.append(threading.Thread(target=self._keep, args=(spool,), name=f"{name}-spool", daemon=True))

    def __enter__(self) -> Delivery:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def send(self, event: Mapping[str, Any]) -> None:
        """Neither waits nor raises: what cannot be kept is counted."""
        try:
            body = encode(event)
        except (TypeError, ValueError) as error:
            self._lost += 1
            log.error("%s: an event is no JSON and was dropped: %s", self.name, type(error).__name__)
            return
        with self._changed:
            if self._until is not None:
                self._lost += 1  # too late
                return
            self._waiting.append(body)
            self._trim()
            self._changed.notify_all()

    def forget(self, people: Mapping[str, float]) -> None:
        """From now on nothing names ``people``, ids of the gallery with the times when they were forgotten: events that
        wait are told as of somebody unknown, what the other side keeps is taken back, and it is told to delete the
        rest, now or when it answers again. Returns at once; may be called before ``with``."""
        with self._changed:
            new = {person: when for person, when in people.items() if person not in self._gone}
            if not new:
                return
            self._gone = {**self._gone, **new}
            self._untold.add(new)
            if self._spool is None:
                self._cleaned = self._gone  # memory is seen to as it is delivered
            if not self._channel.forget(self._gone):
                self._withdrawn = self._gone
            self._woken = True
            self._changed.notify_all()

    def forgotten(self, timeout: float) -> bool:
        """Wait until nobody is named any more, on disk and in what the other side keeps. Whether that is so."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._cleaned is self._gone and (self._withdrawn is self._gone or not self._sender.is_alive()),
                timeout,
            )

    def told(self, timeout: float) -> bool:
        """Wait until the receiver was told of all who are forgotten. Whether it was, and refused none of it."""
        with self._changed:
            self._changed.wait_for(lambda: not (self._untold and self._sender.is_alive()), timeout)
            return not (self._untold or self._untold.refused)

    def flush(self, timeout: float) -> bool:
        """Wait until all that was sent is on disk or delivered. Whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._waiting or self._moving or self._held), timeout)

    def state(self) -> SinkState:
        spooled, dropped = (self._spool.queued, self._spool.dropped) if self._spool else (0, 0)
        queued = spooled + len(self._untold) + len(self._waiting) + self._moving + (self._held is not None)
        return SinkState(
            self.name,
            queued,
            self._sent,
            self._lost + dropped,
            self._refused,
            self._retries,
            self._connected,
            self._error,
        )

    def close(self, timeout: float = 5.0) -> None:
        """Write all to disk, and deliver what can be within ``timeout`` seconds; the rest waits for the next start."""
        with self._changed:
            if self._until is not None:
                return
            self._until = time.monotonic() + timeout
            self._changed.notify_all()
        for thread in reversed(self._threads):  # the spool's first: the sender ends when it is empty
            if thread.is_alive():
                thread.join(max(0.1, self._until - time.monotonic()))
        with self._changed:
            left = [*([self._held.body] if self._held else []), *self._waiting]
            self._held = None
            self._waiting.clear()
        try:
            if self._spool is not None and left:
                self._spool.append([without(body, self._gone) for body in left])
                left = []
        except OSError as error:
            log.error("%s: the spool cannot be written: %s", self.name, error.strerror)
        if left:
            self._lost += len(left)
            log.error("%s: %d events lost undelivered", self.name, len(left))
        if self._spool is not None:
            self._spool.close()

    def _keep(self, spool: Spool) -> None:
        """Thread: memory → disk."""
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._waiting or self._until is not None or self._cleaned is not self._gone
                )
                batch = list(self._waiting)
                self._waiting.clear()
                self._moving = len(batch)
            failed = ""
            try:
                self._clean(spool)
                if not batch and self._until is not None:
                    return
                if batch:
                    spool.append([without(body, self._gone) for body in batch])
            except OSError as error:
                failed = f"the spool cannot be written: {error.strerror}"
            with self._changed:
                self._moving = 0
                if failed:
                    self._waiting.extendleft(reversed(batch))
                    self._trim()
                if failed and not self._direct:
                    log.error("%s: %s; events wait in memory until there is room", self.name, failed)
                if failed:
                    self._error = failed
                self._direct = bool(failed)
                self._changed.notify_all()
                if failed and self._changed.wait_for(lambda: self._until is not None, DISK_EVERY):
                    return

    def _clean(self, spool: Spool) -> None:
        """Take out of the spool who is forgotten. In the thread that appends to it: nothing slips in between."""
        gone = self._gone
        if gone is not self._cleaned:
            spool.rewrite(lambda body: without(body, gone))
            with self._changed:
                self._cleaned = gone
                self._changed.notify_all()

    def _deliver(self) -> None:
        """Thread: disk → channel."""
        failures = bugs = 0
        while (record := self._next()) is not None or self._until is None:
            try:
                gone = self._gone
                kept = self._channel.keep(self._wake)
                self._connected = self._connected if kept is None else kept
                self._note_withdrawn(gone)
                if record is not None and not self._taken(record):
                    continue
                if failures:
                    log.info("%s: delivering again", self.name)
                failures = bugs = 0
                continue
            except RefusedError as error:
                self._refuse(record, error)
                failures = bugs = 0
                continue
            except GoneError as error:
                self._failed(error, 0.0)
                log.error("%s: %s; nothing is sent until rkface is started again", self.name, error)
                break
            except (OSError, UndeliveredError) as error:
                if not failures:
                    log.warning("%s: %s; trying again", self.name, error)
                pause = getattr(error, "after", 0.0)
                failures += 1
                self._failed(error, max(pause, self._backoff.seconds(failures)))
            except Exception as error:  # a bug of ours or of a library's costs one event at most
                log.exception("%s: unexpected", self.name)
                failures, bugs = failures + 1, bugs + 1
                self._failed(error, self._backoff.seconds(failures))
                if record is not None and bugs >= BUGS:
                    self._refuse(record, error)
                    bugs = 0
            if self._until is not None:
                break
        try:
            self._channel.close()
        except Exception as error:  # nor does it keep the service from ending
            log.warning("%s: closing: %s", self.name, error)
        self._connected = False

    def _taken(self, record: Record) -> bool:
        """Deliver. False: who is forgotten is told later, for a receiver that can make nothing of it is still to get
        appearances; whatever else it does not take raises."""
        try:
            self._channel.deliver(replace(record, body=without(record.body, self._gone)))
        except (OSError, UndeliveredError) as error:
            if not record.forgotten:
                raise
            if not self._untold.failures:
                log.warning("%s: who is forgotten cannot be told: %s; trying again", self.name, error)
            self._untold.put_off(max(getattr(error, "after", 0.0), self._backoff.seconds(self._untold.failures + 1)))
            self._note_failure(error)
            return False
        self._done(record)
        self._sent += 1
        self._connected = True
        return True

    def _note_withdrawn(self, gone: dict[str, float]) -> None:
        if gone is not self._withdrawn:
            with self._changed:
                self._withdrawn = gone
                self._changed.notify_all()

    def _next(self) -> Record | None:
        """The oldest event; None if there is none for a while, if the connection broke, or if it is time to end."""
        deadline = time.monotonic() + LOOK_EVERY
        while True:
            if self._until is not None and time.monotonic() >= self._until:
                return None
            with self._changed:
                if (record := self._untold.first()) is not None:
                    return record
            if self._held is not None:
                return self._held
            if self._spool is not None:
                self._spool.expire()
                record = self._spool.peek()
                if record is not None:
                    return record
            with self._changed:
                if self._direct and self._waiting:
                    self._held = Record(self._waiting.popleft())
                    return self._held
                if self._woken or time.monotonic() >= deadline or (self._until is not None and not self._pending()):
                    self._woken = False
                    return None
                self._changed.wait_for(self._stirred, min(deadline, self._untold.due) - time.monotonic())

    def _pending(self) -> bool:
        """Whether closing should wait for what is on its way to the disk."""
        return bool(self._moving or (self._waiting and not self._direct))

    def _stirred(self) -> bool:
        spooled = self._spool is not None and self._spool.queued > 0
        ending = self._until is not None and not self._pending()
        return bool(self._woken or spooled or (self._direct and self._waiting) or ending)

    def _done(self, record: Record) -> None:
        if record.forgotten:
            self._untold.done(record.forgotten)
            with self._changed:
                self._changed.notify_all()
        elif record is self._held:
            with self._changed:
                self._held = None
                self._changed.notify_all()
        elif self._spool is not None:
            self._spool.advance(record)

    def _refuse(self, record: Record | None, error: Exception) -> None:
        log.warning("%s: an event was refused for good: %s", self.name, error)
        self._error = str(error)
        self._refused += 1
        if record is not None:
            self._untold.refused |= bool(record.forgotten)
            self._done(record)

    def _failed(self, error: Exception, pause: float) -> None:
        self._note_failure(error)
        with self._changed:
            self._changed.wait_for(lambda: self._until is not None, pause)
            self._woken = True

    def _note_failure(self, error: Exception) -> None:
        self._retries += 1
        self._connected = False
        self._error = str(error) or type(error).__name__

    def _wake(self) -> None:
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def _trim(self) -> None:
        before = self._lost
        while len(self._waiting) > self._memory:
            self._waiting.popleft()
            self._lost += 1
        if before.bit_length() < self._lost.bit_length():  # the first, and whenever they have doubled
            log.error("%s: memory is full, %d events dropped: %s", self.name, self._lost, self._error or "too fast")
