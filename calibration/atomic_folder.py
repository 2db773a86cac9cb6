"""A folder that appears whole or not at all."""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rkface.runtime.core.atomic import sync
from rkface.runtime.core.errors import WorkError


@contextmanager
def atomic_folder(out: Path) -> Iterator[Path]:
    """Yield an empty folder (mode 0700) beside ``out`` that takes its place when the block ends well.

    Whatever stood at ``out`` is replaced; whether it may be is the caller's question. After a failed or interrupted
    block it is untouched and nothing else is left behind. WorkError where the disk does not play along.
    """
    out = out.resolve()  # a link keeps pointing to what it pointed to
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.new-"))
    except OSError as error:
        raise _unwritable(out, error) from error
    try:
        yield fresh
        _sync(fresh)
        _replace(fresh, out)
    except OSError as error:
        raise _unwritable(out, error) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def check_writable(out: Path) -> None:
    """WorkError where ``out`` could not be made, said before minutes of work rather than after."""
    parent = out.resolve().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise WorkError(f"{out}: cannot be written: {parent} is not a folder that you may write to: choose another")


def _sync(folder: Path) -> None:
    """Without this, a power cut after the rename may leave a whole folder of empty files."""
    for path in [*folder.rglob("*"), folder]:
        sync(path)


def _replace(fresh: Path, out: Path) -> None:
    """Put ``fresh`` in the place of ``out``; what was there is then at ``fresh``, or gone."""
    if not out.exists():
        fresh.rename(out)
    elif not _exchange(fresh, out):
        # A folder cannot be renamed over a full one, so the old one steps aside, and back if the new one cannot come.
        aside = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.old-"))
        old = aside / "old"
        try:
            out.rename(old)
            fresh.rename(out)
        finally:
            if old.exists() and not out.exists():
                old.rename(out)
            shutil.rmtree(aside, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in a single step; False where the file system cannot (renameat2 of Linux 3.15, RENAME_EXCHANGE
    = 2; AT_FDCWD = -100)."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    return rename is not None and rename(-100, os.fsencode(one), -100, os.fsencode(other), 2) == 0


def _unwritable(out: Path, error: OSError) -> WorkError:
    return WorkError(f"{out}: cannot be written: {error.strerror or error}: free some space or choose another folder")
