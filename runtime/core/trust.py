"""Which certificates a connection trusts."""

from __future__ import annotations

import ssl
from pathlib import Path

from .errors import InputError


def trust_only(ca: Path | None) -> ssl.SSLContext:
    """A context for clients that trusts the certificates in the file ``ca``, and no others; None: those of the system.
    Raises InputError if the file cannot be used."""
    try:
        return ssl.create_default_context(cafile=str(ca) if ca else None)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"{ca}: not a file of certificates in PEM format: {error}") from error
