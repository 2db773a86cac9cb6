"""Settings say where a secret is, and do not contain it: ``env:NAME`` or ``file:PATH``."""

from __future__ import annotations

import os
from pathlib import Path

from ..core.errors import InputError
from ..core.private_file import read_private_file


def read_secret(where: str) -> str:
    """Return the content of the environment variable or file that ``where`` names, without the line ending.

    Raises InputError if there is no secret, or if other users may read the file (see ``read_private_file``). No message
    contains the secret.
    """
    kind, _, name = where.partition(":")
    if kind == "env" and name:
        secret = os.environ.get(name, "")
        if not secret:
            raise InputError(f"the environment variable {name} is not set: set it to the secret")
        return secret
    if kind == "file" and name:
        path = Path(name)
        return read_private_file(path, "the secret", lambda content: _parse_secret(content, path))
    raise InputError("write a secret as env:NAME or file:PATH, so that settings files do not contain it")


def _parse_secret(content: bytes, path: Path) -> str:
    try:
        secret = content.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise InputError(f"{path} should contain a secret, but is not text in UTF-8") from None
    if not secret:
        raise InputError(f"{path} should contain a secret, but is empty")
    return secret
