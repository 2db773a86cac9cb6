"""Connections to the hub's database, for requests: each request has one for itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Any

import psycopg
from fastapi import Depends, Request
from psycopg.pq import TransactionStatus

from ..core.errors import RkfaceError
from ..hub.connection import connect, hub_errors
from ..hub.migrations import check_version

IDLE = 4  # connections that are kept open between requests


class HubConnections:
    """Opens connections to the hub at ``address`` and uses them again. Thread-safe.

    A hub that restarts costs nothing but the requests of that time: a connection is checked before it is used again.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._idle: list[psycopg.Connection[Any]] = []
        self._closed = False

    @contextmanager
    def open(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection for the block, in autocommit mode. Raises WorkError if the hub cannot be reached, and InputError
        if its tables are not those of this rkface."""
        hub = self._take() or self._connect()
        try:
            with hub_errors():
                yield hub
        finally:
            self._give_back(hub)

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            self._closed, idle, self._idle = True, self._idle, []
        for hub in idle:
            hub.close()

    def _connect(self) -> psycopg.Connection[Any]:
        hub = connect(self._address)
        try:
            check_version(hub)
        except BaseException:
            hub.close()
            raise
        return hub

    def _take(self) -> psycopg.Connection[Any] | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                hub = self._idle.pop()
            with suppress(RkfaceError), hub_errors():
                hub.execute("SELECT 1")
                return hub
            hub.close()

    def _give_back(self, hub: psycopg.Connection[Any]) -> None:
        with self._lock:
            usable = not hub.closed and hub.info.transaction_status == TransactionStatus.IDLE
            if usable and not self._closed and len(self._idle) < IDLE:
                self._idle.append(hub)
                return
        hub.close()


async def get_connections(request: Request) -> HubConnections:
    connections: HubConnections = request.app.state.hub
    return connections


ConnectionsDependency = Annotated[HubConnections, Depends(get_connections)]


def get_hub(connections: ConnectionsDependency) -> Iterator[psycopg.Connection[Any]]:
    """A connection to the hub for one request, as a dependency of FastAPI."""
    with connections.open() as hub:
        yield hub


HubDependency = Annotated[psycopg.Connection[Any], Depends(get_hub)]
