"""The hub's page and API as an ASGI application. A new part of the API is a module with a ``router``: name it in
PARTS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from ..gallery.people import embedding_identity
from ..hub.search import check_searchable
from ..inference.pipeline import Pipeline
from ..web.access import Access
from ..web.accounts import Accounts
from ..web.entry import open_entry
from ..web.failures import RareLog
from ..web.icons import draw_icons
from ..web.listening import WhereToSet
from ..web.page import PageFiles
from ..web.serve import STATIC as CONSOLE_STATIC
from ..web.server import frame_app, open_server
from . import appearances, boards, journeys, metrics, people, search
from .hub_connections import HubConnections

STATIC = Path(__file__).parent / "static"
# Files of the console that this page uses, too.
SHARED = ("style.css", "address.js", "api.js", "days.js", "dom.js", "frame.js", "journeys.js", "docs.html", "docs.js")
PARTS = (boards, appearances, journeys, people, search, metrics)
OPTIONS = WhereToSet("with --port", "with --host", "name its file with --password-file")


@contextmanager
def open_hub_console(
    address: str,
    host: str,
    port: int,
    *,
    pipeline: Pipeline | None = None,
    accounts: Accounts | None = None,
    **options: Any,
) -> Iterator[str]:
    """Serve the hub at ``address`` while the block runs; with ``pipeline`` also searches. Yields the console's address.

    ``accounts`` has the tokens of programs and other users. Other arguments and errors are those of ``open_entry``.
    Raises WorkError or InputError if the hub cannot be reached or is not one, or if its embeddings are of another model
    than those of ``pipeline``.
    """
    with closing(HubConnections(address)) as connections:
        with connections.open() as hub:  # a wrong address is an error of the first moment
            if pipeline is not None:
                check_searchable(hub, embedding_identity(pipeline.manifest))
        create = partial(create_app, connections, pipeline=pipeline)
        with (
            open_entry(host, port, settings=OPTIONS, **options) as entry,
            open_server(create, entry, accounts),
        ):
            yield entry.address


def create_app(connections: HubConnections, access: Access, rare: RareLog, pipeline: Pipeline | None = None) -> FastAPI:
    """The application: the page at ``/``, the API under ``/v1``, its description at ``/v1/openapi.json``. Requests use
    ``connections`` to the hub (``HubDependency``), and searches ``pipeline``, if there is one."""
    shared = {name: (CONSOLE_STATIC / name).read_bytes() for name in SHARED}
    app = frame_app(
        access,
        rare,
        PageFiles(STATIC, draw_icons() | shared),
        [part.router for part in PARTS],
        title="rkface hub",
        description="Boards and people of a hub. Times are seconds since 1970, UTC, and the same as text (RFC 3339) in "
        "the field with `_at` at its end. Errors are application/problem+json (RFC 9457).",
    )
    app.state.hub, app.state.pipeline = connections, pipeline
    return app
