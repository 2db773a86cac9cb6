"""Settings say where a secret is, and do not contain it: ``env:NAME`` or ``file:PATH``."""

from __future__ import annotations

import os
from pathlib import Path

from ..core.errors import InputError
from ..core.text import shell_quoted


def read_secret(where: str) -> str:
    """Return the content of the environment variable or file that ``where`` names, without the line ending.

    Raises InputError if there is no secret, or if users other than the file's owner and group may read it. No message
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
        try:
            if path.stat().st_mode & 0o007:
                raise InputError(
                    f"{path} contains a secret, and every user may read it: run `chmod 600 {shell_quoted(path)}`"
                )
            secret = path.read_text(encoding="utf-8").rstrip("\r\n")
        except OSError as error:
            raise InputError(f"{path} should contain a secret, but cannot be read: {error.strerror}") from error
        except UnicodeDecodeError:
            raise InputError(f"{path} should contain a secret, but is not text in UTF-8") from None
        if not secret:
            raise InputError(f"{path} should contain a secret, but is empty")
        return secret
    raise InputError("write a secret as env:NAME or file:PATH, so that settings files do not contain it")
