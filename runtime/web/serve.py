"""The console of a camera service as an ASGI application, and a server that runs it in its own thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

from ..core.metrics import MEDIA_TYPE
from ..service.console_protocol import CameraService
from . import api, cameras, journeys, live, management, recognition, reviews, rules, strangers
from .access import Access
from .accounts import Accounts
from .dependencies import ServiceDependency
from .entry import Entry, open_entry
from .failures import RareLog
from .icons import draw_icons
from .page import PageFiles
from .scopes import write_module
from .server import WebServer, frame_app, open_server

STATIC = Path(__file__).parent / "static"
PARTS = (api, journeys, reviews, strangers, rules, recognition, management, live, cameras)


def create_app(service: CameraService | None, access: Access, rare: RareLog | None = None) -> FastAPI:
    """The application: the page at ``/``, the API under ``/v1``, its description at ``/v1/openapi.json``. Without a
    ``service``, it answers that the service is starting. ``rare`` logs what clients cause."""
    app = frame_app(
        access,
        rare or RareLog(),
        PageFiles(STATIC, {**draw_icons(), "scopes.js": write_module()}),
        [part.router for part in PARTS],
        title="rkface",
        description="Face recognition on live cameras and photos. Times are seconds since 1970, UTC, and the same as "
        "text (RFC 3339) in the field with `_at` at its end. Errors are application/problem+json (RFC 9457).",
    )
    state = app.state
    state.service, state.jpegs = service, live.JpegCache()
    state.viewers = state.listeners = 0

    @app.get("/metrics", include_in_schema=False)
    def get_metrics(service: ServiceDependency) -> PlainTextResponse:
        return PlainTextResponse(service.metrics(), media_type=MEDIA_TYPE)

    return app


class Console:
    """A console that listens at ``address``. It answers 503 until ``show`` is called: the service is starting."""

    def __init__(self, server: WebServer) -> None:
        self.address, self._server = server.address, server

    @contextmanager
    def show(self, service: CameraService) -> Iterator[None]:
        """Serve ``service`` while the block runs. Then the console ends, before the service does."""
        self._server.app.state.service = service
        try:
            yield
        finally:
            self._server.stop()
            self._server.app.state.service = None


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
    with open_server(partial(create_app, None), entry, accounts) as server:
        yield Console(server)
