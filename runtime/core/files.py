"""Read files that somebody hands in: never a device, never without a limit of size, and of time for a pipe."""

from __future__ import annotations

import json
import math
import os
import select
import stat
import time
from pathlib import Path
from typing import IO, Any, NoReturn

from .errors import InputError

MEGABYTE = 1_000_000
PIPE_SECONDS = 30.0  # for the whole content of a pipe, such as `<(command)` of a shell
CHUNK = 1 << 20
DEPTH = 100  # of values inside values in JSON
TOO_DEEP = "it is nested too deeply"
DIGITS = 25  # of a number in JSON, before the point; double precision has 17


def read_file(path: Path, limit: int, kind: str = "such a file") -> bytes:
    """Read a file, or a pipe, of at most ``limit`` bytes. Errors call it ``kind``.

    Raises InputError if it cannot be read, is larger, or is a device, a socket or a folder: a device may have no end.
    Opening or reading a pipe to which nobody writes ends after 30 seconds.
    """
    try:
        # Without O_NONBLOCK, opening a pipe waits until somebody opens its other end. Files are not affected.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            state = os.fstat(descriptor)
            mode, size = state.st_mode, state.st_size
            if stat.S_ISFIFO(mode):
                data: bytes | None = read_pipe(descriptor, limit + 1, path)
            elif stat.S_ISREG(mode):
                data = _read_all(descriptor, limit + 1) if size <= limit else None
            else:
                raise InputError(f"{path} is {_describe_type(mode)}, not a file")
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if data is None or len(data) > limit:
        most = f"{limit / MEGABYTE:g} MB" if limit >= MEGABYTE / 10 else f"{limit:,} bytes"
        raise InputError(f"{path}: the file is larger than {most}, which is the limit for {kind}")
    return data


def append(file: IO[bytes], data: bytes) -> None:
    """Write ``data`` at the end of ``file``, without a buffer: after an error, closing it does not fail as well."""
    descriptor, rest = file.fileno(), memoryview(data)
    os.lseek(descriptor, 0, os.SEEK_END)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def require_file(path: Path) -> None:
    """Raise InputError if ``path`` is a pipe, a device, a socket or a folder, and OSError if it does not exist. For
    readers that go through a file of any size."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise InputError(f"{path} is {_describe_type(mode)}, not a file")


def read_pipe(descriptor: int, most: int, path: Path) -> bytes:
    """At most ``most`` bytes of the pipe ``descriptor``, which was opened with O_NONBLOCK. Raises InputError, which
    names ``path``, if its content is not complete within 30 seconds."""
    chunks, left, end = [], most, time.monotonic() + PIPE_SECONDS
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while left:
        if not poll.poll(max(0.0, end - time.monotonic()) * 1000):
            raise InputError(f"{path} is a pipe, and nobody has written all of it within {PIPE_SECONDS:g} s")
        try:
            chunk = os.read(descriptor, min(CHUNK, left))
        except BlockingIOError:
            continue
        if not chunk:
            break
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks)


def read_text(path: Path, limit: int) -> str:
    """Read a text file of at most ``limit`` bytes; a byte order mark is removed. Raises InputError as ``read_file``,
    and if the file is not UTF-8."""
    try:
        return read_file(path, limit).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}: save it as UTF-8") from error


def parse_json(text: str | bytes) -> Any:
    """Parse JSON that somebody hands in. Raises ValueError, with a short reason, for everything that Python's parser
    accepts although JSON or the rest of the program does not: NaN, infinite numbers, numbers of hundreds of digits,
    halves of surrogate pairs, and values nested more than 100 deep."""
    try:
        if isinstance(text, bytes):  # json would decode halves of surrogate pairs
            text = text.decode("utf-8-sig")
        value = json.loads(text, parse_int=_parse_int, parse_float=_parse_float, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    if text.count("[") + text.count("{") > DEPTH and _is_deep(value):
        raise ValueError(TOO_DEEP)
    if not text.isascii() or "\\ud" in text.lower():
        _check_characters(value)
    return value


def _parse_int(digits: str) -> int:
    if len(digits) > DIGITS:
        raise ValueError(f"a number has {len(digits)} digits")
    return int(digits)


def _parse_float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {digits[:DIGITS]} is too large")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEPTH + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, list | dict)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(level)


def _check_characters(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("a text contains half of a surrogate pair, which is not a character") from None


def _read_all(descriptor: int, most: int) -> bytes:
    chunks, left = [], most
    while left and (chunk := os.read(descriptor, min(CHUNK, left))):
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks)


def _describe_type(mode: int) -> str:
    kinds = (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a disk"),
        (stat.S_ISSOCK, "a socket"),
    )
    return next((name for is_kind, name in kinds if is_kind(mode)), "something else")
