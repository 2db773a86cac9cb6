"""Atomic file replacement: after a power cut, a file has its old content or its new content, never a part of one."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from .errors import WorkError

# The files that SQLite keeps beside a database, then the database itself, in the order in which they are deleted.
SQLITE_SUFFIXES = ("-wal", "-shm", "-journal", "")
LONGEST_NAME = 230  # bytes of the target's name that a temporary file takes: Linux allows 255, and suffixes are added
_SPACE, _FOLDER = "free some space or choose another place", "create its folder or choose another place"
REMEDIES = {errno.ENOSPC: _SPACE, errno.EDQUOT: _SPACE, errno.ENOENT: _FOLDER, errno.ENOTDIR: _FOLDER}
NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}  # FAT on a USB stick answers EPERM


class Leftover(NamedTuple):
    """A temporary file that could not be deleted, and the reason."""

    path: Path
    reason: str


def write_atomically(target: Path, content: bytes, *, mode: int = 0o600, overwrite: bool = True) -> None:
    """Write ``content`` to ``target``, so that a power cut leaves the old file or the new one.

    The new file has the permissions ``mode``, less the umask. Raises FileExistsError if ``target`` exists and
    ``overwrite`` is False, and WorkError if the file cannot be written.
    """
    with temporary_file(target, mode=mode) as path:
        try:
            path.write_bytes(content)
            _move_into_place(path, target, overwrite=overwrite)
        except FileExistsError:
            raise
        except OSError as error:
            raise write_error(target, error) from error


@contextmanager
def replace_atomically(target: Path) -> Iterator[Path]:
    """Yield an empty temporary file, mode 0600, that replaces ``target`` when the block ends without an error.

    If ``target`` exists, its owner stays. Raises WorkError if the file cannot be created or moved into place.
    """
    with temporary_file(target) as path:
        yield path
        try:
            _move_into_place(path, target, overwrite=True)
        except OSError as error:
            raise write_error(target, error) from error


@contextmanager
def create_atomically(target: Path) -> Iterator[Path]:
    """Yield an empty temporary file, mode 0600, that becomes the new file ``target`` when the block ends without an
    error. Raises FileExistsError if ``target`` exists by then, and WorkError if it cannot be written."""
    with temporary_file(target) as path:
        yield path
        try:
            _move_into_place(path, target, overwrite=False)
        except FileExistsError:
            raise
        except OSError as error:
            raise write_error(target, error) from error


@contextmanager
def temporary_file(target: Path, *, mode: int = 0o600) -> Iterator[Path]:
    """Yield an empty file in the folder of ``target``, named after it, and delete the file when the block ends.

    The file is locked (flock, which SQLite does not use) while this process lives, so that ``remove_leftovers`` of
    another process leaves it alone. Raises WorkError if the file cannot be created.
    """
    try:
        descriptor, path = _create(target, mode)
    except OSError as error:
        raise write_error(target, error) from error
    try:
        yield path
    finally:
        _delete(path)
        os.close(descriptor)


def copy_owner(path: Path, like: Path) -> None:
    """If this process is root, give ``path`` the owner of ``like``, so that a service that is not root can use it."""
    if os.geteuid() == 0:
        status = like.stat()
        with suppress(OSError):  # the file system of a USB stick has no owners
            os.chown(path, status.st_uid, status.st_gid)


def sync_to_disk(path: Path) -> None:
    """Flush the file at ``path`` to the disk. For a folder, flush its list of names: without this, a power cut can
    remove the names of new files. Raises OSError if the disk reports an error."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path, name: str = "") -> list[Leftover]:
    """Delete the temporary files in ``folder`` whose process was killed: those for the target ``name``, or all.

    Returns the temporary files that remain, because another process is writing them or they cannot be deleted.
    """
    left = []
    pattern = re.compile(rf"\.{re.escape(_shortened(name)) or '.+'}\.[a-z0-9_]{{8}}", re.DOTALL)
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if pattern.fullmatch(path.name):
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _delete(path)
                finally:
                    os.close(descriptor)
            except FileNotFoundError:  # it has just been moved into place
                pass
            except BlockingIOError:
                left.append(Leftover(path, "another process is writing it now"))
            except OSError as error:
                left.append(Leftover(path, f"this unfinished file cannot be deleted: {error.strerror}"))
    return left


def _create(target: Path, mode: int) -> tuple[int, Path]:
    """A new locked temporary file for ``target``: its descriptor and its path."""
    if not target.name or target.is_dir():  # "/" and "." have no name
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if target.exists() and not target.is_file():  # root could replace /dev/null, and no program would work any more
        raise OSError(errno.EINVAL, "it is a device, a pipe or a socket", str(target))
    while True:
        path = target.with_name(f".{_shortened(target.name)}.{secrets.token_hex(4)}")
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        except FileExistsError:
            continue
        with suppress(OSError):  # some network file systems have no such locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor, path
        os.close(descriptor)  # another process deleted the file before it was locked


def _shortened(name: str) -> str:
    return os.fsdecode(os.fsencode(name)[:LONGEST_NAME])


def _move_into_place(path: Path, target: Path, *, overwrite: bool) -> None:
    if target.exists():
        copy_owner(path, target)
    sync_to_disk(path)  # before the file gets its name: else the name may survive a power cut and the content not
    if overwrite:
        path.replace(target)
    else:
        _rename_to_new_name(path, target)
    sync_to_disk(target.parent)


def _rename_to_new_name(path: Path, target: Path) -> None:
    """Rename ``path``; FileExistsError if ``target`` exists, also if another process creates it at this moment."""
    try:
        os.link(path, target)
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        path.replace(target)


def _delete(path: Path) -> None:
    for suffix in SQLITE_SUFFIXES:
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def write_error(target: Path | str, error: OSError) -> WorkError:
    """The error for ``target``, which cannot be written, with what helps against this cause."""
    remedy = REMEDIES.get(error.errno or 0, "choose another place")
    return WorkError(f"{target}: cannot be written: {error.strerror or error}: {remedy}")
