"""Secrets are named in settings, not written there: ``env:NAME`` or ``file:PATH``."""

from __future__ import annotations

import os
from pathlib import Path

from ..core.errors import InputError
from ..core.text import shell_quoted


def read_secret(where: str) -> str:
    """What the environment variable or the file named by ``where`` holds, without the line's end.

    InputError, which never repeats a secret, if there is none, or if others than its owner and group may read the file.
    """
    kind, _, name = where.partition(":")
    if kind == "env" and name:
        secret = os.environ.get(name, "")
        if not secret:
            raise InputError(f"the environment variable {name}, which should hold a secret, is not set")
        return secret
    if kind == "file" and name:
        path = Path(name)
        try:
            if path.stat().st_mode & 0o007:
                raise InputError(f"{path} holds a secret and everybody may read it: chmod 600 {shell_quoted(path)}")
            secret = path.read_text(encoding="utf-8").rstrip("\r\n")
        except OSError as error:
            raise InputError(f"{path}, which should hold a secret, cannot be read: {error.strerror}") from error
        except UnicodeDecodeError:
            raise InputError(f"{path}, which should hold a secret, is no text") from None
        if not secret:
            raise InputError(f"{path}, which should hold a secret, is empty")
        return secret
    raise InputError("a secret is given as env:NAME or file:PATH, so that it stands in no settings file")
