"""Events as JSON lines: a file that is rotated by size, or stdout. For log shippers, scripts and `tail -f | jq`."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ..core.atomic import sync_to_disk
from .channel import GoneError
from .spool import Record


class LinesFile:
    """A ``Channel`` to ``path`` (mode 0600). Before it would grow beyond ``limit`` bytes it becomes ``path.1``, that
    ``path.2`` and so on; ``keep`` of them are kept. It is opened for every event, so that another tool may rotate it.

    An event is on disk when it counts as delivered: a delivery to this needs no spool.
    """

    def __init__(self, path: Path, limit: int = 16 << 20, keep: int = 4) -> None:
        self._path = path
        self._limit = limit
        self._keep = keep

    def keep(self, lost: Callable[[], None]) -> None:
        return None

    def forget(self, people: Collection[str]) -> bool:
        return False  # what was sent is the receiver's

    def deliver(self, record: Record) -> None:
        line = record.body + b"\n"
        with suppress(FileNotFoundError):
            if self._path.stat().st_size + len(line) > self._limit:
                self._rotate()
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line  # behind half a line that a power cut left: only that one cannot be read
            try:
                if os.write(descriptor, line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(descriptor)
                if not size:
                    with suppress(OSError):  # some network file systems cannot
                        sync_to_disk(self._path.parent)  # or there may be no such file after a power cut
            except OSError:
                os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)

    def close(self) -> None:
        pass

    def _rotate(self) -> None:
        names = [self._path, *(self._path.with_name(f"{self._path.name}.{n + 1}") for n in range(self._keep))]
        if not self._keep:
            self._path.unlink()
        for older, newer in zip(reversed(names[1:]), reversed(names[:-1]), strict=True):
            with suppress(FileNotFoundError):
                newer.replace(older)


class LinesStream:
    """A ``Channel`` to stdout, or another stream. A reader that is slow holds up nobody else; one that left is gone."""

    def __init__(self, stream: BinaryIO | None = None) -> None:
        self._stream = stream or sys.stdout.buffer

    def keep(self, lost: Callable[[], None]) -> None:
        return None

    def forget(self, people: Collection[str]) -> bool:
        return False  # what was sent is the receiver's

    def deliver(self, record: Record) -> None:
        try:
            self._stream.write(record.body + b"\n")
            self._stream.flush()
        except BrokenPipeError as error:
            raise GoneError("nobody reads the events any more") from error

    def close(self) -> None:
        pass
