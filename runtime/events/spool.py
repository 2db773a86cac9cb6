"""Events on disk until they are delivered: append-only segments, and a cursor that says how far delivery is.

A folder (mode 0700) holds ``<number>.events`` (0600), one event a line: its JSON's CRC-32 in hex, a space, the JSON.
``cursor`` names a segment and an offset in it, with a CRC of its own. A process appends only to segments that it began
itself, so that half a line which a power cut left behind is never written on to: reading steps over it. A segment is
deleted once its last event is delivered.

Age is told by the monotonic clock while the process runs: a board without a battery for its clock starts in 1970 and
jumps when it finds a time server. Only across a restart is it the difference of two wall clocks, where both can be
believed.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..core.atomic import sync_to_disk
from ..core.errors import InputError

SET_SINCE = 1_735_689_600  # 2025-01-01: a wall clock that is behind this was never set
SEGMENTS = 8  # that a full spool is divided into, by bytes and by age: what is dropped at once is an eighth
SYNC_EVERY = 32  # deliveries after which the cursor is certain to survive a power cut; a kill it always survives

log = logging.getLogger("rkface.events")


class TakenError(InputError):
    """Another process, or another part of this one, has the spool open."""


@dataclass(frozen=True)
class Limits:
    """What a spool may hold. ``seconds``: events are dropped between this age and an eighth more."""

    bytes: int = 16 << 20
    seconds: float = 7 * 86_400


@dataclass(frozen=True)
class Record:
    """An event as it is delivered. ``body``: its JSON. ``old``: an earlier process wrote it. ``segment`` and ``end``
    say where it lies in a spool. ``forgotten``: the person of whom it says that; it lies in no spool."""

    body: bytes
    old: bool = False
    segment: int = 0
    end: int = 0
    forgotten: str = ""


@dataclass
class _Segment:
    """``size``: bytes of it that are known to be whole. ``records``: not delivered yet. ``began`` and ``touched``:
    when its first and last event were written, by the monotonic clock."""

    number: int
    path: Path
    size: int
    records: int
    began: float
    touched: float


class Spool:
    """Appended to and rewritten by one thread, read by another. Opening takes it over from a process that is gone.

    ``queued``, ``dropped`` (for want of room, by age, unreadable) and ``damaged`` (lines that were no whole event)
    count events. InputError if the folder cannot be used or another process has it open.
    """

    def __init__(
        self,
        folder: Path,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.dropped = 0
        self.damaged = 0
        self._folder = folder
        self._limits = limits or Limits()
        self._clock = clock
        self._lock = threading.Lock()
        self._segments: list[_Segment] = []
        self._own: int | None = None  # descriptor of the last segment, while it is ours to append to
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._cursor = os.open(folder / "cursor", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise InputError(f"{folder}: events cannot be kept here: {error.strerror}; give another folder") from error
        try:
            fcntl.flock(self._cursor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            last, self._offset = _read_cursor(self._cursor)
            self._first = self._recover(last, wall()) + 1
        except BlockingIOError as error:
            os.close(self._cursor)
            raise TakenError(f"{folder}: another rkface sends from here; stop it or give another folder") from error
        except OSError as error:
            os.close(self._cursor)
            raise InputError(f"{folder}: its events cannot be read: {error.strerror}") from error
        self._next = self._first
        self._since_sync = 0

    @property
    def queued(self) -> int:
        return sum(segment.records for segment in tuple(self._segments))

    def append(self, bodies: Sequence[bytes]) -> None:
        """On return they are on disk, power cut or not. OSError: none of them is; what was there still is."""
        lines = b"".join(b"%08x %s\n" % (zlib.crc32(body), body) for body in bodies)
        with self._lock:
            now = self._clock()
            self._expire(now)
            while self._segments and sum(s.size for s in self._segments) + len(lines) > self._limits.bytes:
                self._drop(self._segments[0], "the spool is full")
            segment, descriptor = self._writable(len(lines), now)
            try:
                _write(descriptor, lines)
                os.fsync(descriptor)
                if not segment.size:
                    sync_to_disk(self._folder)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(descriptor, segment.size)
                # After a failed fsync nobody knows what of the file is on disk: the next try gets a file of its own.
                self._disown()
                if not segment.size:
                    self._forget(segment)
                raise
            segment.size += len(lines)
            segment.records += len(bodies)
            segment.touched = now

    def peek(self) -> Record | None:
        """The oldest event that is not delivered yet."""
        with self._lock:
            while self._segments:
                segment = self._segments[0]
                try:
                    with segment.path.open("rb") as file:
                        file.seek(self._offset)
                        line = file.readline() if self._offset < segment.size else b""
                except OSError as error:
                    self._drop(segment, f"it cannot be read: {error.strerror}")
                    continue
                if not line:
                    self._forget(segment)
                    continue
                body = _body(line)
                if body is not None:
                    return Record(body, segment.number < self._first, segment.number, self._offset + len(line))
                self._offset += len(line)
        return None

    def advance(self, record: Record) -> None:
        """``record``, which ``peek`` gave, is delivered."""
        with self._lock:
            if self._cursor < 0 or not self._segments or self._segments[0].number != record.segment:
                return  # closed, or it was dropped while it was under way
            segment = self._segments[0]
            self._offset = record.end
            segment.records -= 1
            if self._offset >= segment.size:
                self._forget(segment)
                return
            self._save_cursor(segment.number)

    def rewrite(self, change: Callable[[bytes], bytes]) -> None:
        """Replace every event by what ``change`` makes of it, which must not be longer, also those that were delivered
        and are still on disk; what is damaged goes. On return no file holds what was. OSError: some may still.

        A line keeps its length, filled up with spaces, so that the cursor is right whenever the power goes.
        """
        with self._lock:
            for segment in self._segments:
                with segment.path.open("rb") as file:
                    lines = list(file)
                changed = [_changed(line, change) for line in lines]
                if changed != lines:
                    if segment is self._segments[-1]:
                        self._disown()
                    self._replace(segment.path, b"".join(changed))

    def expire(self) -> None:
        """Drop what is older than the limit."""
        with self._lock:
            self._expire(self._clock())

    def close(self) -> None:
        with self._lock:
            self._disown()
            if self._cursor >= 0:
                with suppress(OSError):
                    os.fsync(self._cursor)
                os.close(self._cursor)
                self._cursor = -1

    def _recover(self, last: int, wall: float) -> int:
        """Take over what lies there; the highest number that was ever used."""
        now = self._clock()
        for half in self._folder.glob("*.new"):  # the power went while it was written
            half.unlink(missing_ok=True)
        numbers = sorted(int(path.stem) for path in self._folder.glob("*.events") if path.stem.isdigit())
        if last not in numbers:
            self._offset = 0
        for number in numbers:
            path = self._path(number)
            if number < last:
                path.unlink(missing_ok=True)  # delivered; the power went before it was deleted
                continue
            with path.open("rb") as file:
                file.seek(self._offset if number == last else 0)
                lines = [_body(line) is not None for line in file]
                status = os.fstat(file.fileno())
            if not all(lines):
                self.damaged += lines.count(False)
                log.warning("%s: %d damaged lines stepped over", path, lines.count(False))
            believed = min(wall, status.st_mtime) >= SET_SINCE
            touched = now - (max(0.0, wall - status.st_mtime) if believed else 0.0)
            self._segments.append(_Segment(number, path, status.st_size, sum(lines), touched, touched))
        return max([last, *numbers])

    def _writable(self, size: int, now: float) -> tuple[_Segment, int]:
        if self._own is not None:
            segment = self._segments[-1]
            young = now - segment.began < self._limits.seconds / SEGMENTS
            if young and segment.size + size <= self._limits.bytes / SEGMENTS:
                return segment, self._own
            self._disown()
        path = self._path(self._next)
        self._own = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        segment = _Segment(self._next, path, 0, 0, now, now)
        self._next += 1
        self._segments.append(segment)
        if len(self._segments) == 1:
            self._offset = 0
        return segment, self._own

    def _replace(self, path: Path, content: bytes) -> None:
        """Put ``content`` in the place of a file; its owner and its time, which is the age of its events, stay."""
        fresh, status = path.with_suffix(".new"), path.stat()
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, status.st_uid, status.st_gid)
            _write(descriptor, content)
            os.utime(descriptor, ns=(status.st_atime_ns, status.st_mtime_ns))
            os.fsync(descriptor)
            fresh.replace(path)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        sync_to_disk(self._folder)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:010d}.events"

    def _expire(self, now: float) -> None:
        while self._segments and now - self._segments[0].touched > self._limits.seconds:
            self._drop(self._segments[0], "too old")

    def _drop(self, segment: _Segment, why: str) -> None:
        if segment.records:
            self.dropped += segment.records
            log.warning("%s: %d events dropped undelivered: %s", segment.path, segment.records, why)
        self._forget(segment)

    def _forget(self, segment: _Segment) -> None:
        if segment is self._segments[-1]:
            self._disown()
        first = segment is self._segments[0]
        self._segments.remove(segment)
        if first:  # The cursor goes on before the file goes: should the power bring it back, it is known to be done.
            self._offset = 0
            self._save_cursor(segment.number + 1)
        with suppress(OSError):
            segment.path.unlink(missing_ok=True)

    def _save_cursor(self, number: int) -> None:
        text = b"%010d %012d" % (number, self._offset)
        with suppress(OSError):  # a disk that cannot even do this sends events twice after a restart, loses none
            os.pwrite(self._cursor, b"%s %08x\n" % (text, zlib.crc32(text)), 0)
            self._since_sync += 1
            if self._since_sync >= SYNC_EVERY:
                self._since_sync = 0
                os.fsync(self._cursor)

    def _disown(self) -> None:
        if self._own is not None:
            os.close(self._own)
            self._own = None


def _write(descriptor: int, data: bytes) -> None:
    """All of it: a disk that fills up takes a part first."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _body(line: bytes) -> bytes | None:
    """The JSON of a whole, unchanged line."""
    if not line.endswith(b"\n") or line[8:9] != b" ":
        return None
    body = line[9:-1]
    return body.rstrip(b" ") if line[:8] == b"%08x" % zlib.crc32(body) else None


def _changed(line: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """``line`` with another event, as long as it was."""
    body = _body(line)
    if body is None:
        return b"\n".rjust(len(line)) if line.endswith(b"\n") else b" " * len(line)
    fresh = change(body)
    if fresh == body:
        return line
    room = len(line) - 10
    if len(fresh) > room:
        raise ValueError("an event may not grow")
    fresh = fresh.ljust(room)
    return b"%08x %s\n" % (zlib.crc32(fresh), fresh)


def _read_cursor(descriptor: int) -> tuple[int, int]:
    """Segment and offset; (0, 0), which sends all again, where it says nothing believable."""
    parts = os.pread(descriptor, 64, 0).split()
    if len(parts) == 3 and parts[2] == b"%08x" % zlib.crc32(b" ".join(parts[:2])):
        return int(parts[0]), int(parts[1])
    return 0, 0
