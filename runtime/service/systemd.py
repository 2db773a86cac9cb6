"""Messages to systemd: sd_notify(3) and its watchdog, over the socket that the environment names."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


def notify(*assignments: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Send ``assignments`` such as READY=1, WATCHDOG=1, STOPPING=1 or STATUS=…, and return whether they were sent.

    It does nothing if systemd did not start this process, and it never raises: the service must run even if systemd is
    not listening.
    """
    address = environment.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return False
    if address[0] == "@":  # the abstract namespace (unix(7))
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.settimeout(1.0)
            sender.sendto("\n".join(assignments).encode(), address)
    except OSError:
        return False
    return True


def watchdog_seconds(environment: Mapping[str, str] = os.environ) -> float | None:
    """Return the longest time between two WATCHDOG=1 messages that systemd accepts (sd_watchdog_enabled(3)); None if
    there is no watchdog for this process."""
    microseconds = environment.get("WATCHDOG_USEC", "")
    own_process = environment.get("WATCHDOG_PID") in (None, str(os.getpid()))
    if not microseconds.isdecimal() or int(microseconds) == 0 or not own_process:
        return None
    return int(microseconds) / 1e6
