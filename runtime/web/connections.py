"""A limit on open connections under which nobody can keep others out.

uvicorn's own ``limit_concurrency`` refuses new connections once the limit is reached, and it does not see connections
before the end of their TLS handshake. A client that opens connections and sends nothing would lock everybody else out
and use up the file descriptors that the cameras need. Here a new connection replaces another one: of the client that
has most connections, the one that has kept the console waiting longest. Timeouts would not help: an attacker reconnects
at once.

Only public interfaces are used: a ``socket.socket`` of which asyncio accepts connections, and ASGI, which tells when
uvicorn reads a request and writes its response.
"""

from __future__ import annotations

import errno
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from heapq import heapify, heappop
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .clients import client_of
from .failures import RareLog
from .places import RETRY_AFTER

# What accept() reports when the process or the machine has no resources for another connection.
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
PEEK = int(socket.MSG_PEEK | socket.MSG_DONTWAIT)
TRY_AGAIN = 1013  # why a WebSocket is closed, from IANA's list of close codes
QUEUE = 1024  # connections that wait to be accepted

Endpoints = tuple[tuple[str, int], tuple[str, int]]  # address and port of the client and of this side


@dataclass
class Connection:
    """An accepted connection. A time (``ConnectionLimit``'s clock) is None while the console is not waiting for that.

    client         who opened it, as ``client_of`` says
    idle_since     no request is being answered: for the TLS handshake, or for the rest of a request's head
    body_since     for the rest of a request's body
    writing_since  for the client to read the response
    crowded        it is one too many: no other one could be closed
    """

    socket: socket.socket = field(repr=False)
    client: str
    idle_since: float | None
    body_since: float | None = None
    writing_since: float | None = None
    crowded: bool = False

    @property
    def waiting_since(self) -> float | None:
        """Since when the console has been waiting for this client; None while it is working on an answer."""
        since = self.idle_since
        for at in (self.body_since, self.writing_since):
            if at is not None and (since is None or at < since):
                since = at
        return since

    def has_unread_data(self) -> bool:
        """Whether the client has sent something that the server has not had the time to read: then the client is not
        the one that is slow. While the client does not read the answer, this does not count."""
        if self.writing_since is not None:
            return False
        try:
            return bool(self.socket.recv(1, PEEK))
        except OSError:
            return False


class ConnectionLimit:
    """Keeps at most ``limit`` connections if at least one of them can be closed. Used in the event loop's thread only.

    A connection whose request is being answered is never closed while the client reads the answer. If all are like
    that, requests over a new connection are refused with 503.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._clock = limit, clock
        self._connections: dict[Endpoints, Connection] = {}

    @property
    def connections(self) -> list[Connection]:
        """The open connections, without those that were told to close."""
        return list(self._connections.values())

    @property
    def must_read_first(self) -> bool:
        """Whether the server has to read from clients before it accepts another one: no connection can be closed yet
        because all those that could be have sent something, which may be a whole request."""
        if len(self._connections) < self._limit:
            return False
        waiting = [one for one in self._connections.values() if one.waiting_since is not None]
        return bool(waiting) and all(one.socket.fileno() >= 0 and one.has_unread_data() for one in waiting)

    def add(self, accepted: socket.socket) -> None:
        """Count ``accepted``; close others while there are too many."""
        with suppress(OSError):  # the client is gone already: asyncio will notice
            ends = _address(accepted.getpeername()), _address(accepted.getsockname())
            client = client_of(ends[0][0])
            if len(self._connections) >= self._limit:  # asyncio closes the socket of a connection that ended
                self._connections = {other: one for other, one in self._connections.items() if one.socket.fileno() >= 0}
            while len(self._connections) >= self._limit and self.close_one(client):
                pass
            crowded = len(self._connections) >= self._limit
            self._connections[ends] = Connection(accepted, client, self._clock(), crowded=crowded)

    def close_one(self, newcomer: str = "") -> bool:
        """Close a connection, so that ``newcomer``, a client, gets a place: of those for which the console waits, one
        of the client that has most connections, and of these the one that has kept it waiting longest. Return whether
        there is one."""
        counts = Counter([newcomer, *(one.client for one in self._connections.values())])
        waiting = [
            (-counts[one.client], since, ends)
            for ends, one in self._connections.items()
            if (since := one.waiting_since) is not None
        ]
        heapify(waiting)  # mostly the first one can be closed: there is no need to sort the others
        while waiting:
            ends = heappop(waiting)[-1]
            if not self._connections[ends].has_unread_data():
                _close(self._connections.pop(ends))
                return True
        return False

    def watch(self, app: ASGIApp) -> ASGIApp:
        """``app``, with a note for each connection of what the console is waiting for."""

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            connection = self._find(scope)
            if connection is None:
                await app(scope, receive, send)
            elif connection.crowded:
                await _refuse(scope, receive, send)
            elif scope["type"] == "websocket":
                await self._answer_websocket(connection, app, scope, receive, send)
            else:
                await self._answer(connection, app, scope, receive, send)

        return watched

    def _find(self, scope: Scope) -> Connection | None:
        client, server = scope.get("client"), scope.get("server")
        return self._connections.get((_address(client), _address(server))) if client and server else None

    async def _answer_websocket(
        self, connection: Connection, app: ASGIApp, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """An open WebSocket is never closed: the live view limits their number."""
        connection.idle_since = None
        try:
            await app(scope, receive, send)
        finally:
            connection.idle_since = self._clock()

    async def _answer(self, connection: Connection, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        complete = False

        async def receiving() -> Message:
            nonlocal complete
            connection.body_since = None if complete else self._clock()
            try:
                message = await receive()
            finally:
                connection.body_since = None
            complete = not message.get("more_body", False)
            return message

        async def sending(message: Message) -> None:
            connection.writing_since = self._clock()
            try:
                await send(message)  # suspends while the client does not read
            finally:
                connection.writing_since = None

        connection.idle_since = None
        try:
            await app(scope, receiving, sending)
        finally:
            connection.idle_since = self._clock()


class LimitedListener(socket.socket):
    """``listening``, but each accepted connection is added to ``limit`` first, before any TLS handshake."""

    def __init__(self, listening: socket.socket, limit: ConnectionLimit, rare: RareLog) -> None:
        super().__init__(fileno=listening.detach())
        self._limit, self._rare = limit, rare
        self._pausing = False

    def listen(self, backlog: int = QUEUE) -> None:
        """Let more connections wait in the kernel than ``backlog``, which is how many asyncio accepts in one go: for
        the next ones, the kernel drops packets, and these clients try again only after a second, then three …"""
        super().listen(max(backlog, QUEUE))

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection. OSError if the machine has no file descriptor or no memory for it: asyncio then tries
        again after a second. Until that, it must not ask again, or each attempt is logged and repeated by itself."""
        if self._pausing or self._limit.must_read_first:
            self._pausing = False
            raise BlockingIOError
        try:
            accepted, address = super().accept()
        except OSError as error:
            if error.errno in EXHAUSTED:
                self._pausing = True
                self._limit.close_one()
                self._rare.warn(f"new connections wait: {error.strerror}")
            raise
        connected = ConnectedSocket(fileno=accepted.detach())
        self._limit.add(connected)
        return connected, address


class ConnectedSocket(socket.socket):
    """A socket whose link-local client has its interface in the address: fe80::1%2. ASGI has no other place for it."""

    def getpeername(self) -> Any:
        peer = super().getpeername()
        if self.family == socket.AF_INET6 and peer[3] and "%" not in peer[0]:
            return (f"{peer[0]}%{peer[3]}", *peer[1:])
        return peer


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": TRY_AGAIN})
    else:
        headers = {"retry-after": str(RETRY_AFTER), "connection": "close"}
        await JSONResponse({"detail": "too many connections: try again in a moment"}, 503, headers)(
            scope, receive, send
        )


def _address(address: tuple[Any, ...]) -> tuple[str, int]:
    """Without flow information, as ASGI has it."""
    return str(address[0]), int(address[1])


def _close(connection: Connection) -> None:
    """asyncio then sees that the connection ended, as if the client had closed it."""
    with suppress(OSError):
        connection.socket.shutdown(socket.SHUT_RDWR)
