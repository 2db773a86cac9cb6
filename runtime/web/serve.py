"""The console as an ASGI application, and a server that runs it in its own thread."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from logging import getLogger
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, PlainTextResponse
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles

from ..core.errors import InputError, RkfaceError
from ..service.console_protocol import CameraService
from . import api, live
from .access import LOOPBACK, Access, AccessMiddleware
from .connections import ConnectionLimit, LimitedListener
from .password import PasswordCheck, read_password, read_token

STATIC = Path(__file__).parent / "static"
CONNECTIONS = 128  # each takes a file descriptor; a browser opens up to 6
STOP_TIMEOUT = 2  # seconds that open requests get when the service stops
START_TIMEOUT = 30.0  # seconds

log = getLogger("rkface.web")


def create_app(service: CameraService, access: Access) -> FastAPI:
    """The application: the page at ``/``, the API under ``/v1``, its description at ``/v1/openapi.json``."""
    app = FastAPI(
        title="rkface",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        description="Face recognition on live cameras. Times are seconds since 1970, UTC.",
        generate_unique_id_function=_operation_id,
    )
    state = app.state
    state.service, state.access = service, access
    state.jpegs, state.one_photo = live.JpegCache(), threading.Lock()
    state.viewers = state.listeners = 0
    state.stopping = False
    app.include_router(api.router)
    app.include_router(live.router)

    @app.exception_handler(RkfaceError)
    def refuse_rkface_error(_: Request, error: RkfaceError) -> Response:
        return _error(str(error), 400 if isinstance(error, InputError) else 503)

    @app.exception_handler(RequestValidationError)
    def refuse_invalid_request(_: Request, error: RequestValidationError) -> Response:
        return _error([{name: one[name] for name in ("type", "loc", "msg")} for one in error.errors()], 422)

    @app.get("/metrics", include_in_schema=False)
    def get_metrics() -> PlainTextResponse:
        return PlainTextResponse(service.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/", include_in_schema=False)
    def get_page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    app.mount("/static", StaticFiles(directory=STATIC))
    app.add_middleware(AccessMiddleware, access=access)
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
    """Serve the console while the block runs; yield its address.

    port        0 means any free port
    token_file  the token that Prometheus sends instead of the password
    tls         a certificate and its key, both PEM

    Raises InputError if ``host`` can be reached from other machines and there is no ``password_file``, if a file
    cannot be used, or if the port is taken.
    """
    password = PasswordCheck(read_password(password_file)) if password_file else None
    if password is None and host not in LOOPBACK:
        raise InputError(
            f"the console needs a password to listen on {host}: run `rkface web-password` and set password_file. "
            "Without a password it listens on 127.0.0.1 only (from another machine: ssh -L 8080:localhost:8080 board)"
        )
    token = read_token(token_file) if token_file else ""
    app = create_app(service, Access(password, tls is not None, token))
    context = _tls_context(*tls) if tls else None
    if context is None and password is not None and host not in LOOPBACK:
        log.warning("listening on %s without TLS: others on the network can read the password and the pictures", host)
    limit = ConnectionLimit(CONNECTIONS)
    with _listen(host, port, limit) as listening:
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
            limit_concurrency=CONNECTIONS + 1,  # 503 if nobody can be replaced: every connection is being answered
            backlog=CONNECTIONS // 2,  # asyncio accepts so many in one go: a new one stays open until it is read from
            timeout_graceful_shutdown=STOP_TIMEOUT,
            ssl_context_factory=(lambda _, __: context) if context else None,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],), name="rkface-web", daemon=True)
        thread.start()
        try:
            _wait_for_start(server, thread)
            shown = f"[{host}]" if ":" in host else host
            address = f"{'https' if tls else 'http'}://{shown}:{listening.getsockname()[1]}"
            log.info("the console is at %s", address)
            yield address
        finally:
            app.state.stopping = server.should_exit = True
            thread.join()


def _operation_id(route: APIRoute) -> str:
    return route.name


def _error(detail: Any, status: int) -> Response:
    """As ASCII: a request may contain half a character (\\ud800), which cannot be encoded as UTF-8."""
    return Response(json.dumps({"detail": detail}), status, media_type="application/json")


def _wait_for_start(server: uvicorn.Server, thread: threading.Thread) -> None:
    until = time.monotonic() + START_TIMEOUT
    while not server.started:
        if not thread.is_alive() or time.monotonic() > until:
            raise RuntimeError("the web server did not start")
        time.sleep(0.01)


def _listen(host: str, port: int, limit: ConnectionLimit) -> LimitedListener:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return LimitedListener(socket.create_server(address[:2], family=family), limit)
    except OSError as error:
        raise InputError(f"cannot listen on {host}:{port}: {error.strerror or error}; choose another port") from error


def _tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"{certificate}, {key}: not a PEM certificate and its key: {error}") from error
    return context
