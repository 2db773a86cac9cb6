"""uvicorn's HTTP connection, but none can be kept so that others are shut out, before TLS's handshake or after."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HANDSHAKES = 128  # connections that have not shaken hands yet; whoever waits longest makes room


class Entrance(socket.socket):
    """A listening socket that bounds who has connected and is no ``Connection`` yet.

    Before TLS's handshake asyncio counts nobody and waits a minute for each: whoever connects and says nothing would
    take all file descriptors of the service, and with them its cameras and its events.
    """

    def __init__(self, listening: socket.socket) -> None:
        super().__init__(fileno=listening.detach())
        self._outside: dict[int, socket.socket] = {}  # by descriptor, oldest first

    def accept(self) -> tuple[socket.socket, Any]:
        come, address = super().accept()
        self._outside = {number: one for number, one in self._outside.items() if one.fileno() == number}
        for number in list(self._outside)[: max(0, len(self._outside) - HANDSHAKES + 1)]:
            with suppress(OSError):
                self._outside.pop(number).shutdown(socket.SHUT_RDWR)
        self._outside[come.fileno()] = come
        return come, address

    def passed(self, descriptor: int) -> None:
        """It is a ``Connection`` now."""
        self._outside.pop(descriptor, None)


class Connection(H11Protocol):
    """Where there are as many as uvicorn takes, whoever has kept us waiting longest gives way to who comes new: for a
    request, for the rest of one, or with the answer to one.

    uvicorn would refuse the new one, and times connections out only after a first answer. A limit in seconds would not
    do: whoever means to shut others out comes back at once. Who takes an answer as it comes is never cut off, and a
    request that is sent in one go is whole long before its turn to give way.
    """

    heard = 0.0  # when a part of a body came, or since when a request could; by the loop's clock

    def __init__(self, entrance: Entrance, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._entrance = entrance

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._entrance.passed(transport.get_extra_info("socket").fileno())
        self.heard = self.loop.time()
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            others = [each for each in self.connections if isinstance(each, Connection) and each is not self]
            waiting = sorted((each for each in others if each.waits), key=lambda each: each.heard)
            if waiting:
                waiting[0].give_way()

    def data_received(self, data: bytes) -> None:
        if self.conn.their_state is not h11.IDLE:  # a head that comes byte by byte is no news
            self.heard = self.loop.time()
        super().data_received(data)

    def on_response_complete(self) -> None:
        self.heard = self.loop.time()
        super().on_response_complete()

    @property
    def waits(self) -> bool:
        """For the other side: it has yet to send its request, or the rest of it, or to take what it was answered."""
        return self.conn.their_state in (h11.IDLE, h11.SEND_BODY) or self.transport.get_write_buffer_size() > 0

    def give_way(self) -> None:
        self.connections.discard(self)
        self.transport.abort()
