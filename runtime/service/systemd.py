"""Talking to systemd: sd_notify(3) and its watchdog, over the socket that it names in the environment."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


def notify(*words: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Send ``words`` such as READY=1, WATCHDOG=1, STOPPING=1 or STATUS=…; whether there was somebody to tell.

    Where no systemd started this process it does nothing. It never raises: a service does not fail for want of an ear.
    """
    address = environment.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return False
    if address[0] == "@":  # the abstract namespace (unix(7))
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as ear:
            ear.settimeout(1.0)
            ear.sendto("\n".join(words).encode(), address)
    except OSError:
        return False
    return True


def watchdog_seconds(environment: Mapping[str, str] = os.environ) -> float | None:
    """How often WATCHDOG=1 has to come, at the latest (sd_watchdog_enabled(3)); None where nobody watches."""
    wanted = environment.get("WATCHDOG_USEC", "")
    if not wanted.isdecimal() or int(wanted) == 0 or environment.get("WATCHDOG_PID") not in (None, str(os.getpid())):
        return None
    return int(wanted) / 1e6
