"""Delivery of events to one receiver: it never delays the camera, keeps the order, and delivers at least once.

``Delivery.send`` puts an event into memory and returns. One thread moves it to the outbox on disk, another one hands it
to a ``Channel`` (webhook, MQTT, file) and tries again after growing pauses until the channel accepts it. Without an
outbox, or while the disk cannot be written, events go from memory straight to the channel. Notices about forgotten
people are delivered before all other events.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from ..core.picture_kind import PictureKind
from .backoff import Attempts, Backoff
from .channel import Channel, ReceiverGoneError, RefusedError, SinkState, UndeliveredError
from .deletion_notices import DeletionNotices
from .event import OutgoingEvent, anonymize, encode
from .outbox import Outbox
from .pending import PendingEvents

MEMORY = 1000  # events that wait in memory, about half a megabyte
LOOK_EVERY = 60.0  # seconds after which an idle delivery checks its outbox and its connection
UNEXPECTED = 5  # attempts in a row that may end in an unexpected error before the event is skipped

log = logging.getLogger("rkface.events")


class Delivery:
    """A ``Sink`` for one receiver. Its threads run from ``with`` to ``close`` or the end of the block. It owns
    ``channel`` and ``outbox``.

    ``memory``: how many events may wait in memory. ``told_file``: see ``DeletionNotices``. ``picture``: which picture
    the receiver gets with an alert. ``only_alerts``: it is a person, to whom the caller sends alerts only, and who gets
    no notices about forgotten people.
    """

    def __init__(
        self,
        name: str,
        channel: Channel,
        outbox: Outbox | None = None,
        backoff: Backoff | None = None,
        memory: int = MEMORY,
        *,
        told_file: Path | None = None,
        picture: PictureKind = "none",
        only_alerts: bool = False,
    ) -> None:
        self.name, self.picture, self.only_alerts = name, picture, only_alerts
        self._channel = channel
        self._backoff = backoff or Backoff()
        self._notices = DeletionNotices(told_file, wanted=not only_alerts)
        self._pending = PendingEvents(name, outbox, self._notices, memory)
        self._changed = self._pending.changed
        self._withdrawn = 0  # generation of forgotten people about whom the receiver stores nothing that we can change
        self._delivering: int | None = None  # generation of forgotten people that the event now on its way leaves out
        self._sent = self._refused = self._retries = 0
        self._connected: bool | None = None
        self._sender = threading.Thread(target=self._send_all, name=f"{name}-sender", daemon=True)
        self._threads = [self._sender]
        if outbox is not None:
            self._threads.append(threading.Thread(target=self._pending.store, name=f"{name}-outbox", daemon=True))

    def __enter__(self) -> Delivery:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def send(self, event: Mapping[str, Any]) -> None:
        """Accept an event. It neither waits nor raises: events that cannot be kept are counted as dropped."""
        try:
            self._pending.add(encode(event))
        except (TypeError, ValueError) as error:
            self._pending.count_lost()
            log.error("%s: an event cannot be written as JSON and was dropped: %s", self.name, type(error).__name__)

    def forget(self, people: Mapping[str, float]) -> None:
        """Erase ``people`` (ids of the gallery, with the times when they were forgotten): events that wait report an
        unknown person instead, data that the receiver stores is withdrawn where the channel can do that, and the
        receiver is asked to delete the rest, now or as soon as it can be reached. Returns immediately. May be called
        before ``with``."""
        with self._changed:
            if self._pending.forget(people) and not self._channel.withdraw(self._pending.forgotten.people):
                self._withdrawn = self._pending.forgotten.generation

    def wait_until_erased(self, timeout: float) -> bool:
        """Wait until no stored event, none on its way and no data that the channel can withdraw names a forgotten
        person. Returns whether that is so."""

        def erased() -> bool:
            generation = self._pending.forgotten.generation
            left_out = self._withdrawn == generation and self._delivering in (None, generation)
            return self._pending.erased == generation and (left_out or not self._sender.is_alive())

        with self._changed:
            return self._changed.wait_for(erased, timeout)

    def wait_until_told(self, timeout: float) -> bool:
        """Wait until the receiver got a notice about every forgotten person. Returns whether it did, and refused
        none."""
        with self._changed:
            self._changed.wait_for(lambda: not (self._notices and self._sender.is_alive()), timeout)
            return not (self._notices or self._notices.refused)

    def flush(self, timeout: float) -> bool:
        """Wait until every event is on disk or delivered. Returns whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._pending.unsafe, timeout)

    def state(self) -> SinkState:
        """Counters and the last problem."""
        return SinkState(
            self.name,
            self._pending.queued,
            self._sent,
            self._pending.dropped,
            self._refused,
            self._retries,
            self._connected,
            self._pending.error,
        )

    def close(self, timeout: float = 5.0) -> None:
        """Write all events to disk, and deliver as many as possible within ``timeout`` seconds. The others are
        delivered after the next start."""
        if not self._pending.close_after(timeout):
            return
        until = time.monotonic() + timeout
        for thread in reversed(self._threads):  # the outbox's first: the sender ends when nothing waits
            if thread.is_alive():
                thread.join(max(0.1, until - time.monotonic()))
        self._pending.close()

    def _send_all(self) -> None:
        """Hand events to the channel until it is time to end. Runs in a thread of its own."""
        attempts = Attempts()
        while (event := self._pending.next(LOOK_EVERY)) is not None or not self._pending.ended:
            try:
                if self._attempt(event):
                    if attempts.failures:
                        log.info("%s: delivering again", self.name)
                    attempts.reset()
                continue
            except RefusedError as error:
                self._refuse(event, error)
                attempts.reset()
                continue
            except ReceiverGoneError as error:
                self._note_failure(error)
                log.error("%s: %s; nothing is sent until rkface is started again", self.name, error)
                self._pending.stop_memory()
                break
            except Exception as error:
                self._handle_failure(event, error, attempts)
            if self._pending.closing_at is not None:
                break
        try:
            self._channel.close()
        except Exception as error:  # it must not prevent the service from ending
            log.warning("%s: closing the connection failed: %s", self.name, error)
        self._connected = False

    def _attempt(self, event: OutgoingEvent | None) -> bool:
        """Keep the connection and deliver ``event``, if any. Returns False if a notice has to wait; raises what the
        channel raises about all other events."""
        generation = self._pending.forgotten.generation
        connected = self._channel.maintain(self._pending.wake)
        self._connected = self._connected if connected is None else connected
        if generation > self._withdrawn:
            with self._changed:
                self._withdrawn = generation
                self._changed.notify_all()
        if event is None:
            return True
        with self._changed:
            forgotten = self._pending.forgotten
            self._delivering = forgotten.generation
        try:
            self._channel.deliver(replace(event, body=anonymize(event.body, forgotten.people)))
        except (OSError, UndeliveredError) as error:
            if not event.forgotten_person:
                raise
            self._postpone_notices(error)
            return False
        finally:
            with self._changed:
                self._delivering = None
                self._changed.notify_all()
        self._pending.finish(event)
        self._sent += 1
        self._connected = True
        return True

    def _postpone_notices(self, error: Exception) -> None:
        """A receiver that cannot process notices must still get its events."""
        if not self._notices.failures:
            log.warning("%s: cannot be told who is forgotten: %s; trying again", self.name, error)
        self._notices.postpone(self._pause(error, self._notices.failures + 1))
        self._note_failure(error)

    def _handle_failure(self, event: OutgoingEvent | None, error: Exception, attempts: Attempts) -> None:
        """Wait before the next attempt. An error that no channel is supposed to raise, from a bug in rkface or in
        a library, costs at most one event."""
        attempts.failures += 1
        expected = isinstance(error, (OSError, UndeliveredError))
        if not expected:
            attempts.unexpected += 1
            log.error("%s: unexpected error", self.name, exc_info=error)
        elif attempts.failures == 1:
            log.warning("%s: %s; trying again", self.name, error)
        self._note_failure(error)
        with self._changed:
            self._changed.wait_for(lambda: self._pending.closing_at is not None, self._pause(error, attempts.failures))
            self._pending.wake()
        if not expected and event is not None and attempts.unexpected >= UNEXPECTED:
            self._refuse(event, error)
            attempts.unexpected = 0

    def _pause(self, error: Exception, failures: int) -> float:
        """Seconds until the next attempt: what the receiver asked for, or longer."""
        return max(getattr(error, "after", 0.0), self._backoff.seconds(failures))

    def _refuse(self, event: OutgoingEvent | None, error: Exception) -> None:
        log.warning("%s: an event was refused permanently: %s", self.name, error)
        self._pending.error = str(error)
        self._refused += 1
        if event is not None:
            self._notices.refused |= bool(event.forgotten_person)
            self._pending.finish(event)

    def _note_failure(self, error: Exception) -> None:
        self._retries += 1
        self._connected = False
        self._pending.error = str(error) or type(error).__name__
