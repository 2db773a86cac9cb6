"""Whatever a client sends to the hub's server, it gets an answer, and no failure of the server or the database."""

import json
from urllib.parse import urlencode

import pytest

for needed in ("fastapi", "uvicorn", "argon2", "httpx"):
    pytest.importorskip(needed, reason="the page of the hub needs rkface[web], its tests httpx")

from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, given, settings
from starlette.testclient import TestClient

from rkface.runtime.hub.boards import add_board, add_site
from rkface.runtime.hub.people import add_person
from rkface.runtime.hub_console.app import create_app
from rkface.runtime.hub_console.hub_connections import HubConnections
from rkface.runtime.web.access import Access
from rkface.runtime.web.failures import RareLog
from rkface.runtime.web.wire import write_cursor

from ..web.hostile import HOSTILE_TEXTS, Request, requests, send
from .conftest import ONE, sample


@pytest.mark.slow
def test_no_request_to_the_hub_fails(hub, database, caplog):
    add_site(hub, "east")
    add_board(hub, "door-1", "east", 3600.0)
    person = add_person(hub, "Ada", ["east"], [sample(1)], ONE)
    connections = HubConnections(database)
    app = create_app(connections, Access(None, secure=False), RareLog())
    token = TestClient(app, base_url="http://localhost").get("/v1/session").json()["token"]

    @given(requests(app, [person, "door-1", "east", "Europe/Warsaw", "2026-11-29"], token))
    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def check(request):
        answer = send(app, request, portal)
        assert answer.status < 500 or b"bundle" in answer.body, (request, answer)

    with start_blocking_portal() as portal:
        check()
        for request in every_value(app, token):
            answer = send(app, request, portal)
            assert answer.status < 500 or b"bundle" in answer.body, (request, answer)
    assert "failed:" not in caplog.text
    connections.close()


def every_value(app, token):
    """Each parameter of an address, each field of a body, and each cursor, with each hostile value."""
    headers = ((b"host", b"localhost"), (b"x-csrf-token", token.encode()), (b"content-type", b"application/json"))
    cursors = [write_cursor([value]) for value in (*HOSTILE_TEXTS, 10**400, -1, 1.5, float("nan"), float("inf"), None)]
    for path, operations in app.openapi()["paths"].items():
        for parameter in operations.get("get", {}).get("parameters", ()):
            for text in [*HOSTILE_TEXTS, *cursors]:
                named = [(one["name"], "2026-11-29") for one in operations["get"]["parameters"] if one["required"]]
                query = urlencode({**dict(named), parameter["name"]: text.encode(errors="surrogatepass")})
                yield Request("GET", f"{path}?{query}".encode(), headers, b"")
    for field in ("text", "limit", "cursor"):
        for value in [*HOSTILE_TEXTS, *cursors, 10**400, None, [], {}]:
            yield Request("POST", b"/v1/people/search", headers, json.dumps({field: value}).encode())
