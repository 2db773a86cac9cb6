"""Read the spool of rkface 0.1 releases, which stored events in text files, so that an outbox can take them over.

Such a folder contains ``<number>.events`` files with one event a line: the CRC-32 of its JSON in hexadecimal, a space,
and the JSON, which may be padded with spaces. The file ``cursor`` contains the number of the file that is being
delivered, the offset of the first event in it that is not delivered, and a CRC-32 of both.
"""

from __future__ import annotations

import fcntl
import io
import logging
import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

CURSOR = "cursor"

log = logging.getLogger("rkface.events")


@dataclass(frozen=True)
class OldFile:
    """One file of an old spool. ``written``: when its last event was stored, in seconds since 1970. ``bodies``: the
    events in it that are not delivered, oldest first."""

    path: Path
    written: float
    bodies: list[bytes]


def lock_old_spool(folder: Path) -> int | None:
    """Lock the old spool in ``folder`` against an rkface of the previous version that still runs. Returns the
    descriptor that holds the lock; None if there is no old spool. Raises BlockingIOError if it is in use."""
    try:
        descriptor = os.open(folder / CURSOR, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def read_old_files(folder: Path) -> Iterator[OldFile]:
    """Yield the files of the old spool in ``folder``, oldest first; damaged lines are left out. OSError if one cannot
    be read."""
    current, offset = _read_cursor(folder / CURSOR)
    for path in sorted(folder.glob("*.events"), key=lambda path: path.stem):
        if not path.stem.isdigit():
            continue
        number, content = int(path.stem), path.read_bytes()
        if number < current:
            content = b""  # delivered, but a power cut prevented its deletion
        elif number == current:
            content = content[offset:]
        lines = list(io.BytesIO(content))  # which ends lines at \\n only
        bodies = [body for line in lines if (body := _read_line(line)) is not None]
        if len(bodies) < len(lines):
            log.warning("%s: %d damaged lines are left out", path, len(lines) - len(bodies))
        yield OldFile(path, path.stat().st_mtime, bodies)


def delete_old_spool(folder: Path) -> None:
    """Delete what is left of an old spool after its events were taken over."""
    for path in (*folder.glob("*.events"), *folder.glob("*.new"), folder / CURSOR):
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _read_line(line: bytes) -> bytes | None:
    """The JSON of a line that is complete and unchanged."""
    if not line.endswith(b"\n") or line[8:9] != b" ":
        return None
    body = line[9:-1]
    return body.rstrip(b" ") if line[:8] == b"%08x" % zlib.crc32(body) else None


def _read_cursor(path: Path) -> tuple[int, int]:
    """Number and offset; (0, 0), which delivers everything again, if the file is damaged."""
    try:
        parts = path.read_bytes()[:64].split()
    except FileNotFoundError:
        parts = []
    if len(parts) == 3 and parts[2] == b"%08x" % zlib.crc32(b" ".join(parts[:2])):
        return int(parts[0]), int(parts[1])
    return 0, 0
