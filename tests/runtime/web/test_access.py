"""Access to the console: passwords, sessions, pages of other sites, other machines, large bodies."""

import asyncio
import json
import re
import ssl
from contextlib import ExitStack

import httpx
import pytest
import websockets.sync.client as sockets
from starlette.datastructures import Headers
from starlette.testclient import TestClient
from websockets.exceptions import ConnectionClosed, InvalidStatus

from rkface.runtime.cli.run import _open_entry as open_entry
from rkface.runtime.core.errors import InputError
from rkface.runtime.service.config import read_settings
from rkface.runtime.web.access import MAX_PHOTO_BODY, SECURITY_HEADERS, Access
from rkface.runtime.web.password import PasswordCheck, password_hasher, write_password
from rkface.runtime.web.serve import create_app, serve
from rkface.runtime.web.session import FREE_ATTEMPTS

from .conftest import PASSWORD, browser_like
from .fake_service import REMOTE, TOKEN, FakeService, sign_in


@pytest.fixture(scope="module")
def hash():
    return password_hasher().hash(PASSWORD)


@pytest.fixture
def locked(hash):
    """A client of a console with a password, not signed in."""
    app = create_app(FakeService(), Access(PasswordCheck(hash), secure=False))
    return TestClient(app, **REMOTE)


def test_without_a_password_only_this_machine_is_served():
    with (
        pytest.raises(InputError, match=r"needs a password to listen on 0\.0\.0\.0: run `rkface web-password`"),
        serve(FakeService(), "0.0.0.0", 0),
    ):
        pass


def test_a_taken_port_is_named():
    with serve(FakeService(), port=0) as address:
        port = int(address.rpartition(":")[2])
        with pytest.raises(InputError, match=f"127.0.0.1:{port}.*in use.*--web-port"), serve(FakeService(), port=port):
            pass


@pytest.mark.parametrize("host", ["rebound.example", "10.0.0.5:8080", "", "localhost.example"])
def test_requests_for_a_foreign_name_are_refused_without_a_password(host):
    client = TestClient(create_app(FakeService(), Access(None, secure=False)), base_url="http://localhost")
    assert client.get("/v1/settings").status_code == 200
    assert client.get("/v1/settings", headers={"host": host}).status_code == 421


def test_nothing_is_shown_or_changed_before_signing_in(locked):
    for path in ("/v1/people", "/v1/appearances", "/v1/settings", "/v1/health", "/v1/events", "/v1/openapi.json",
                 "/v1/cameras/door/picture", "/metrics"):  # fmt: skip
        assert locked.get(path).status_code == 401, path
    assert locked.patch("/v1/settings", json={}).status_code == 401
    assert locked.delete("/v1/people/x").status_code == 401
    assert locked.get("/").status_code == 200  # the page itself contains no data
    assert locked.get("/v1/session").json() == {
        "signed_in": False, "password_needed": True, "token": "", "who": "", "scopes": []
    }  # fmt: skip


@pytest.fixture
def scraped(hash):
    """As ``locked``, for a console that has a token for programs."""
    return TestClient(
        create_app(FakeService(), Access(PasswordCheck(hash), secure=False, metrics_token=TOKEN)), **REMOTE
    )


def test_a_program_with_the_token_reads_metrics_and_nothing_else(scraped):
    bearer = {"authorization": f"Bearer {TOKEN}"}
    assert scraped.get("/metrics", headers=bearer).text == "rkface_up 1\n"
    assert scraped.get("/v1/health", headers=bearer).status_code == 200
    for path in ("/v1/people", "/v1/settings", "/v1/events", "/v1/openapi.json", "/metrics/", "/v1/health/x"):
        assert scraped.get(path, headers=bearer).status_code == 403, path
    assert scraped.patch("/v1/settings", json={}, headers=bearer).status_code == 403
    assert scraped.post("/v1/health", headers=bearer).status_code == 403


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}0", f"Basic {TOKEN}", TOKEN, "Bearer é"]
)
def test_metrics_need_the_token(scraped, locked, header):
    headers = {"authorization": header.encode()}
    assert scraped.get("/metrics", headers=headers).status_code == 401
    assert locked.get("/metrics", headers=headers).status_code == 401  # without a token, an empty one is wrong too


def test_only_the_owner_may_read_the_token_and_it_is_long(tmp_path):
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_text(f"{TOKEN}\n")
    with serve(FakeService(), port=0, token_file=path) as address:
        assert httpx.get(f"{address}/metrics", trust_env=False).status_code == 200
    for mode in (0o640, 0o604):
        path.chmod(mode)
        with pytest.raises(InputError, match="chmod 600"), serve(FakeService(), port=0, token_file=path):
            pass
    path.chmod(0o600)
    for wrong in ("short", "", f"{TOKEN} {TOKEN}", f"{TOKEN}\n{TOKEN}"):
        path.write_text(wrong)
        with pytest.raises(InputError, match="openssl rand") as caught, serve(FakeService(), port=0, token_file=path):
            pass
        assert TOKEN not in str(caught.value)
    with (
        pytest.raises(InputError, match="cannot read the token file"),
        serve(FakeService(), port=0, token_file=tmp_path / "no"),
    ):
        pass


def test_the_configuration_sets_the_token_file(tmp_path):
    (tmp_path / "token").touch(mode=0o644)
    (tmp_path / "rkface.toml").write_text('gallery = "g.sqlite"\n[web]\nport = 0\ntoken_file = "token"\n')
    settings = read_settings(tmp_path / "rkface.toml")
    with ExitStack() as opened, pytest.raises(InputError, match="chmod 600"):
        open_entry(settings.web, opened)


def test_signing_in_and_out(locked):
    assert sign_in(locked, "wrong").status_code == 403
    answer = sign_in(locked, PASSWORD)
    assert answer.status_code == 200 and PASSWORD not in answer.text
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    assert locked.get("/v1/settings").status_code == 200
    assert locked.get("/metrics").text == "rkface_up 1\n"
    kept = dict(locked.cookies)
    assert locked.delete("/v1/session").status_code == 204
    locked.cookies.update(kept)
    assert locked.get("/v1/settings").status_code == 401  # the session has ended, not only the cookie


def test_over_tls_the_cookie_is_restricted_to_this_host_and_tls(hash):
    client = TestClient(
        create_app(FakeService(), Access(PasswordCheck(hash), secure=True)), base_url="https://board.local"
    )
    answer = sign_in(client, PASSWORD)
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-rkface=") and "Secure" in cookie and "Path=/" in cookie and "Domain" not in cookie


@pytest.mark.parametrize("token", [None, "", "guessed", "é"])
def test_pages_of_other_sites_change_nothing(locked, token):
    sign_in(locked, PASSWORD)
    right = locked.headers.pop("x-csrf-token")
    headers = {} if token is None else {"x-csrf-token": token.encode()}
    assert locked.patch("/v1/settings", json={"a": 1}, headers=headers).status_code == 403
    foreign = {"x-csrf-token": right, "origin": "http://evil.example"}
    assert locked.patch("/v1/settings", json={"a": 1}, headers=foreign).status_code == 403
    service = locked.app.state.service
    assert service.changed == []
    own = {"x-csrf-token": right, "origin": "http://board.local"}
    assert locked.patch("/v1/settings", json={"a": 1}, headers=own).status_code == 200 and len(service.changed) == 1


def test_pages_of_other_sites_cannot_sign_in(locked):
    answer = locked.post("/v1/session", json={"password": PASSWORD}, headers={"origin": "http://evil.example"})
    assert answer.status_code == 403 and "set-cookie" not in answer.headers


def test_the_token_of_one_session_is_wrong_in_another(hash):
    app = create_app(FakeService(), Access(PasswordCheck(hash), secure=False))
    first, second = TestClient(app, **REMOTE), TestClient(app, **REMOTE)
    sign_in(first, PASSWORD), sign_in(second, PASSWORD)
    stolen = {"x-csrf-token": first.headers["x-csrf-token"]}
    assert second.patch("/v1/settings", json={}, headers=stolen).status_code == 403


def test_guessing_passwords_is_slowed_down_for_that_address_only(locked):
    answers = [sign_in(locked, f"guess {number}").status_code for number in range(FREE_ATTEMPTS + 2)]
    assert answers == [403] * FREE_ATTEMPTS + [429] * 2
    refused = sign_in(locked, PASSWORD)  # the right password, too early
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
    other = TestClient(locked.app, client=("10.0.0.10", 5000), base_url="http://board.local")
    assert sign_in(other, PASSWORD).status_code == 200


def test_every_answer_has_the_security_headers_and_the_page_has_no_inline_code(locked):
    for path in ("/", "/static/app.js", "/v1/people", "/nowhere"):
        headers = locked.get(path).headers
        assert {name: headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS, path
    assert "unsafe" not in SECURITY_HEADERS["content-security-policy"]
    assert not re.search(r"<style|<script(?! type=.module. src=)|\s(on\w+|style)=", locked.get("/").text)
    assert locked.get("/v1/people").headers["cache-control"] == "no-store"


def test_the_files_of_the_page_are_sent_again_only_if_they_changed(locked):
    page = locked.get("/")
    assert "<html" in page.text and page.headers["content-type"] == "text/html; charset=utf-8"
    script = locked.get("/static/app.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert int(script.headers["content-length"]) == len(script.content)
    same = locked.get("/static/app.js", headers={"if-none-match": f'"other", {script.headers["etag"]}'})
    assert same.status_code == 304 and not same.content
    head = locked.head("/static/app.js")
    assert head.headers["content-length"] == script.headers["content-length"] and not head.content
    for path in ("/static/nothing.js", "/static/../serve.py", "/static/%2e%2e/serve.py", "/static//etc/passwd"):
        assert locked.get(path).status_code == 404, path


def test_a_body_that_is_too_large_is_refused_before_it_is_read():
    app = create_app(FakeService(), Access(None, secure=False))
    token = app.state.access.caller({}).csrf_token
    messages = []

    async def request(path, headers):
        async def receive():
            raise AssertionError("the body was read")

        async def send(message):
            messages.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "query_string": b"",
            "http_version": "1.1",
            "headers": [(b"host", b"localhost"), (b"x-csrf-token", token.encode()), *headers],
        }
        await app(scope, receive, send)
        return messages[-2]["status"]

    large = str(MAX_PHOTO_BODY + 1).encode()
    photo = "/v1/enrollments/photo"
    assert asyncio.run(request(photo, [(b"content-length", large)])) == 413
    assert asyncio.run(request("/v1/enrollments/seen", [(b"content-length", b"70000")])) == 413
    assert asyncio.run(request(photo, [(b"transfer-encoding", b"chunked")])) == 411
    assert asyncio.run(request(photo, [(b"content-length", b"10"), (b"transfer-encoding", b"chunked")])) == 411


@pytest.mark.parametrize("body", [b'{"\\ud800": 1}', b'{"door": ["\\ud800"]}', b'["\\ud800"]'])
def test_half_a_character_gets_an_error_message(body):
    class Strict(FakeService):
        def change_settings(self, values):
            raise InputError(f"unknown setting {values}")

    client = TestClient(create_app(Strict(), Access(None, secure=False)), base_url="http://localhost")
    sent = {"x-csrf-token": client.get("/v1/session").json()["token"], "content-type": "application/json"}
    answer = client.patch("/v1/settings", content=body, headers=sent)
    assert answer.status_code in (400, 422) and answer.json()["detail"]


def test_cookies_of_other_programs_do_not_hide_ours():
    headers = Headers({"cookie": 'prefs={"a":1}; rkface=secret; other=2'})
    assert Access(None, secure=False).session_secret(headers) == "secret"


def test_tls_and_password_end_to_end(tmp_path, certificate):
    write_password(tmp_path / "password", PASSWORD)
    files = (certificate / "ca", certificate / "key")
    with serve(FakeService(), "0.0.0.0", 0, password_file=tmp_path / "password", tls=files) as everywhere:
        address = everywhere.replace("0.0.0.0", "127.0.0.1")
        trusting = ssl.create_default_context(cafile=certificate / "ca")
        with browser_like(address, verify=trusting) as client:
            assert client.get("/v1/settings").status_code == 401
            assert sign_in(client, PASSWORD).status_code == 200
            assert client.get("/v1/settings").status_code == 200
    with (
        pytest.raises(InputError, match="not a PEM certificate and its key"),
        serve(FakeService(), port=0, tls=(tmp_path / "password", certificate / "key")),
    ):
        pass


@pytest.mark.parametrize("origin", ["http://evil.example", None])
def test_pages_of_other_sites_see_no_live_picture(address, origin):
    live = address.replace("http", "ws") + "/v1/cameras/door/live"
    if origin is None:  # a program, not a browser
        with sockets.connect(live, origin=address, proxy=None) as socket:
            socket.send("next")
            assert "present" in json.loads(socket.recv(timeout=30))
    else:
        with pytest.raises(InvalidStatus):
            sockets.connect(live, origin=origin, proxy=None)


def test_the_live_view_ends_on_sign_out(service, tmp_path):
    write_password(tmp_path / "password", PASSWORD)
    with serve(service, port=0, password_file=tmp_path / "password") as address:
        live = address.replace("http", "ws") + "/v1/cameras/door/live"
        with pytest.raises(InvalidStatus):
            sockets.connect(live, proxy=None)
        with browser_like(address) as client:
            sign_in(client, PASSWORD)
            cookie = {"cookie": "; ".join(f"{name}={value}" for name, value in client.cookies.items())}
            with sockets.connect(live, additional_headers=cookie, proxy=None) as socket:
                socket.send("next")
                socket.recv(timeout=30)
                client.delete("/v1/session")
                socket.send("next")
                with pytest.raises(ConnectionClosed):
                    while True:
                        socket.recv(timeout=30)
