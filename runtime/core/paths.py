"""Paths that a user's program passes in."""

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
