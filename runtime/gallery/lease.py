"""The lease of a gallery that is a replica of a hub: how long it may name people without having heard of the hub.

A person who was erased at the hub must not be named without limit by a board that is away, stolen or disconnected. So a
replica that has not synced for the time of its lease names nobody until it has. That is stored with the gallery, so
every program that searches it obeys, also a copy of the file elsewhere.
"""

from __future__ import annotations

import json
import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

from ..core.errors import InputError
from ..core.sqlite import DamagedContentError
from ..core.steady_clock import ACCURACY, SteadyClock
from ..core.stored_clock import read_clock
from .database import GalleryDatabase
from .schema import gallery_errors

# Rows of the table ``setting``. A gallery with a clock is a replica.
PREFIX = "hub."
REVISION, SYNCED, SECONDS, CLOCK, LIMITS = (PREFIX + name for name in ("revision", "synced", "lease", "clock", "stay"))
EPOCH, OLDER = PREFIX + "epoch", PREFIX + "older"  # see ``notice_restored``
LEAVING = PREFIX + "leaving"  # see ``leave_hub``
SAVE_EVERY = 60.0  # seconds between two writes of the clock

# When people are valid, if not always: id → (from, until), seconds since 1970.
Limits = Mapping[str, tuple[float | None, float | None]]

log = logging.getLogger("rkface.gallery")


@dataclass(frozen=True)
class _Terms:
    """What is stored. ``revision``: the last change that the gallery has; ``synced`` (time of the steady clock) and
    ``seconds``: when the lease began, and how long it is; ``epoch`` and ``older``: see ``notice_restored``."""

    revision: int = 0
    synced: float = -math.inf
    seconds: float = 0.0
    limits: Limits = field(default_factory=dict)
    epoch: str = ""
    older: bool = False


class Lease:
    """Whether ``gallery`` may name people, and whom. Without a hub it always may. Thread-safe.

    Time comes from a clock that no jump of the wall clock moves back (``SteadyClock``), stored with the gallery; a
    board that was off counts that time when its wall clock is right. Who is valid when is judged by the wall clock.
    """

    def __init__(
        self,
        gallery: GalleryDatabase,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._gallery, self._clock, self._wall = gallery, clock, wall
        self._lock = threading.Lock()
        self._read, self._warned = False, False
        self._terms: _Terms | None = None  # None: no replica
        self._time = SteadyClock(0.0)
        self._advanced = clock()
        self._saved = -math.inf

    def read(self) -> None:
        """Read what the gallery's file says now. Raises DamagedError if that cannot be right."""
        stored = read_settings(self._gallery, PREFIX)
        with gallery_errors(self._gallery.path):
            terms = _parse(stored)
            clock = read_clock(stored[CLOCK]) if terms else None
        with self._lock:
            now = self._advance().now if self._terms else -math.inf
            renewed = terms is not None and self._terms is not None and terms.synced != self._terms.synced
            self._read, self._terms = True, terms
            # Another program stored it. It is ahead, or it has synced, and says how long ago.
            if clock and (clock.now > now + ACCURACY or (renewed and clock.now < now - ACCURACY)):
                self._time, self._advanced = clock.restarted(), self._clock()

    def begin(self) -> None:
        """Make the gallery a replica, which names nobody before its first sync. Nothing happens if it is one. Raises
        InputError if it is about to end being one."""
        with self._gallery.transaction() as database:
            if database.execute("SELECT 1 FROM setting WHERE name = ?", [LEAVING]).fetchone():
                raise InputError(
                    f"{self._gallery.path} is leaving its hub, but was interrupted: run `rkface hub leave` again"
                )
            text = json.dumps(asdict(SteadyClock(self._wall())))
            database.execute("INSERT OR IGNORE INTO setting VALUES (?, ?)", [CLOCK, text])
        self.read()

    @property
    def is_replica(self) -> bool:
        """Whether a hub decides about the people of this gallery."""
        return self._read_terms() is not None

    @property
    def revision(self) -> int:
        """The last change that the gallery has; 0 before the first one."""
        return (self._read_terms() or _Terms()).revision

    @property
    def hub_is_older(self) -> bool:
        """Whether the hub was restored to an older state, and does not know yet what this gallery knows."""
        return (self._read_terms() or _Terms()).older

    def notice_restored(self, epoch: str, last: int) -> bool:
        """Start again from the first change if the hub is another database than at the last sync (``epoch``), or if
        its ``last`` change is older than one that this gallery has: the hub was restored from a backup. Returns whether
        it was."""
        terms = self._read_terms() or _Terms()
        ahead = terms.revision > last
        if not ahead and terms.epoch in ("", epoch):
            return False
        log.warning("%s: the hub was restored from a backup, or moved: comparing everybody", self._gallery.path)
        with self._gallery.transaction() as database:
            rows = [(REVISION, "0"), (EPOCH, epoch), *([(OLDER, "1")] if ahead else [])]
            database.executemany("INSERT OR REPLACE INTO setting VALUES (?, ?)", rows)
        self.read()
        return True

    def note_told(self) -> None:
        """The hub knows what this gallery knows."""
        if self.hub_is_older:
            with self._gallery.transaction() as database:
                database.execute("DELETE FROM setting WHERE name = ?", [OLDER])
            self.read()

    def may_name(self, person: str) -> bool:
        """Whether the gallery may say that somebody is ``person`` (an id)."""
        terms = self._read_terms()
        if terms is None:
            return True
        if self.left() <= 0:
            return False
        start, end = terms.limits.get(person, (None, None))
        now = self._wall()
        return (start is None or now >= start) and (end is None or now < end)

    def left(self) -> float:
        """Seconds until the lease ends; 0 when it has ended, or before the first sync; infinite if it is no
        replica."""
        terms = self._read_terms()
        if terms is None:
            return math.inf
        with self._lock:
            left = max(0.0, terms.synced + terms.seconds - self._advance().now)
            warn, self._warned = not left and not self._warned, not left
        if warn:
            log.warning("%s: nobody is named until this gallery has synced with its hub (docs/hub.md)",
                        self._gallery.path)  # fmt: skip
        return left

    def renewed(self, revision: int, seconds: float, limits: Limits, epoch: str) -> dict[str, str]:
        """The settings to store in the transaction that applies the changes up to ``revision``. ``read`` follows."""
        self._read_terms()
        with self._lock:
            now = self._advance()
        return {
            **self.advanced(revision, limits),
            EPOCH: epoch,
            SECONDS: repr(seconds),
            SYNCED: repr(now.now),
            CLOCK: json.dumps(asdict(now)),
        }

    @staticmethod
    def advanced(revision: int, limits: Limits) -> dict[str, str]:
        """As ``renewed``, for a part of the changes: the lease stays as it is."""
        return {REVISION: str(revision), LIMITS: json.dumps(limits)}

    def save_clock(self) -> None:
        """Store the time, at most once a minute, so that a restart does not give it back. Nothing is written if another
        program stored it in this minute, or if the gallery is no replica."""
        if self._read_terms() is None:
            return
        with self._lock:
            now = self._advance()
            if self._clock() - self._saved < SAVE_EVERY:
                return
            self._saved = self._clock()
        with self._gallery.transaction() as database:
            stored = database.execute("SELECT value FROM setting WHERE name = ?", [CLOCK]).fetchone()
            before = read_clock(stored[0]) if stored else None
            if before and before.now <= now.now - SAVE_EVERY:
                database.execute("UPDATE setting SET value = ? WHERE name = ?", [json.dumps(asdict(now)), CLOCK])

    def _read_terms(self) -> _Terms | None:
        if not self._read:
            self.read()
        return self._terms

    def _advance(self) -> SteadyClock:
        clock = self._clock()
        passed, self._advanced = max(0.0, clock - self._advanced), clock
        self._time = self._time.after(passed, self._wall())
        return self._time


def read_settings(gallery: GalleryDatabase, prefix: str) -> dict[str, str]:
    """The rows of the table ``setting`` whose names begin with ``prefix``."""
    return dict(gallery.read("SELECT name, value FROM setting WHERE substr(name, 1, ?) = ?", [len(prefix), prefix]))


def stop_naming(database: sqlite3.Connection) -> None:
    """End the lease of a replica, inside a transaction: it is an old copy, and must sync before it names anybody."""
    database.execute("DELETE FROM setting WHERE name = ?", [SYNCED])


def _parse(stored: Mapping[str, str]) -> _Terms | None:
    """The terms in the rows ``stored``; None if the gallery is no replica. Raises DamagedContentError."""
    if CLOCK not in stored:
        return None
    try:
        limits = {person: (start, end) for person, (start, end) in json.loads(stored.get(LIMITS, "{}")).items()}
        numbers = [one for pair in limits.values() for one in pair if one is not None]
        terms = _Terms(
            int(stored.get(REVISION, "0")), float(stored.get(SYNCED, "-inf")), float(stored.get(SECONDS, "0")), limits,
            str(stored.get(EPOCH, "")), OLDER in stored,
        )  # fmt: skip
        if read_clock(stored[CLOCK]) is None or any(type(one) not in (int, float) for one in numbers):
            raise ValueError
        if not terms.synced + terms.seconds < math.inf:  # also if it is no number
            raise ValueError
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedContentError("what it knows of its hub") from error
    return terms
