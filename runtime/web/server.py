"""A server for an ASGI application in its own thread, and the frame that all our applications share: who may use it,
sign-in, limits, answers to failures, and the files of its page."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import uvicorn
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Route

from . import sign_in
from .access import Access, AccessMiddleware
from .accounts import Accounts
from .audit import AuditMiddleware
from .connections import EXHAUSTED, ConnectionLimit, LimitedListener
from .description import describe_api
from .entry import Entry
from .failures import FailureMiddleware, RareLog, ServerLog, add_error_handlers, describe
from .listening import CONNECTIONS, most_connections
from .page import PageFiles
from .places import Workload
from .wire import WireResponse

STOP_TIMEOUT = 2  # seconds that open requests get when the service stops
START_TIMEOUT = 30.0  # seconds

log = logging.getLogger("rkface.web")


def frame_app(
    access: Access, rare: RareLog, files: PageFiles, routers: Sequence[APIRouter], *, title: str, description: str
) -> FastAPI:
    """An application that only those of ``access`` can use: the page at ``/``, its files under ``/static``, sign-in,
    ``routers``, and the description at ``/v1/openapi.json``. ``rare`` logs what clients cause."""
    app = FastAPI(
        title=title,
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        description=description,
        generate_unique_id_function=_operation_id,
        default_response_class=WireResponse,
    )
    app.openapi = partial(describe_api, app)  # type: ignore[method-assign]
    app.state.access, app.state.workload, app.state.stopping = access, Workload(), False
    app.router.routes += [Route("/", files), Route("/docs", files)]
    app.mount("/static", files)
    for router in (sign_in.router, *routers):
        app.include_router(router)
    add_error_handlers(app)
    app.add_middleware(AuditMiddleware, access=access)
    app.add_middleware(AccessMiddleware, access=access)
    app.add_middleware(FailureMiddleware, rare=rare)  # added last: it is around everything else
    return app


@contextmanager
def open_server(
    create: Callable[[Access, RareLog], FastAPI], entry: Entry, accounts: Accounts | None = None
) -> Iterator[None]:
    """Serve what ``create`` returns to the clients of ``entry`` while the block runs. ``accounts`` has the tokens of
    programs and other users."""
    connections, rare = min(CONNECTIONS, most_connections()), RareLog()
    limit, context = ConnectionLimit(connections), entry.tls
    app = create(Access(entry.password, context is not None, entry.token, accounts), rare)
    with LimitedListener(entry.listening, limit, rare) as listening, _quiet_server(rare):
        config = uvicorn.Config(
            limit.watch(app),
            loop="asyncio",
            http="h11",
            ws="websockets-sansio",
            ws_max_size=1024,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            # asyncio accepts so many in one go, and all steps of other requests wait for that. More wait in the kernel.
            backlog=max(1, connections // 32),
            timeout_graceful_shutdown=STOP_TIMEOUT,
            ssl_context_factory=(lambda _, __: context) if context else None,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=_run, args=(server, listening, rare), name="rkface-web", daemon=True)
        thread.start()
        try:
            _wait_for_start(server, thread)
            log.info("the console is at %s", entry.address)
            yield
        finally:
            app.state.stopping = server.should_exit = True
            thread.join()


def _run(server: uvicorn.Server, listening: socket.socket, rare: RareLog) -> None:
    """Run the server in this thread until it is told to exit."""

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: _note(rare, context))
        await server.serve([listening])

    asyncio.run(run())


def _note(rare: RareLog, context: dict[str, Any]) -> None:
    """Log what asyncio cannot tell anybody else, such as a failed TLS handshake."""
    error = context.get("exception")
    if not isinstance(error, OSError) or error.errno not in EXHAUSTED:  # the listener has said that better
        rare.warn(f"{context['message']}: {describe(error)}" if error else str(context["message"]))


@contextmanager
def _quiet_server(rare: RareLog) -> Iterator[None]:
    """Send the messages of the web server to our log."""
    logger, handler = logging.getLogger("uvicorn"), ServerLog(rare)
    before, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


def _operation_id(route: APIRoute) -> str:
    return route.name


def _wait_for_start(server: uvicorn.Server, thread: threading.Thread) -> None:
    until = time.monotonic() + START_TIMEOUT
    while not server.started:
        if not thread.is_alive() or time.monotonic() > until:
            raise RuntimeError("the web server did not start")
        time.sleep(0.01)
