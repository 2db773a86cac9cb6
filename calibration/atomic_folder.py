"""Write a folder atomically: it appears complete, or not at all."""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rkface.runtime.core.atomic import sync_to_disk, write_error
from rkface.runtime.core.errors import WorkError


@contextmanager
def atomic_folder(out: Path) -> Iterator[Path]:
    """Yield an empty temporary folder (mode 0700) beside ``out``, which replaces ``out`` when the block succeeds.

    The caller decides whether an existing ``out`` may be replaced. If the block fails or is interrupted, ``out`` is
    unchanged and the temporary folder is removed. Raises WorkError if the disk is full or cannot be written.
    """
    out = out.resolve()  # replace the target of a link, not the link
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.new-"))
    except OSError as error:
        raise write_error(out, error) from error
    try:
        yield new
        _sync(new)
        _replace(new, out)
    except OSError as error:
        raise write_error(out, error) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def check_writable(out: Path) -> None:
    """Raise WorkError if ``out`` cannot be created: call this before minutes of work, not after."""
    parent = out.resolve().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise WorkError(
            f"{out}: cannot be written: {parent} is not a folder, or you may not write to it: choose another"
        )


def _sync(folder: Path) -> None:
    """Flush the files to disk: otherwise a power cut after the rename could leave a folder of empty files."""
    for path in [*folder.rglob("*"), folder]:
        sync_to_disk(path)


def _replace(new: Path, out: Path) -> None:
    """Move ``new`` to ``out``; an old ``out`` is then at ``new``, or deleted."""
    if not out.exists():
        new.rename(out)
    elif not _exchange(new, out):
        # A folder cannot be renamed over a non-empty one: move the old one away, and back if the second rename fails.
        aside = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.old-"))
        old = aside / "old"
        try:
            out.rename(old)
            new.rename(out)
        finally:
            if old.exists() and not out.exists():
                old.rename(out)
            shutil.rmtree(aside, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders atomically; False if the file system does not support it.

    renameat2(2), Linux 3.15: RENAME_EXCHANGE = 2, AT_FDCWD = -100.
    """
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    return rename is not None and rename(-100, os.fsencode(one), -100, os.fsencode(other), 2) == 0
