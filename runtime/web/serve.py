"""The console as an application, and a server for it in a thread of its own."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from logging import getLogger
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles

from ..core.errors import InputError, RkfaceError
from ..service.console_protocol import CameraService
from . import api, live
from .access import LOOPBACK, Access, Guard
from .connection import Connection, Entrance
from .password import Passwords, read_password, read_token

STATIC = Path(__file__).parent / "static"
CONNECTIONS = 64
GRACE = 2  # seconds that open requests get when the service stops
STARTS = 30.0  # seconds

log = getLogger("rkface.web")


def console(service: CameraService, access: Access) -> FastAPI:
    """The application: the page at ``/``, the interface under ``/v1``, its description at ``/v1/openapi.json``."""
    app = FastAPI(
        title="rkface",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        description="A camera that knows who is in front of it. Times are seconds since 1970, UTC.",
    )
    state = app.state
    state.service, state.access, state.pictures, state.photos = service, access, live.Pictures(), threading.Lock()
    state.viewers = state.listeners = 0
    state.stopping = False
    app.include_router(api.router)
    app.include_router(live.router)

    @app.exception_handler(RkfaceError)
    def refused(_: Request, error: RkfaceError) -> Response:
        return _detail(str(error), 400 if isinstance(error, InputError) else 503)

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> Response:
        return _detail([{name: one[name] for name in ("type", "loc", "msg")} for one in error.errors()], 422)

    @app.get("/metrics", include_in_schema=False)
    def metrics() -> PlainTextResponse:
        return PlainTextResponse(service.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    app.mount("/static", StaticFiles(directory=STATIC))
    app.add_middleware(Guard, access=access)
    return app


@contextmanager
def serve(
    service: CameraService,
    host: str = "127.0.0.1",
    port: int = 8080,
    *,
    password_file: Path | None = None,
    token_file: Path | None = None,
    tls: tuple[Path, Path] | None = None,
) -> Iterator[str]:
    """Serve the console while the block runs; yields its address. ``token_file`` holds what Prometheus shows in place
    of the password; ``tls`` is a certificate and its key, PEM.

    InputError where ``host`` is more than this machine and there is no ``password_file``, where a file cannot be used,
    or where the port is taken. Port 0 takes a free one.
    """
    passwords = Passwords(read_password(password_file)) if password_file else None
    if passwords is None and host not in LOOPBACK:
        raise InputError(
            f"to listen on {host} the console needs a password: `rkface web-password`, then name its file. Without one "
            "it listens on 127.0.0.1 only (from elsewhere: ssh -L 8080:localhost:8080 board)"
        )
    token = read_token(token_file) if token_file else ""
    app = console(service, Access(passwords, tls is not None, token))
    context = _context(*tls) if tls else None
    if context is None and passwords is not None and host not in LOOPBACK:
        log.warning("listening on %s without TLS: password and pictures can be read on the way", host)
    with _bound(host, port) as listening:
        connection: Any = partial(Connection, listening)
        config = uvicorn.Config(
            app, loop="asyncio", http=connection, ws="websockets-sansio", ws_max_size=1024, log_config=None,
            access_log=False, lifespan="off", server_header=False, proxy_headers=False, limit_concurrency=CONNECTIONS,
            backlog=CONNECTIONS, timeout_graceful_shutdown=GRACE,
        )  # fmt: skip
        config.load()
        config.ssl = context
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],), name="rkface-web", daemon=True)
        thread.start()
        try:
            _await(server, thread)
            shown = f"[{host}]" if ":" in host else host
            address = f"{'https' if tls else 'http'}://{shown}:{listening.getsockname()[1]}"
            log.info("the console is at %s", address)
            yield address
        finally:
            app.state.stopping = server.should_exit = True
            thread.join()


def _detail(detail: Any, status: int) -> Response:
    """In ASCII: what was asked may hold half a character (\\ud800), which no UTF-8 can repeat."""
    return Response(json.dumps({"detail": detail}), status, media_type="application/json")


def _await(server: uvicorn.Server, thread: threading.Thread) -> None:
    until = time.monotonic() + STARTS
    while not server.started:
        if not thread.is_alive() or time.monotonic() > until:
            raise RuntimeError("the web server did not start")
        time.sleep(0.01)


def _bound(host: str, port: int) -> Entrance:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return Entrance(socket.create_server(address[:2], family=family))
    except OSError as error:
        raise InputError(f"cannot listen on {host}:{port}: {error.strerror or error}: choose another port") from error


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"{certificate}, {key}: no certificate and its key, PEM: {error}") from error
    return context
