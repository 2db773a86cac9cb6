"""Who is forgotten, told to one receiver: an event for each person, and a note of whom it was told of.

These events lie in no spool. The gallery remembers for ever who is forgotten, so that whoever the note lacks is still
to be told: that needs no room on a full disk, does not grow too old, and goes before all that waits. A receiver that
does not take it gets everything else all the same.
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

from .channel import encode
from .spool import Record

SCHEMA, VERSION = "rkface.forgotten", 1

log = logging.getLogger("rkface.events")


def as_event(person: str, forgotten: float) -> dict[str, Any]:
    """For JSON. ``person``: an id of the gallery, never a name; ``forgotten``: seconds since 1970, UTC."""
    return {"schema": SCHEMA, "version": VERSION, "person": person, "forgotten": forgotten}


class Untold:
    """Those of whom a receiver is yet to be told. ``note``: a file (0600, in a folder 0700) of the ids that it was told
    of; None: that is remembered in memory alone. One thread delivers; ``add`` and ``first`` must not run at a time."""

    def __init__(self, note: Path | None = None) -> None:
        self._note = note
        self._told: set[str] = set()
        self._waiting: dict[str, float] = {}
        self._not_before = -math.inf  # by the monotonic clock
        self.failures = 0  # since the last that was taken
        self.refused = False  # for good, one or more of those who came last
        if note is not None:
            with suppress(OSError):  # then all are told again
                self._told.update(note.read_text("utf-8", "replace").split())

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, people: Mapping[str, float]) -> None:
        """Ids, and when each was forgotten."""
        self._waiting.update({person: when for person, when in people.items() if person not in self._told})
        self.refused = False

    def first(self) -> Record | None:
        """What is to be delivered next, until it is ``done``; None while there is nothing, or it is put off."""
        if time.monotonic() < self.due:
            return None
        person, when = next(iter(self._waiting.items()))
        return Record(encode(as_event(person, when)), forgotten=person)

    @property
    def due(self) -> float:
        """When the next may be delivered, by the monotonic clock."""
        return self._not_before if self._waiting else math.inf

    def put_off(self, seconds: float) -> None:
        """It was not taken."""
        self.failures += 1
        self._not_before = time.monotonic() + seconds

    def done(self, person: str) -> None:
        """Its event was delivered, or refused for good."""
        self._write(person)
        self._told.add(person)
        del self._waiting[person]
        self.failures = 0

    def _write(self, person: str) -> None:
        if self._note is None:
            return
        try:
            self._note.parent.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(self._note, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                # Behind a newline: half an id, which a power cut left there, is nobody's and spoils no other.
                os.write(descriptor, f"\n{person}".encode())
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            log.warning(
                "%s: not written: %s; who is forgotten is told again at the next start", self._note, error.strerror
            )
