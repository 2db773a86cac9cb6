"""Ports for servers of the tests that start after their port is known, or start again on it."""

import random
import socket
from contextlib import suppress
from pathlib import Path

LOWEST, HIGHEST = 10_000, 65_535
RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")

_given = set[int]()


def free_port():
    """Another TCP port of 127.0.0.1 where nobody listens, outside the range from which Linux takes ports for outgoing
    connections and for servers that ask for port 0, so other tests do not take it while its server is down."""
    first, last = map(int, RANGE.read_text(encoding="ascii").split())
    ports = [port for port in range(LOWEST, HIGHEST + 1) if not first <= port <= last and port not in _given]
    while True:
        port = random.choice(ports)
        _given.add(port)
        ports.remove(port)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
