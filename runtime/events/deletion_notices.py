"""Notices to one receiver: an event for each forgotten person, which asks the receiver to delete its data about them.

Notices are not stored in an outbox. The gallery remembers every forgotten person, and a file lists the people whose
notices the receiver has; the others are still sent. So a notice needs no space on a full disk, does not become too old,
and is sent before all other events. A receiver that does not accept notices still gets all other events.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from .event import OutgoingEvent, encode

SCHEMA, VERSION = "rkface.forgotten", 1

log = logging.getLogger("rkface.events")


def as_event(person: str, forgotten: float) -> dict[str, Any]:
    """The notice as a dictionary for JSON. ``person``: an id of the gallery, never a name. ``forgotten``: seconds since
    1970, UTC."""
    return {"schema": SCHEMA, "version": VERSION, "person": person, "forgotten": forgotten}


class DeletionNotices:
    """The notices that one receiver still has to get.

    ``told_file`` (mode 0600, in a folder with mode 0700) lists the ids whose notices it has; without a file, this list
    is only in memory. ``wanted``: False for a receiver that cannot delete anything, which gets no notices. One thread
    delivers; ``add`` and ``first`` must not run at the same time.
    """

    def __init__(self, told_file: Path | None = None, *, wanted: bool = True) -> None:
        self._told_file, self._wanted = told_file, wanted
        self._told: set[str] = set()
        self._waiting: dict[str, float] = {}
        self._not_before = -math.inf  # by the monotonic clock
        self.failures = 0  # attempts in a row
        self.refused = False  # at least one notice since the last ``add``, permanently
        if told_file is not None:
            with suppress(OSError):  # then the receiver is told of everybody again
                self._told.update(told_file.read_text("utf-8", "replace").split())

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, people: Mapping[str, float]) -> None:
        """Send a notice for each of ``people`` (ids, with the time when each was forgotten), unless that was done."""
        if self._wanted:
            self._waiting.update({person: when for person, when in people.items() if person not in self._told})
        self.refused = False

    def first(self) -> OutgoingEvent | None:
        """The next notice to deliver, the same until ``finish`` or ``postpone`` is called; None if no notice is due."""
        if time.monotonic() < self.due:
            return None
        person, when = next(iter(self._waiting.items()))
        return OutgoingEvent(encode(as_event(person, when)), forgotten_person=person)

    @property
    def due(self) -> float:
        """When the next notice may be delivered, by the monotonic clock; infinity if no notice waits."""
        return self._not_before if self._waiting else math.inf

    def postpone(self, seconds: float) -> None:
        """The receiver did not accept the first notice: try again after this time."""
        self.failures += 1
        self._not_before = time.monotonic() + seconds

    def finish(self, person: str) -> None:
        """The notice about ``person`` was delivered, or refused permanently."""
        self._write(person)
        self._told.add(person)
        del self._waiting[person]
        self.failures = 0

    def _write(self, person: str) -> None:
        if self._told_file is None:
            return
        try:
            self._told_file.parent.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(self._told_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                # The newline comes first: if a power cut left half an id, this one is still read correctly.
                os.write(descriptor, f"\n{person}".encode())
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            log.warning(
                "%s: cannot be written: %s; after the next start the receiver is asked again to delete the same people",
                self._told_file,
                error.strerror,
            )
