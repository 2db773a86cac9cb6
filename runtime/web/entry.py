"""What the console needs to listen: its socket, password, token and certificate.

No web framework is needed for that. So a taken port is an error of the first moment, and the framework is imported when
the cameras run already.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import InputError
from .listening import CONSOLE, LOOPBACK, WhereToSet, listen
from .password import PasswordCheck, read_password, read_token

log = logging.getLogger("rkface.web")


@dataclass(frozen=True)
class Entry:
    """``listening`` takes connections, which wait in the kernel until a console answers them.

    address   of the console, as in a browser
    password  of the owner; None if the console can be reached from this machine only, without a password
    token     that Prometheus sends instead of the password; "" for none
    tls       for https, else None
    """

    listening: socket.socket
    address: str
    password: PasswordCheck | None = None
    token: str = ""
    tls: ssl.SSLContext | None = None


@contextmanager
def open_entry(
    host: str = "127.0.0.1",
    port: int = 8080,
    *,
    password_file: Path | None = None,
    token_file: Path | None = None,
    tls: tuple[Path, Path] | None = None,
    settings: WhereToSet = CONSOLE,
) -> Iterator[Entry]:
    """Listen while the block runs.

    port        0 means any free port
    token_file  the token that Prometheus sends instead of the password
    tls         a certificate and its key, both PEM
    settings    where these come from, for messages

    Raises InputError if ``host`` can be reached from other machines and there is no ``password_file``, if a file
    cannot be used, or if nobody can listen at this address.
    """
    password = PasswordCheck(read_password(password_file)) if password_file else None
    if password is None and host not in LOOPBACK:
        raise InputError(
            f"the console needs a password to listen on {host}: run `rkface web-password` and {settings.password}. "
            "Without a password it listens on 127.0.0.1 only (from another machine: ssh -L 8080:localhost:8080 board)"
        )
    token = read_token(token_file) if token_file else ""
    context = _tls_context(*tls) if tls else None
    if context is None and password is not None and host not in LOOPBACK:
        log.warning("listening on %s without TLS: others on the network can read the password and the pictures", host)
    with listen(host, port, settings) as listening:
        shown = f"[{host}]" if ":" in host else host
        address = f"{'https' if tls else 'http'}://{shown}:{listening.getsockname()[1]}"
        yield Entry(listening, address, password, token, context)


def _tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"{certificate}, {key}: not a PEM certificate and its key: {error}") from error
    return context
