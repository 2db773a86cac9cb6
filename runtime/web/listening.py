"""Listen on the address of the console, with messages that say why that is not possible."""

from __future__ import annotations

import errno
import resource
import socket
from dataclasses import dataclass

from ..core.errors import InputError

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
# Each takes a file descriptor; a browser opens up to 6. Clients beyond this number take turns, and everybody waits for
# their turns.
CONNECTIONS = 256
FEWEST_CONNECTIONS = 8


@dataclass(frozen=True)
class WhereToSet:
    """Where a user sets the port, the address and the password: for messages."""

    port: str
    host: str
    password: str


CONSOLE = WhereToSet(
    "with --web-port, or in the configuration: [web] port", "in the configuration: [web] host", "set password_file"
)


def listen(host: str, port: int, settings: WhereToSet = CONSOLE) -> socket.socket:
    """A socket that listens on ``host`` and ``port``. Connections wait in it until they are accepted. ``settings``:
    where they come from.

    Raises InputError if there is no such address here, or if the port is taken or not allowed.
    """
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, ValueError) as error:  # ValueError: not even the form of a name
        raise InputError(
            f"the web console cannot listen on {where}: unknown address; change it {settings.host}"
        ) from error
    # "::" is every address of this machine, also those of IPv4.
    both = family == socket.AF_INET6 and address[0] == "::" and socket.has_dualstack_ipv6()
    try:
        return socket.create_server(address, family=family, dualstack_ipv6=both)
    except OSError as error:
        raise InputError(f"the web console cannot listen on {where}: {_reason(error, port, settings)}") from error


def _reason(error: OSError, port: int, settings: WhereToSet) -> str:
    elsewhere = f"choose another port {settings.port}"
    if error.errno == errno.EADDRINUSE:
        return f"the port is in use, perhaps by another rkface; {elsewhere}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"this user may not use port {port}; {elsewhere}, such as 8080"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"this machine does not have this address; change it {settings.host}"
    return f"{error.strerror or error}; {elsewhere}"


def most_connections() -> int:
    """How many connections the console may have, so that cameras and files keep enough file descriptors."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return CONNECTIONS
    return max(FEWEST_CONNECTIONS, min(CONNECTIONS, files // 4))
