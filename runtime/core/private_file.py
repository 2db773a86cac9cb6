"""Files with a secret: keys, passwords and tokens. One rule for all of them says who may be able to read them."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from .errors import InputError
from .files import read_pipe
from .text import shell_quoted

_Content = TypeVar("_Content")
LARGEST = 64 * 1024  # bytes: no secret is larger, and a device such as /dev/zero never ends


def read_private_file(path: Path, what: str, parse: Callable[[bytes], _Content], hint: str = "") -> _Content:
    """What ``parse`` returns for the content of the file at ``path``, up to 64 KiB.

    Only the user of this process may be able to read the file, and others only if an administrator has chosen them: it
    belongs to that user or to root, no other user has any access, and a group may read it only if root owns it and gave
    it to a group of its own, or to this user by an access control list (as systemd does with LoadCredential=). Root may
    also use the private files of other users.

    Args:
        path: The file.
        what: Name of the content in messages: "the key".
        parse: Raises InputError if the content is not of this kind. A wrong file is reported as such, and not by its
            permissions.
        hint: How to create the file, for the message if the file is missing.

    Raises:
        InputError: The file cannot be read, others may read it, or what ``parse`` raises.
    """
    after = f"; {hint}" if hint else ""
    try:
        # Without O_NONBLOCK, opening a pipe waits until somebody opens its other end.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)  # of the file that is read, even if another one takes its name
            if stat.S_ISFIFO(status.st_mode):
                content = read_pipe(descriptor, LARGEST + 1, path)
            elif stat.S_ISREG(status.st_mode):
                content = file.read(LARGEST + 1)
            else:
                raise InputError(f"{path}: cannot read {what}: it is not a file{after}")
    except OSError as error:
        raise InputError(f"{path}: cannot read {what}: {error.strerror or error}{after}") from error
    except ValueError as error:  # NUL, or half a surrogate pair
        raise InputError(f"{what} has an impossible file name: {str(path)!a}{after}") from error
    if len(content) > LARGEST:
        raise InputError(f"{path}: {what} is larger than {LARGEST // 1024} KiB: name the right file{after}")
    parsed = parse(content)
    if (problem := _find_problem(path, status, os.geteuid())) is not None:
        raise InputError(f"{path}: {what} is not safe here: {problem}")
    return parsed


def _find_problem(path: Path, status: os.stat_result, user: int) -> str | None:
    """Why others may read the file, and the command that changes that; None if nobody else may."""
    file, owner, mode = shell_quoted(path), status.st_uid, stat.S_IMODE(status.st_mode)
    if user not in (0, owner) and owner != 0:
        return f"the file belongs to {_user_name(owner)}: run `sudo chown {_user_name(user)} {file}`"
    group = 0o040 if owner == 0 and (user != 0 or status.st_gid != 0) else 0
    if mode & 0o077 & ~group:
        return (
            f"other users may read or change the file (mode {mode:04o}): run `chmod 600 {file}`. If that has no "
            "effect, its disk has no permissions (FAT, exFAT): mount it with the option umask=077"
        )
    return None


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
