"""Listen on the address of the console, with messages that say why that is not possible."""

from __future__ import annotations

import errno
import resource
import socket

from ..core.errors import InputError

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
# Each takes a file descriptor; a browser opens up to 6. Clients beyond this number take turns, and everybody waits for
# their turns.
CONNECTIONS = 256
FEWEST_CONNECTIONS = 8
ELSEWHERE = "choose another port with --web-port, or in the configuration: [web] port"
OTHER_HOST = "change the address in the configuration: [web] host"


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on ``host`` and ``port``. Connections wait in it until they are accepted.

    Raises InputError if there is no such address here, or if the port is taken or not allowed.
    """
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, ValueError) as error:  # ValueError: not even the form of a name
        raise InputError(f"the web console cannot listen on {where}: unknown address; {OTHER_HOST}") from error
    # "::" is every address of this machine, also those of IPv4.
    both = family == socket.AF_INET6 and address[0] == "::" and socket.has_dualstack_ipv6()
    try:
        return socket.create_server(address, family=family, dualstack_ipv6=both)
    except OSError as error:
        raise InputError(f"the web console cannot listen on {where}: {_reason(error, port)}") from error


def _reason(error: OSError, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"the port is in use, perhaps by another rkface run; {ELSEWHERE}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"this user may not use port {port}; {ELSEWHERE}, such as 8080"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"this machine does not have this address; {OTHER_HOST}"
    return f"{error.strerror or error}; {ELSEWHERE}"


def most_connections() -> int:
    """How many connections the console may have, so that cameras and files keep enough file descriptors."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return CONNECTIONS
    return max(FEWEST_CONNECTIONS, min(CONNECTIONS, files // 4))
