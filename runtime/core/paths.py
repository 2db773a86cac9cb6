"""Paths that a user's program passes in."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from .errors import InputError


def as_path(path: str | PathLike[str], what: str) -> Path:
    """``path`` as a Path. Raises InputError, which calls it ``what``, for anything except a string or a path."""
    if isinstance(path, str | PathLike):
        return Path(path)
    raise InputError(f"{what} must be a string or a Path, not a {type(path).__name__}")
