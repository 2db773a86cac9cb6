"""Who is signed in, and who has tried too often."""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

IDLE = 12 * 3600.0  # seconds without a request after which a session is over
LONGEST = 7 * 24 * 3600.0  # seconds after which it is over in any case
MOST = 64  # sessions; the one unused for longest makes room
FREE = 5  # wrong passwords before an address has to wait
WAIT_MOST = 900.0  # seconds
ADDRESSES = 4096  # remembered at most


@dataclass
class Session:
    """``token`` is what a page has to send along to change something: another site's page cannot know it."""

    token: str
    begun: float
    used: float


class Sessions:
    """Sessions by the secret in their cookie, of which only a hash is kept. They end with the process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._open: OrderedDict[str, Session] = OrderedDict()

    def begin(self) -> str:
        """A new session's secret, 256 bits."""
        secret = secrets.token_urlsafe(32)
        now = self._clock()
        with self._lock:
            self._open[_digest(secret)] = Session(secrets.token_urlsafe(32), now, now)
            while len(self._open) > MOST:
                self._open.popitem(last=False)
        return secret

    def find(self, secret: str) -> Session | None:
        """The session of ``secret``, which is thereby in use, or None for one that is over or never was."""
        now, key = self._clock(), _digest(secret)
        with self._lock:
            session = self._open.get(key)
            if session is None:
                return None
            if now - session.used > IDLE or now - session.begun > LONGEST:
                del self._open[key]
                return None
            session.used = now
            self._open.move_to_end(key)
            return session

    def end(self, secret: str) -> None:
        with self._lock:
            self._open.pop(_digest(secret), None)


class Attempts:
    """Slows down whoever guesses: after ``FREE`` wrong passwords an address waits 1 s, then 2, 4 … ``WAIT_MOST``."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()  # how often, and until when to wait

    def begin(self, address: str) -> float:
        """Seconds that ``address`` has to wait, 0 for none. One that need not counts as wrong until ``right``, so that
        many at once gain nothing."""
        now, key = self._clock(), _network(address)
        with self._lock:
            wrong, until = self._wrong.pop(key, (0, 0.0))
            if now - until > WAIT_MOST:
                wrong = 0
            left = max(0.0, until - now)
            if not left:
                wrong += 1
                until = now + (min(WAIT_MOST, 2.0 ** min(wrong - FREE, 20)) if wrong >= FREE else 0.0)
            self._wrong[key] = (wrong, until)
            while len(self._wrong) > ADDRESSES:
                self._wrong.popitem(last=False)
            return left

    def right(self, address: str) -> None:
        with self._lock:
            self._wrong.pop(_network(address), None)


def _network(address: str) -> str:
    """Whoever has one IPv6 address has the whole /64."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else address


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
