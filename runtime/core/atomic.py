"""A file that is written beside the place it will take; and what a power cut left of such ones."""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import WorkError

BESIDE = ("-wal", "-shm", "-journal", "")  # what SQLite puts beside a file, and itself: the last to go


@contextmanager
def fresh(target: Path, *, final: bool = True) -> Iterator[Path]:
    """A new empty file beside ``target``, mode 0600, that takes its place on the disk when the block ends well, for the
    same owner. It is locked (flock, which SQLite does not use) while its process lives: see ``sweep``."""
    try:
        handle, path = _begun(target)
    except OSError as error:
        raise WorkError(f"{target}: cannot be written: {error.strerror or error}: choose another place") from error
    try:
        yield path
        if final:
            if target.exists():
                give(path, target)
            sync(path)
            path.replace(target)
            sync(target.parent)
    finally:
        _delete(path)
        os.close(handle)


def give(path: Path, like: Path) -> None:
    """Have root leave ``path`` to the owner of ``like``: a service that is not root has to use it."""
    if os.geteuid() == 0:
        status = like.stat()
        with suppress(OSError):  # a stick's file system knows no owners
            os.chown(path, status.st_uid, status.st_gid)


def sync(path: Path) -> None:
    """Bring what lies at ``path`` to the disk: of a folder the names in it, which a power cut may take from new files.
    OSError where that cannot be."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(folder: Path, name: str = "") -> list[tuple[Path, str]]:
    """Delete what ``fresh`` left in ``folder``, of the target ``name`` or of any, where its process was killed. What
    is still there, and why."""
    left = []
    pattern = re.compile(rf"\.{re.escape(name) or '.+'}\.[a-z0-9_]{{8}}")
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if pattern.fullmatch(path.name):
            try:
                handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _delete(path)
                finally:
                    os.close(handle)
            except FileNotFoundError:  # it has its name by now
                pass
            except BlockingIOError:
                left.append((path, "it is being written just now"))
            except OSError as error:
                left.append((path, f"it was begun and not finished, and cannot be deleted: {error.strerror}"))
    return left


def _begun(target: Path) -> tuple[int, Path]:
    while True:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with suppress(OSError):  # some network file systems have no such locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)  # swept before it was locked


def _delete(path: Path) -> None:
    for suffix in BESIDE:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
