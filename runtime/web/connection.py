"""uvicorn's HTTP connection, but none can be kept so that others are shut out."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class Connection(H11Protocol):
    """Where there are as many as uvicorn takes, whoever has kept us waiting longest gives way to who comes new: for a
    request, for the rest of one, or with the answer to one.

    uvicorn would refuse the new one, and times connections out only after a first answer. A limit in seconds would not
    do: whoever means to shut others out comes back at once. Who takes an answer as it comes is never cut off, and a
    request that is sent in one go is whole long before its turn to give way.
    """

    heard = 0.0  # when a part of a body came, or since when a request could; by the loop's clock

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
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
