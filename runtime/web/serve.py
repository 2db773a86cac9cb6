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
from .server import frame_app, open_server

STATIC = Path(__file__).parent / "static"
PARTS = (api, journeys, reviews, strangers, rules, recognition, management, live, cameras)


def create_app(service: CameraService, access: Access, rare: RareLog | None = None) -> FastAPI:
    """The application: the page at ``/``, the API under ``/v1``, its description at ``/v1/openapi.json``. ``rare``
    logs what clients cause."""
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


@contextmanager
def serve(service: CameraService, *place: Any, accounts: Accounts | None = None, **options: Any) -> Iterator[str]:
    """Serve the console of ``service`` while the block runs; yield its address. Arguments and errors are those of
    ``open_entry``; ``accounts`` has the tokens of programs and other users."""
    with open_entry(*place, **options) as entry, open_console(entry, service, accounts):
        yield entry.address


@contextmanager
def open_console(entry: Entry, service: CameraService, accounts: Accounts | None = None) -> Iterator[None]:
    """Serve the console of ``service``, which runs, to the clients of ``entry`` while the block runs. ``accounts`` has
    the tokens of programs and other users."""
    with open_server(partial(create_app, service), entry, accounts):
        yield
