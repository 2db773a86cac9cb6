"""Paths that a user's program passes in, and files whose size is limited."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from .checks import describe_type
from .errors import InputError


def as_path(path: str | PathLike[str], what: str) -> Path:
    """``path`` as a Path. Raises InputError, which calls it ``what``, for anything except a string or a path, and for a
    path with a NUL character, which no file can have."""
    if not isinstance(path, str | PathLike):
        raise InputError(f"{what} must be a string or a Path, not {describe_type(path)}")
    if "\0" in str(path):
        raise InputError(f"{what} contains a NUL character: {str(path)!r}: use the real name of the file")
    return Path(path)


def read_limited(path: Path, most: int) -> bytes:
    """The content of the file ``path``. Raises InputError if it cannot be read or has more than ``most`` bytes, as a
    device such as /dev/zero has."""
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
        raise InputError(f"{path}: cannot be read: {reason}") from error
    if len(content) > most:
        raise InputError(f"{path}: the file has more than {most:,} bytes: this is not the right file")
    return content
