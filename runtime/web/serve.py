"""The console as an ASGI application, and a server that runs it in its own thread."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from fastapi.routing import APIRoute
from starlette.routing import Route

from ..service.console_protocol import CameraService
from . import api, cameras, live, management, recognition, reviews, rules, sign_in, strangers
from .access import Access, AccessMiddleware
from .accounts import Accounts
from .audit import AuditMiddleware
from .connections import EXHAUSTED, ConnectionLimit, LimitedListener
from .dependencies import ServiceDependency
from .description import describe_api
from .entry import Entry, open_entry
from .failures import FailureMiddleware, RareLog, ServerLog, add_error_handlers, describe
from .icons import draw_icons
from .listening import CONNECTIONS, most_connections
from .page import PageFiles
from .places import Workload
from .wire import WireResponse

STATIC = Path(__file__).parent / "static"
STOP_TIMEOUT = 2  # seconds that open requests get when the service stops
START_TIMEOUT = 30.0  # seconds

log = logging.getLogger("rkface.web")


def create_app(service: CameraService | None, access: Access, rare: RareLog | None = None) -> FastAPI:
    """The application: the page at ``/``, the API under ``/v1``, its description at ``/v1/openapi.json``. Without a
    ``service``, it answers that the service is starting. ``rare`` logs what clients cause."""
    app = FastAPI(
        title="rkface",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        description="Face recognition on live cameras and photos. Times are seconds since 1970, UTC, and the same as "
        "text (RFC 3339) in the field with `_at` at its end. Errors are application/problem+json (RFC 9457).",
        generate_unique_id_function=_operation_id,
        default_response_class=WireResponse,
    )
    app.openapi = partial(describe_api, app)  # type: ignore[method-assign]
    state = app.state
    state.service, state.access = service, access
    state.jpegs, state.workload = live.JpegCache(), Workload()
    state.viewers = state.listeners = 0
    state.stopping = False
    files = PageFiles(STATIC, draw_icons())
    app.router.routes += [Route("/", files), Route("/docs", files)]
    app.mount("/static", files)
    app.include_router(sign_in.router)
    app.include_router(api.router)
    app.include_router(reviews.router)
    app.include_router(strangers.router)
    app.include_router(rules.router)
    app.include_router(recognition.router)
    app.include_router(management.router)
    app.include_router(live.router)
    app.include_router(cameras.router)

    add_error_handlers(app)

    @app.get("/metrics", include_in_schema=False)
    def get_metrics(service: ServiceDependency) -> PlainTextResponse:
        return PlainTextResponse(service.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    app.add_middleware(AuditMiddleware, access=access)
    app.add_middleware(AccessMiddleware, access=access)
    app.add_middleware(FailureMiddleware, rare=rare or RareLog())  # added last: it is around everything else
    return app


class Console:
    """A console that listens at ``address``. It answers 503 until ``show`` is called: the service is starting."""

    def __init__(self, address: str, app: FastAPI, stop: Callable[[], None]) -> None:
        self.address, self._app, self._stop = address, app, stop

    @contextmanager
    def show(self, service: CameraService) -> Iterator[None]:
        """Serve ``service`` while the block runs. Then the console ends, before the service does."""
        self._app.state.service = service
        try:
            yield
        finally:
            self._stop()


@contextmanager
def serve(service: CameraService, *place: Any, accounts: Accounts | None = None, **options: Any) -> Iterator[str]:
    """Serve the console of a service that runs already, while the block runs; yield its address. Arguments and errors
    are those of ``open_entry``; ``accounts`` has the tokens of programs and other users."""
    with open_entry(*place, **options) as entry, open_console(entry, accounts) as console, console.show(service):
        yield console.address


@contextmanager
def open_console(entry: Entry, accounts: Accounts | None = None) -> Iterator[Console]:
    """Answer the clients of ``entry`` while the block runs. A service can be shown later, when it has started.
    ``accounts`` has the tokens of programs and other users."""
    connections, rare = min(CONNECTIONS, most_connections()), RareLog()
    limit, context = ConnectionLimit(connections), entry.tls
    app = create_app(None, Access(entry.password, context is not None, entry.token, accounts), rare)
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

        def stop() -> None:
            app.state.stopping = server.should_exit = True
            thread.join()
            app.state.service = None

        thread.start()
        try:
            _wait_for_start(server, thread)
            log.info("the console is at %s", entry.address)
            yield Console(entry.address, app, stop)
        finally:
            stop()


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
