"""Events as JSON lines, in a file that is rotated by size or on stdout: for log shippers, scripts, `tail -f | jq`."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ..core.atomic import sync_to_disk
from .channel import ReceiverGoneError
from .event import OutgoingEvent


class LinesFile:
    """A ``Channel`` to the file ``path`` (mode 0600). Before the file would exceed ``limit`` bytes it is renamed to
    ``path.1``, the former ``path.1`` to ``path.2`` and so on; ``keep`` of these are kept. The file is opened for each
    event, so that another tool may rotate it.

    An event is on disk when ``deliver`` returns, so that this channel needs no outbox.
    """

    def __init__(self, path: Path, limit: int = 16 << 20, keep: int = 4) -> None:
        self._path = path
        self._limit = limit
        self._keep = keep

    def maintain(self, wake: Callable[[], None]) -> None:
        return None

    def withdraw(self, people: Collection[str]) -> bool:
        return False  # lines that were written belong to the receiver

    def deliver(self, event: OutgoingEvent) -> None:
        line = event.body + b"\n"
        with suppress(FileNotFoundError):
            if self._path.stat().st_size + len(line) > self._limit:
                self._rotate()
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line  # a power cut left half a line: only that line stays unreadable
            try:
                if os.write(descriptor, line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(descriptor)
                if not size:
                    with suppress(OSError):  # some network file systems cannot
                        sync_to_disk(self._path.parent)  # otherwise a power cut may remove the new file
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
    """A ``Channel`` to ``stream``, by default stdout. A slow reader delays no other receiver. When the reader has
    closed the stream, nothing more is written."""

    def __init__(self, stream: BinaryIO | None = None) -> None:
        if stream is None:  # without a buffer: what the disk refuses must not stay there until the process ends
            sys.stdout.flush()
            stream = open(sys.stdout.fileno(), "wb", buffering=0, closefd=False)  # noqa: SIM115
        self._stream = stream
        self._line = self._rest = b""  # the line that is being written, and what is missing of it

    def maintain(self, wake: Callable[[], None]) -> None:
        return None

    def withdraw(self, people: Collection[str]) -> bool:
        return False  # lines that were written belong to the receiver

    def deliver(self, event: OutgoingEvent) -> None:
        line = event.body + b"\n"
        if line != self._line:
            is_half = 0 < len(self._rest) < len(self._line)  # only that line stays unreadable
            self._line, self._rest = line, b"\n" + line if is_half else line
        try:
            while self._rest:
                count = self._stream.write(self._rest)
                if count is None:
                    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
                self._rest = self._rest[count:]
        except BrokenPipeError as error:
            raise ReceiverGoneError("nobody reads the events any more") from error
        self._line = b""

    def close(self) -> None:
        pass
