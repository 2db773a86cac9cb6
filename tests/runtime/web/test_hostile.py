"""Whatever comes over the network, nobody gets an error 500, and the log has no traceback."""

import json
import os
import random
import socket
from contextlib import suppress
from logging import WARNING

import httpx
import pytest
import websockets.sync.client as sockets
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, given, settings
from starlette.testclient import TestClient
from websockets.exceptions import ConnectionClosed

from rkface.runtime.web.access import Access
from rkface.runtime.web.accounts import Accounts
from rkface.runtime.web.failures import REPEAT, RareLog
from rkface.runtime.web.serve import create_app, serve

from .conftest import running
from .fake_service import FakeService
from .hostile import BODIES, HOSTILE_TEXTS, ORIGINS, Request, requests, routes, send

JSON = ((b"host", b"localhost"), (b"content-type", b"application/json"))
EXAMPLES = 20_000 if os.environ.get("RKFACE_SLOW") else 500


@pytest.fixture(scope="module")
def own_service(tmp_path_factory, pictures, cast):
    """A service of its own: hostile requests may change settings and forget people."""
    with running(tmp_path_factory.mktemp("hostile"), pictures, rate=0.5) as service:
        yield service


@pytest.fixture
def ada(own_service, cast):
    """The id of a person, whom the last test may have forgotten."""
    for image in cast.portraits(next(iter(cast.cast)), 2):
        own_service.enrollment.enroll_photo("Ada", image, "test", force=True)
    return next(one.id for one in own_service.gallery.people() if one.name == "Ada")


@pytest.fixture(scope="module")
def app(own_service, tmp_path_factory):
    with Accounts(tmp_path_factory.mktemp("accounts") / "accounts") as accounts:
        yield create_app(own_service, Access(None, secure=False, accounts=accounts))


@pytest.fixture(scope="module")
def portal():
    """One event loop for all requests, whose threads stay: with a new one for each request, starting threads would take
    most of the time."""
    with start_blocking_portal() as portal:
        yield portal


def failures(caplog):
    """What the service logged as a warning or worse. pytest also collects the records of the server's own logger."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("rkface") and record.levelno >= WARNING
    ]


def fields(app, method, path):
    """The fields of the JSON that a route takes; those of an enrollment if its description has none."""
    found = app.openapi()["paths"].get(path, {}).get(method.lower(), {}).get("requestBody", {"content": {}})
    schema = found["content"].get("application/json", {}).get("schema", {})
    if "additionalProperties" in schema:
        return ["recognition.match", "keep.appearances"]
    named = app.openapi()["components"]["schemas"].get(schema.get("$ref", "").rpartition("/")[2], schema)
    return list(named.get("properties", ("name", "appearance", "force")))


@pytest.mark.slow
def test_no_request_fails(app, portal, ada, caplog):
    token = app.state.access.caller({}).csrf_token
    known = [ada, "door", "Ada", "1", "recognition.match"]

    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(requests(app, known, token))
    def answer(request):
        assert send(app, request, portal).status < 500

    answer()
    assert not failures(caplog)


@pytest.mark.slow
def test_no_body_fails_on_any_route(app, portal, ada, caplog):
    """Every route that changes something, with every hostile body, and with every hostile value for each field that the
    route has, for all of them, and for fields that it does not have."""
    headers = (*JSON, (b"x-csrf-token", app.state.access.caller({}).csrf_token.encode()))
    values = [*HOSTILE_TEXTS, 10**400, -(10**400), 1e308, float("nan"), float("inf"), None, [], {}, [["\ud800"]], True]
    sent = set()
    for method, path in routes(app):
        if method in ("POST", "PATCH", "PUT") and "photo" not in path and "{x}" not in path:
            names = fields(app, method, path)
            choices = [*([name] for name in names), names, [names[0], "\ud800"]]
            objects = [dict.fromkeys(chosen, value) for chosen in choices for value in values]
            objects += [one | {"name": "Ada"} for one in objects if "name" in one and len(one) > 1]
            target = path.replace("{id}", ada).encode()
            for body in [*BODIES, *(json.dumps(one).encode() for one in objects)]:
                answer = send(app, Request(method, target, headers, body), portal)
                assert answer.status < 500 and len(answer.body) < 20_000, (method, path, body[:100], answer)
            sent.update(names)
    assert not failures(caplog)
    assert sent >= {"name", "into", "password", "appearance", "force", "recognition.match", "keep.appearances"}


@pytest.mark.parametrize("origin", ORIGINS)
def test_an_invalid_origin_is_a_foreign_one(app, portal, origin):
    headers = (*JSON, (b"x-csrf-token", app.state.access.caller({}).csrf_token.encode()), (b"origin", origin.encode()))
    assert send(app, Request("PATCH", b"/v1/settings", headers, b"{}"), portal).status == 403


@pytest.mark.parametrize("length", ["\xb2", "9" * 400, "9" * 5000, "-1", "1_0", "0x10", " "])
def test_an_odd_content_length_is_refused(app, portal, length):
    headers = (*JSON, (b"x-csrf-token", app.state.access.caller({}).csrf_token.encode()))
    headers += ((b"content-length", length.encode("latin-1")),)
    assert send(app, Request("PATCH", b"/v1/settings", headers, b"{}"), portal).status in (400, 413)


@pytest.mark.slow
def test_whatever_bytes_arrive_the_server_goes_on(caplog):
    """At the socket, where the HTTP parser of the server comes first."""
    dice = random.Random(18)
    whole = b"GET /v1/session HTTP/1.1\r\nHost: localhost\r\nOrigin: http://[::1\r\nCookie: rkface=a\r\n\r\n"
    upgrade = whole[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n"
    with serve(FakeService(), port=0) as address:
        place = ("127.0.0.1", int(address.rpartition(":")[2]))
        pieces = (b"", b"\0", b"\xff", b"\r\n", b" ", b"9" * 400, b"%")
        for number in range(150):
            data = bytearray(dice.choice((whole, upgrade, upgrade.replace(b"/v1/session", b"/v1/cameras/x/live"))))
            for _ in range(dice.choice((0, 1, 3, 9))):
                at = dice.randrange(len(data))
                data[at : at + dice.choice((0, 1, 8))] = dice.choice(pieces)
            with socket.create_connection(place, timeout=60) as client:
                client.sendall(data if number else b"\x16\x03\x01")
                client.shutdown(socket.SHUT_WR)
                received = b""
                with suppress(ConnectionError):
                    while part := client.recv(4096):
                        received += part
            assert b" 500 " not in received[:30]
        assert httpx.get(f"{address}/v1/health", trust_env=False, timeout=60).status_code == 200
    assert len(failures(caplog)) < 10, "nobody can fill the log"


@pytest.mark.parametrize("message", [b"\xff\xfe", b"", "x" * 3000, ["\U0001f600", ""], "not JSON"])
def test_no_message_to_the_live_view_fails(address, message, caplog):
    live = address.replace("http", "ws") + "/v1/cameras/door/live"
    with sockets.connect(live, proxy=None) as client, suppress(ConnectionClosed, UnicodeEncodeError):
        client.send(message)
        client.recv(timeout=60)
    with sockets.connect(live, proxy=None) as client:
        client.send("next")
        assert "present" in client.recv(timeout=60)
    assert not failures(caplog)


def test_text_that_is_not_utf8_ends_the_live_view_without_a_traceback(address, caplog):
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as client:
        client.sendall(
            b"GET /v1/cameras/door/live HTTP/1.1\r\nHost: " + f"{host}:{port}".encode() + b"\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert client.recv(4096).startswith(b"HTTP/1.1 101")
        client.sendall(b"\x81\x82\0\0\0\0\xff\xfe")
        received = b""
        while part := client.recv(4096):
            received += part
        assert b"\x03\xef" in received, "closed with code 1007"
    assert not any("\n" in text for text in failures(caplog))


@pytest.mark.parametrize(
    ("error", "retry"), [(KeyError("x"), False), (OSError(24, "Too many open files"), True), (MemoryError(), True)]
)
def test_an_unexpected_error_is_an_answer_and_one_line_in_the_log(error, retry, caplog):
    class Failing(FakeService):
        def settings(self):
            raise error

    caplog.set_level("INFO", "rkface")  # with --verbose, which another test may have used, the log has more
    client = TestClient(create_app(Failing(), Access(None, secure=False)), base_url="http://localhost")
    for _ in range(3):
        answer = client.get("/v1/settings")
        assert answer.status_code == 503 and answer.json()["detail"]
        assert ("retry-after" in answer.headers) == retry
        assert answer.headers["x-content-type-options"] == "nosniff"
    (record,) = (one for one in caplog.records if one.name.startswith("rkface"))
    assert "GET '/v1/settings' failed" in record.getMessage() and type(error).__name__ in record.getMessage()
    assert not record.exc_info


def test_the_same_line_is_logged_once_a_minute(caplog):
    now = [0.0]
    rare = RareLog(lambda: now[0])
    for _ in range(100):
        rare.warn("too many files")
    rare.warn("another one")
    now[0] = REPEAT
    rare.warn("too many files")
    assert caplog.messages == ["too many files", "another one", "too many files (99 more times since the last message)"]
    for number in range(1000):
        rare.warn(str(number))
    assert len(rare._said) < 1000
