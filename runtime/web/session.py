"""Sessions of signed-in users, browsers that signed in before, and the waiting time after wrong passwords."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from .clients import neighborhood_of

IDLE_LIMIT = 12 * 3600.0  # seconds without a request after which a session ends
AGE_LIMIT = 7 * 24 * 3600.0  # seconds after which it ends in any case
MAX_SESSIONS = 64  # one more ends the session that was unused for the longest time
FREE_ATTEMPTS = 5  # wrong passwords before a client has to wait
MAX_WAIT = 900.0  # seconds
MAX_CLIENTS = 4096  # remembered at a time


@dataclass
class Session:
    """``token`` must come with each request that changes something: pages of other sites cannot know it.

    ``started`` and ``used`` are times of ``Sessions``' clock. ``user``: "" for the owner of the password file.
    ``password``: the hash of the user's password at that time; the session ends when the user gets another one.
    """

    user: str
    password: str
    token: str
    started: float
    used: float


class Sessions:
    """Sessions by the secret in their cookie, of which only a hash is stored. They end with the process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def start(self, user: str = "", password: str = "") -> str:
        """Start a session of ``user`` and return its secret, 256 random bits. ``password``: as in ``Session``."""
        secret = secrets.token_urlsafe(32)
        now = self._clock()
        with self._lock:
            self._sessions[_digest(secret)] = Session(user, password, secrets.token_urlsafe(32), now, now)
            while len(self._sessions) > MAX_SESSIONS:
                self._sessions.popitem(last=False)
        return secret

    def find(self, secret: str) -> Session | None:
        """The session with this secret, or None if it has ended or never existed. This counts as use."""
        now, key = self._clock(), _digest(secret)
        with self._lock:
            session = self._sessions.get(key)
            if session is None:
                return None
            if now - session.used > IDLE_LIMIT or now - session.started > AGE_LIMIT:
                del self._sessions[key]
                return None
            session.used = now
            self._sessions.move_to_end(key)
            return session

    def end(self, secret: str) -> None:
        with self._lock:
            self._sessions.pop(_digest(secret), None)


class SignInAttempts:
    """Slows down password guessing: after ``FREE_ATTEMPTS`` wrong passwords a client waits 1 s, then 2, 4 … up to
    ``MAX_WAIT``. A client is what ``clients.client_of`` returns, or a browser that signed in before."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()  # wrong passwords, and the end of the wait
        self._nearby: OrderedDict[str, tuple[int, float]] = OrderedDict()  # of a neighborhood, and the last time

    def begin(self, client: str) -> float:
        """Seconds that ``client`` has to wait; 0 if it may try now.

        An attempt counts as wrong until ``succeed`` or ``withdraw`` is called, so that many attempts at the same time
        gain nothing.
        """
        now = self._clock()
        with self._lock:
            wrong, until = self._wrong.pop(client, (0, 0.0))
            if now - until > MAX_WAIT:
                wrong = 0
            wait = max(0.0, until - now)
            if not wait:
                wrong += 1
                until = now + (min(MAX_WAIT, 2.0 ** min(wrong - FREE_ATTEMPTS, 20)) if wrong >= FREE_ATTEMPTS else 0.0)
                self._count_nearby(client, 1)
            self._wrong[client] = (wrong, until)
            _forget_oldest(self._wrong)
            return wait

    def wrong(self, client: str) -> int:
        """The number of wrong passwords of ``client``, with attempts that have not ended yet."""
        with self._lock:
            return self._wrong.get(client, (0, 0.0))[0]

    def suspicion(self, client: str) -> tuple[int, int]:
        """Passwords of clients with less of it are compared first. Clients of a neighborhood from which many more wrong
        ones came come last; among those of the same one, the wrong ones of the client itself decide."""
        with self._lock:
            nearby, _ = self._nearby.get(neighborhood_of(client), (0, 0.0))
            return nearby.bit_length(), self._wrong.get(client, (0, 0.0))[0]

    def withdraw(self, client: str) -> None:
        """Do not count the last attempt of ``client``: its password was never compared."""
        with self._lock:
            wrong, until = self._wrong.get(client, (0, 0.0))
            if wrong:
                self._wrong[client] = (wrong - 1, min(until, self._clock()))
                self._count_nearby(client, -1)

    def succeed(self, client: str) -> None:
        """Forget the wrong passwords of ``client``."""
        with self._lock:
            wrong, _ = self._wrong.pop(client, (0, 0.0))
            self._count_nearby(client, -wrong)

    def _count_nearby(self, client: str, more: int) -> None:
        now, neighborhood = self._clock(), neighborhood_of(client)
        wrong, last = self._nearby.pop(neighborhood, (0, 0.0))
        self._nearby[neighborhood] = (max(0, (wrong if now - last <= MAX_WAIT else 0) + more), now)
        _forget_oldest(self._nearby)


class KnownBrowsers:
    """Recognizes browsers that signed in before, by a cookie. Their wrong passwords are counted apart from those of
    their address, so that nobody who shares the address can lock their user out (OWASP, "device cookies"). A cookie is
    good for one user only ("" for the owner): otherwise each sign-in of a user would allow more guesses about others.

    ``key`` depends on the password: a new password makes all these cookies invalid, a restart does not.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def issue(self, user: str = "") -> str:
        """The value of a new cookie for ``user``."""
        name = secrets.token_urlsafe(16)
        return f"{name}.{self._seal(name, user)}"

    def find(self, cookie: str, user: str = "") -> str:
        """The name of the browser that has this cookie; "" if the cookie is not one of ours for ``user``."""
        name, _, seal = cookie.partition(".")
        return name if hmac.compare_digest(seal.encode(), self._seal(name, user).encode()) else ""

    def _seal(self, name: str, user: str) -> str:
        return hmac.new(self._key, f"{name}.{user}".encode() if user else name.encode(), "sha256").hexdigest()


def _forget_oldest(remembered: OrderedDict[str, tuple[int, float]]) -> None:
    while len(remembered) > MAX_CLIENTS:
        remembered.popitem(last=False)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
