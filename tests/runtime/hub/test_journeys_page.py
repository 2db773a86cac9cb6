"""Journeys and attendance at the hub's server: the API, and the view in its page."""

import csv
import io
from contextlib import closing

import pytest

for needed in ("fastapi", "uvicorn", "argon2", "httpx", "websockets"):
    pytest.importorskip(needed, reason="the page of the hub needs rkface[web], its tests httpx")

from starlette.testclient import TestClient

from rkface.runtime.hub_console.app import create_app, open_hub_console
from rkface.runtime.hub_console.hub_connections import HubConnections
from rkface.runtime.web.access import Access
from rkface.runtime.web.failures import RareLog
from rkface.runtime.web.scopes import needed_scope

from ..journey_histories import NOON, PEOPLE, appearances
from ..web import chromium
from .test_journeys import BOARDS, doors, send  # noqa: F401 - a fixture

HISTORY = [
    (PEOPLE[0], "door", NOON, 5.0, True), (PEOPLE[0], "gate", NOON + 60, 5.0, True),
    (PEOPLE[1], "hall", NOON + 90, 5.0, True), (PEOPLE[0], "door", NOON + 9000, 5.0, False),
]  # fmt: skip


@pytest.fixture
def seen(doors):  # noqa: F811
    for one in appearances(HISTORY):
        send(doors, BOARDS[one.source][0], one)
    return doors


@pytest.fixture
def client(seen, database):
    with closing(HubConnections(database)) as connections:
        app = create_app(connections, Access(None, secure=False), RareLog())
        yield TestClient(app, base_url="http://localhost")


def test_journeys_are_listed_in_pages(client):
    first = client.get("/v1/journeys", params={"limit": 2}).json()
    assert [(one["name"], len(one["stops"])) for one in first["items"]] == [("Ada", 1), ("Bob", 1)]
    rest = client.get("/v1/journeys", params={"limit": 2, "cursor": first["next"]}).json()
    ((journey,), after) = rest["items"], rest["next"]
    assert after is None and [stop["board"] for stop in journey["stops"]] == ["door-1", "door-3"]
    assert journey["last_at"] == "2025-06-15T15:07:45.000Z"
    assert len(client.get("/v1/journeys", params={"site": "west"}).json()["items"]) == 1
    assert client.get("/v1/journeys", params={"person": "nobody"}).json() == {"items": [], "next": None}
    assert needed_scope("GET", "/v1/journeys") == needed_scope("GET", "/v1/attendance.csv") == "read"


def test_attendance_is_a_file(client):
    days = {"from": "2025-06-15", "to": "2025-06-15", "time_zone": "Europe/Warsaw"}
    answer = client.get("/v1/attendance.csv", params=days)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="attendance-2025-06-15-2025-06-15.csv"'
    lines = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(one["name"], one["last_seen"]) for one in lines] == [
        ("Ada", "2025-06-15T19:36:45+02:00"),
        ("Bob", "2025-06-15T17:08:15+02:00"),
    ]
    (only,) = csv.DictReader(io.StringIO(client.get("/v1/attendance.csv", params={**days, "site": "west"}).text))
    assert only["first_camera"] == "door-3 / gate"


@pytest.mark.parametrize(
    ("path", "wrong", "status"),
    [
        ("journeys", {"cursor": "x"}, 422),
        ("journeys", {"cursor": "WzEsICJ4Il0="}, 422),  # [1, "x"]: not as we write it
        ("journeys", {"since": "2026-11-29"}, 422),
        ("journeys", {"person": "\0"}, 400),
        ("journeys", {"pause": "inf"}, 422),
        ("attendance.csv", {}, 422),
        ("attendance.csv", {"from": "2025-06-15", "to": "2025-06-15", "time_zone": "Mars"}, 400),
        ("attendance.csv", {"from": "2025-06-15", "to": "2025-06-14", "time_zone": "UTC"}, 400),
    ],
)
def test_wrong_requests_get_an_error_message(client, path, wrong, status):
    answer = client.get(f"/v1/{path}", params=wrong)
    assert answer.status_code == status and answer.json()["detail"]
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.slow
@pytest.mark.skipif(chromium.program() is None, reason="needs Chromium")
def test_the_page_shows_journeys_and_their_filters(seen, database, browser):
    with open_hub_console(database, "127.0.0.1", 0) as address, browser.private_page() as page:
        page.look(360, 800, phone=True)
        page.open(f"{address}/#/journeys")
        page.until("document.querySelectorAll('.stops').length === 3")
        assert page.run("document.documentElement.scrollWidth") == 360
        page.shows("door-3 / gate", ".rows li:last-child .stops")
        page.choose("#site", "west")
        page.until("document.querySelectorAll('.stops').length === 1 && location.hash.includes('site=west')")
        page.click("main a", "Ada")
        page.until(f"location.hash.includes('{PEOPLE[0]}')")
        page.click("main a", "All people")
        page.until("document.querySelectorAll('.stops').length === 3")
        table = page.run("fetch(document.querySelector('a[download]').href).then((answer) => answer.text())")
        assert table.startswith("day,time_zone,")
        assert page.problems == []
