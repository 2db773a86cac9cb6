"""Who gets in: passwords, sessions, other sites' pages, other machines, and bodies that are too large."""

import asyncio
import json
import queue
import re
import socket
import ssl
import stat
import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest
import websockets.sync.client as sockets
from starlette.datastructures import Headers
from starlette.testclient import TestClient
from websockets.exceptions import ConnectionClosed, InvalidStatus

from rkface.runtime.cli.run import _serve_console as serve_console
from rkface.runtime.core.errors import InputError
from rkface.runtime.service.config import read_settings
from rkface.runtime.service.console_protocol import Health
from rkface.runtime.web import serve as serving
from rkface.runtime.web.access import HEADERS, MOST_PHOTO_BYTES, Access
from rkface.runtime.web.connection import Connection
from rkface.runtime.web.password import Passwords, hasher, read_password, write_password
from rkface.runtime.web.serve import console, serve
from rkface.runtime.web.session import FREE, IDLE, LONGEST, MOST, WAIT_MOST, Attempts, Sessions

from .conftest import PASSWORD, browser_like, eventually

FILES = Path("/proc/self/fd")
SOMEBODY = {"client": ("10.0.0.9", 5000), "base_url": "http://board.local"}


class Nobody:
    """A service whose settings alone are asked for, and what they were changed to."""

    def __init__(self):
        self.changed, self.news = [], queue.Queue()

    def settings(self):
        return []

    def change(self, values):
        self.changed.append(values)

    def metrics(self):
        return "rkface_up 1\n"

    def health(self):
        return Health(True, (), 0.0, "1", "reference", "tiny", True)

    @contextmanager
    def subscribe(self):
        yield self.news


@pytest.fixture(scope="module")
def hash():
    return hasher().hash(PASSWORD)


@pytest.fixture
def locked(hash):
    """A client of a console with a password, not signed in."""
    app = console(Nobody(), Access(Passwords(hash), secure=False))
    return TestClient(app, **SOMEBODY)


def sign_in(client, password=PASSWORD):
    answer = client.post("/v1/session", json={"password": password})
    if answer.status_code == 200:
        client.headers["x-csrf-token"] = answer.json()["token"]
    return answer


def test_without_a_password_only_this_machine_is_served():
    with pytest.raises(InputError, match="needs a password: `rkface web-password`"), serve(Nobody(), "0.0.0.0", 0):
        pass


def test_a_taken_port_is_named():
    with serve(Nobody(), port=0) as address:
        port = int(address.rpartition(":")[2])
        with pytest.raises(InputError, match=f"127.0.0.1:{port}.*choose another port"), serve(Nobody(), port=port):
            pass


@pytest.mark.parametrize("host", ["rebound.example", "10.0.0.5:8080", "", "localhost.example"])
def test_a_name_that_was_pointed_here_is_not_answered_to(host):
    client = TestClient(console(Nobody(), Access(None, secure=False)), base_url="http://localhost")
    assert client.get("/v1/settings").status_code == 200
    assert client.get("/v1/settings", headers={"host": host}).status_code == 421


def test_nothing_is_told_or_done_before_signing_in(locked):
    for path in ("/v1/people", "/v1/appearances", "/v1/settings", "/v1/health", "/v1/events", "/v1/openapi.json",
                 "/v1/cameras/door/picture", "/metrics"):  # fmt: skip
        assert locked.get(path).status_code == 401, path
    assert locked.patch("/v1/settings", json={}).status_code == 401
    assert locked.delete("/v1/people/x").status_code == 401
    assert locked.get("/").status_code == 200  # the page itself tells nothing
    assert locked.get("/v1/session").json() == {"signed_in": False, "password_needed": True, "token": ""}


TOKEN = "0123456789abcdef" * 2


@pytest.fixture
def scraped(hash):
    """As ``locked``, of a console that has a token for programs."""
    return TestClient(console(Nobody(), Access(Passwords(hash), secure=False, token=TOKEN)), **SOMEBODY)


def test_a_program_with_the_token_reads_metrics_and_nothing_else(scraped):
    bearer = {"authorization": f"Bearer {TOKEN}"}
    assert scraped.get("/metrics", headers=bearer).text == "rkface_up 1\n"
    assert scraped.get("/v1/health", headers=bearer).status_code == 200
    for path in ("/v1/people", "/v1/settings", "/v1/events", "/v1/openapi.json", "/metrics/", "/v1/health/x"):
        assert scraped.get(path, headers=bearer).status_code == 401, path
    assert scraped.patch("/v1/settings", json={}, headers=bearer).status_code == 401
    assert scraped.post("/v1/health", headers=bearer).status_code == 401


@pytest.mark.parametrize(
    "said", ["", "Bearer", "Bearer ", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}0", f"Basic {TOKEN}", TOKEN, "Bearer é"]
)
def test_without_the_token_no_metrics(scraped, locked, said):
    headers = {"authorization": said.encode()}
    assert scraped.get("/metrics", headers=headers).status_code == 401
    assert locked.get("/metrics", headers=headers).status_code == 401  # where there is none, least of all an empty one


def test_the_token_is_for_its_owner_and_cannot_be_guessed(tmp_path):
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_text(f"{TOKEN}\n")
    with serve(Nobody(), port=0, token_file=path) as address:
        assert httpx.get(f"{address}/metrics", trust_env=False).status_code == 200
    for mode in (0o640, 0o604):
        path.chmod(mode)
        with pytest.raises(InputError, match="chmod 600"), serve(Nobody(), port=0, token_file=path):
            pass
    path.chmod(0o600)
    for wrong in ("short", "", f"{TOKEN} {TOKEN}", f"{TOKEN}\n{TOKEN}"):
        path.write_text(wrong)
        with pytest.raises(InputError, match="openssl rand") as caught, serve(Nobody(), port=0, token_file=path):
            pass
        assert TOKEN not in str(caught.value)
    with pytest.raises(InputError, match="no token can be read"), serve(Nobody(), port=0, token_file=tmp_path / "no"):
        pass


def test_the_token_s_file_is_named_in_the_configuration(tmp_path):
    (tmp_path / "token").touch(mode=0o644)
    (tmp_path / "rkface.toml").write_text('[web]\nport = 0\ntoken_file = "token"\n')
    settings = read_settings(tmp_path / "rkface.toml")
    with ExitStack() as opened, pytest.raises(InputError, match="chmod 600"):
        serve_console(Nobody(), settings, opened)


def test_signing_in_and_out(locked):
    assert sign_in(locked, "wrong").status_code == 403
    answer = sign_in(locked)
    assert answer.status_code == 200 and PASSWORD not in answer.text
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    assert locked.get("/v1/settings").status_code == 200
    assert locked.get("/metrics").text == "rkface_up 1\n"
    kept = dict(locked.cookies)
    assert locked.delete("/v1/session").status_code == 204
    locked.cookies.update(kept)
    assert locked.get("/v1/settings").status_code == 401  # over here, not only forgotten there


def test_over_tls_the_cookie_is_for_this_host_and_tls_alone(hash):
    client = TestClient(console(Nobody(), Access(Passwords(hash), secure=True)), base_url="https://board.local")
    answer = sign_in(client)
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-rkface=") and "Secure" in cookie and "Path=/" in cookie and "Domain" not in cookie


@pytest.mark.parametrize("token", [None, "", "guessed", "é"])
def test_another_sites_page_changes_nothing(locked, token):
    sign_in(locked)
    right = locked.headers.pop("x-csrf-token")
    headers = {} if token is None else {"x-csrf-token": token.encode()}
    assert locked.patch("/v1/settings", json={"a": 1}, headers=headers).status_code == 403
    foreign = {"x-csrf-token": right, "origin": "http://evil.example"}
    assert locked.patch("/v1/settings", json={"a": 1}, headers=foreign).status_code == 403
    service = locked.app.state.service
    assert service.changed == []
    own = {"x-csrf-token": right, "origin": "http://board.local"}
    assert locked.patch("/v1/settings", json={"a": 1}, headers=own).status_code == 200 and len(service.changed) == 1


def test_another_sites_page_cannot_sign_somebody_in(locked):
    answer = locked.post("/v1/session", json={"password": PASSWORD}, headers={"origin": "http://evil.example"})
    assert answer.status_code == 403 and "set-cookie" not in answer.headers


def test_one_sessions_token_is_no_others(hash):
    app = console(Nobody(), Access(Passwords(hash), secure=False))
    first, second = TestClient(app, **SOMEBODY), TestClient(app, **SOMEBODY)
    sign_in(first), sign_in(second)
    stolen = {"x-csrf-token": first.headers["x-csrf-token"]}
    assert second.patch("/v1/settings", json={}, headers=stolen).status_code == 403


def test_guessing_is_slowed_down_for_who_guesses(locked):
    answers = [sign_in(locked, f"guess {number}").status_code for number in range(FREE + 2)]
    assert answers == [403] * FREE + [429] * 2
    refused = sign_in(locked)  # the right one, too soon
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
    other = TestClient(locked.app, client=("10.0.0.10", 5000), base_url="http://board.local")
    assert sign_in(other).status_code == 200


def test_waits_double_up_to_a_quarter_of_an_hour_and_end():
    now = [1000.0]
    attempts, waits = Attempts(lambda: now[0]), []
    for _ in range(FREE + 14):
        assert attempts.begin("2001:db8::1") == 0
        waits.append(attempts.begin("2001:db8::ffff"))  # the same /64: the same somebody
        now[0] += waits[-1]
    # Until the fifth nothing is waited for, so that each look counts as one more.
    waited = [wait for wait in waits if wait]
    assert waited[:4] == [1, 2, 4, 8] and waited[-1] == WAIT_MOST
    now[0] += 2 * WAIT_MOST + 1
    assert attempts.begin("2001:db8::1") == 0 and attempts.begin("2001:db8::1") == 0
    for number in range(10_000):
        attempts.begin(f"10.{number // 256}.{number % 256}.1")
    assert len(attempts._wrong) <= 4096


def test_sessions_end_unused_and_in_any_case_and_are_few():
    now = [0.0]
    sessions = Sessions(lambda: now[0])
    unused, used = sessions.begin(), sessions.begin()
    now[0] = IDLE - 1
    assert sessions.find(used)
    now[0] = IDLE + 1
    assert sessions.find(unused) is None and sessions.find(used)
    while now[0] < LONGEST:
        assert sessions.find(used)
        now[0] += IDLE / 2
    now[0] = LONGEST + 1
    assert sessions.find(used) is None
    first = sessions.begin()
    for _ in range(MOST):
        sessions.begin()
    assert sessions.find(first) is None
    assert first not in str(vars(sessions))  # only hashes are kept


def test_every_answer_has_the_headers_and_the_page_nothing_inline(locked):
    for path in ("/", "/static/app.js", "/v1/people", "/nowhere"):
        headers = locked.get(path).headers
        assert {name: headers[name] for name in HEADERS} == HEADERS, path
    assert "unsafe" not in HEADERS["content-security-policy"]
    assert not re.search(r"<style|<script(?! type=.module. src=)|\s(on\w+|style)=", locked.get("/").text)
    assert locked.get("/v1/people").headers["cache-control"] == "no-store"


def test_a_body_that_is_too_large_is_refused_before_it_is_read():
    app = console(Nobody(), Access(None, secure=False))
    token = app.state.access.token(None)
    said = []

    async def request(path, headers):
        async def receive():
            raise AssertionError("the body was read")

        async def send(message):
            said.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "query_string": b"",
            "http_version": "1.1",
            "headers": [(b"host", b"localhost"), (b"x-csrf-token", token.encode()), *headers],
        }
        await app(scope, receive, send)
        return said[-2]["status"]

    large = str(MOST_PHOTO_BYTES + 1).encode()
    photo = "/v1/enrollments/photo"
    assert asyncio.run(request(photo, [(b"content-length", large)])) == 413
    assert asyncio.run(request("/v1/enrollments/seen", [(b"content-length", b"70000")])) == 413
    assert asyncio.run(request(photo, [(b"transfer-encoding", b"chunked")])) == 411
    assert asyncio.run(request(photo, [(b"content-length", b"10"), (b"transfer-encoding", b"chunked")])) == 411


@pytest.mark.parametrize("words", [b'{"\\ud800": 1}', b'{"door": ["\\ud800"]}', b'["\\ud800"]'])
def test_half_a_character_is_a_bad_question_and_no_failure(words):
    class Strict(Nobody):
        def change(self, values):
            raise InputError(f"{values} is no setting")

    client = TestClient(console(Strict(), Access(None, secure=False)), base_url="http://localhost")
    sent = {"x-csrf-token": client.get("/v1/session").json()["token"], "content-type": "application/json"}
    answer = client.patch("/v1/settings", content=words, headers=sent)
    assert answer.status_code in (400, 422) and answer.json()["detail"]


def test_another_programs_cookie_does_not_hide_ours():
    headers = Headers({"cookie": 'prefs={"a":1}; rkface=secret; other=2'})
    assert Access(None, secure=False).secret(headers) == "secret"


def test_the_password_is_kept_as_a_hash_for_its_owner(tmp_path, hash):
    path = tmp_path / "password"
    write_password(path, PASSWORD)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    line = read_password(path)
    assert line.startswith("$argon2id$") and PASSWORD not in line
    assert Passwords(line).right(PASSWORD) and not Passwords(line).right(PASSWORD + " ")
    assert not Passwords(line).right("x" * 100_000)
    path.chmod(0o640)
    with pytest.raises(InputError, match="chmod 600"):
        read_password(path)
    path.write_text("secret in plain")
    path.chmod(0o600)
    with pytest.raises(InputError, match="no password's hash"):
        read_password(path)
    with pytest.raises(InputError, match="no password can be read"):
        read_password(tmp_path / "absent")
    with pytest.raises(InputError, match="12 to"):
        write_password(path, "short")
    assert path.read_text() == "secret in plain"  # nothing was lost


def test_the_command_reads_a_password_from_a_pipe(tmp_path):
    code = (
        "import argparse, sys; from rkface.runtime.web.password import web_password as declare;"
        "parser = argparse.ArgumentParser(); declare(parser); options = parser.parse_args(sys.argv[1:]);"
        "print('argon2' in sys.modules, 'fastapi' in sys.modules); sys.exit(options.run(options))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--file", tmp_path / "password"],
        input=f"{PASSWORD}\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"False False\n{tmp_path / 'password'}\n"  # --help waits for neither
    assert Passwords(read_password(tmp_path / "password")).right(PASSWORD)


def test_tls_and_password_end_to_end(tmp_path, certificate):
    write_password(tmp_path / "password", PASSWORD)
    files = (certificate / "ca", certificate / "key")
    with serve(Nobody(), "0.0.0.0", 0, password_file=tmp_path / "password", tls=files) as everywhere:
        address = everywhere.replace("0.0.0.0", "127.0.0.1")
        trusting = ssl.create_default_context(cafile=certificate / "ca")
        with browser_like(address, verify=trusting) as client:
            assert client.get("/v1/settings").status_code == 401
            assert sign_in(client).status_code == 200
            assert client.get("/v1/settings").status_code == 200
    with (
        pytest.raises(InputError, match="no certificate and its key"),
        serve(Nobody(), port=0, tls=(tmp_path / "password", certificate / "key")),
    ):
        pass


@pytest.mark.parametrize("origin", ["http://evil.example", None])
def test_another_sites_page_sees_no_live_picture(address, origin):
    live = address.replace("http", "ws") + "/v1/cameras/door/live"
    if origin is None:  # a program, not a browser
        with sockets.connect(live, origin=address, proxy=None) as socket:
            socket.send("next")
            assert "present" in json.loads(socket.recv(timeout=30))
    else:
        with pytest.raises(InvalidStatus):
            sockets.connect(live, origin=origin, proxy=None)


def test_who_signed_out_sees_no_more_pictures(service, tmp_path):
    write_password(tmp_path / "password", PASSWORD)
    with serve(service, port=0, password_file=tmp_path / "password") as address:
        live = address.replace("http", "ws") + "/v1/cameras/door/live"
        with pytest.raises(InvalidStatus):
            sockets.connect(live, proxy=None)
        with browser_like(address) as client:
            sign_in(client)
            cookie = {"cookie": "; ".join(f"{name}={value}" for name, value in client.cookies.items())}
            with sockets.connect(live, additional_headers=cookie, proxy=None) as socket:
                socket.send("next")
                socket.recv(timeout=30)
                client.delete("/v1/session")
                socket.send("next")
                with pytest.raises(ConnectionClosed):
                    while True:
                        socket.recv(timeout=30)


HALVES = [
    b"",
    b"G",
    b"GET / HTTP/1.1\r\nhost: localhost\r\n",  # no head, or a part of one
    b"POST /v1/session HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{",
]


@pytest.mark.parametrize("half", HALVES)
def test_connections_that_send_nothing_or_half_shut_nobody_out(monkeypatch, half):
    monkeypatch.setattr("rkface.runtime.web.serve.CONNECTIONS", 8)
    service = Nobody()
    with (
        serve(service, port=0) as address,
        ExitStack() as opened,
        httpx.stream("GET", f"{address}/v1/events", trust_env=False, timeout=30) as stream,
    ):
        lines = filter(None, stream.iter_lines())
        assert next(lines) == ": listening"
        place = "127.0.0.1", int(address.rpartition(":")[2])
        idle = []
        for _ in range(3):
            idle += [opened.enter_context(socket.create_connection(place, timeout=30)) for _ in range(20)]
            for each in idle[-20:]:
                with suppress(ConnectionError):  # it had to give way already
                    each.sendall(half)
            assert httpx.get(f"{address}/v1/session", trust_env=False, timeout=30).status_code == 200
        with suppress(ConnectionResetError):
            assert idle[0].recv(1) == b"", "who waited longest had to go"
        service.news.put({"id": "a"})
        assert next(lines) == "event: appearance", "what is being answered goes on"


def test_connections_that_never_shake_hands_take_no_more_than_their_share(monkeypatch, certificate):
    """asyncio counts nobody before TLS's handshake: they would take every file descriptor of the service."""
    monkeypatch.setattr("rkface.runtime.web.connection.HANDSHAKES", 10)
    files, trusting = (certificate / "ca", certificate / "key"), ssl.create_default_context(cafile=certificate / "ca")
    with serve(Nobody(), port=0, tls=files) as address, ExitStack() as opened:
        place = "127.0.0.1", int(address.rpartition(":")[2])
        before = len(list(FILES.iterdir()))
        for _ in range(200):
            opened.enter_context(socket.create_connection(place, timeout=30))
        told = httpx.get(f"{address}/v1/session", verify=trusting, trust_env=False, timeout=30)
        assert told.status_code == 200
        eventually(lambda: len(list(FILES.iterdir())) - before - 200 <= 10, "those who came first had to go")


def test_connections_that_take_no_answer_shut_nobody_out(monkeypatch, tmp_path):
    made, connection_made = [], Connection.connection_made

    def noted(self, transport):
        made.append(transport)
        connection_made(self, transport)

    monkeypatch.setattr(Connection, "connection_made", noted)
    monkeypatch.setattr(serving, "CONNECTIONS", 4)
    monkeypatch.setattr(serving, "STATIC", tmp_path)
    (tmp_path / "large").write_bytes(bytes(16 << 20))  # more than the sockets between take
    with serve(Nobody(), port=0) as address, ExitStack() as opened:
        for _ in range(3):
            deaf = opened.enter_context(socket.socket())
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(("127.0.0.1", int(address.rpartition(":")[2])))
            deaf.sendall(b"GET /static/large HTTP/1.1\r\nhost: localhost\r\n\r\n")
        eventually(lambda: sum(each.get_write_buffer_size() > 64 << 10 for each in made) == 3, "all are stuck")
        assert httpx.get(f"{address}/v1/session", trust_env=False, timeout=30).status_code == 200


def test_a_stopped_console_answers_nobody(service):
    with (
        serve(service, port=0) as address,
        httpx.Client(trust_env=False) as client,
        client.stream("GET", f"{address}/v1/events", timeout=30) as stream,
    ):
        assert next(stream.iter_lines()) == ": listening"
        # An open stream does not hold the end up: leaving the block would hang here.
    with pytest.raises(httpx.ConnectError):
        httpx.get(address, trust_env=False)
