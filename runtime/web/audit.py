"""Logs who changed what through the API, by the name of the operation: never a name, a body or an address in a path."""

from __future__ import annotations

import logging
from collections.abc import Callable

import anyio.to_thread
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..core.errors import RkfaceError
from .access import SESSION_PATH, Access, ApiClient
from .scopes import PHOTO_PATHS, SAFE_METHODS, SEARCH_PATHS

log = logging.getLogger("rkface.web")


class AuditMiddleware:
    """Adds a note to the accounts of ``access`` for each change that ``app`` has made, before the client hears of it.
    Signing in is noted there."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        changes = scope["type"] == "http" and scope["method"] not in SAFE_METHODS
        noted = changes and scope["path"] not in PHOTO_PATHS | SEARCH_PATHS | {SESSION_PATH}

        async def sending(message: Message) -> None:
            begins = message["type"] == "http.response.start" and message["status"] < 400
            if noted and begins and "endpoint" in scope:
                endpoint: Callable[..., object] = scope["endpoint"]
                caller: ApiClient | None = scope["state"]["caller"]
                await note(self._access, caller.who if caller else "", endpoint.__name__, address_of(scope))
            await send(message)

        await self._app(scope, receive, sending)


async def note(access: Access, who: str, what: str, client: str) -> None:
    """Log what ``who`` has done. If that fails, the log of the service says so: the change itself is made."""
    accounts = access.accounts
    if accounts is None:
        return
    try:
        await anyio.to_thread.run_sync(lambda: accounts.note(who, what, client))
    except RkfaceError as error:
        log.warning("the audit log cannot be written: %s", error)


def address_of(scope: Scope) -> str:
    """The address of the client; "" if it is not known."""
    return str(scope["client"][0]) if scope.get("client") else ""
