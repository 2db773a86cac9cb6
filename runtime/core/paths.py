"""Paths that a user's program passes in, and the folder of rkface's cache."""

from __future__ import annotations

import os
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


def require_folder(path: Path, shown: str) -> None:
    """Raise InputError if there is no folder for the new file or folder ``path``, before minutes of work. The message
    calls it ``shown``, such as "--out x/y"."""
    if not path.parent.is_dir():
        raise InputError(f"{shown}: there is no folder {path.parent}: create it, or choose another place")


def cache_folder() -> Path:
    """The folder for what can be made or downloaded again: $RKFACE_CACHE, or else rkface's folder in the XDG cache."""
    own = os.environ.get("RKFACE_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rkface"
