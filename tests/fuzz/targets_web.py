"""Readers of runtime/web: whole HTTP requests, and the files with the password and the token."""

import asyncio
import functools
import tempfile
from pathlib import Path
from urllib.parse import unquote

import h11
from fuzz_target import Target

from rkface.runtime.core.errors import InputError
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.service import live_settings
from rkface.runtime.service.settings import Settings
from rkface.runtime.service.states import Health
from rkface.runtime.web.access import Access
from rkface.runtime.web.password import PasswordCheck, read_password, read_token
from rkface.runtime.web.serve import create_app

FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-web-"))
HASH = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$" + "A" * 43


class Failed(Exception):
    """The application answered with an error of its own."""


class Service:
    """A service with an empty gallery. It changes no settings, but checks them."""

    def __init__(self) -> None:
        self.gallery = Gallery(FOLDER / "gallery.sqlite", "0" * 64, create=True)
        self.cameras: dict[str, object] = {}
        self.appearances = self.erasure = self.enrollment = self
        self._live = live_settings.load_changes(Settings(gallery=FOLDER / "gallery.sqlite"))

    def settings(self) -> object:
        return self._live.list_settings()

    def change_settings(self, values: dict[str, object]) -> None:
        self._live.changed(values, 0.0)

    def health(self) -> Health:
        return Health(True, (), 0.0, "1", "reference", "tiny", True)

    def metrics(self) -> str:
        return "rkface_up 1\n"

    def newest(self, *_: object, **__: object) -> list[object]:
        return []

    stops = newest

    def face(self, *_: object) -> None:
        return None

    offered_face = alert_picture = face

    def offer_shots(self, *_: object) -> list[object]:
        return []

    def enroll_photo(self, *_: object, **__: object) -> None:
        raise InputError("not here")

    enroll_appearance = forget = delete = enroll_photo


@functools.cache
def application(password: bool):
    """Without a password, requests get further; with one, cookies are read and passwords compared."""
    access = Access(PasswordCheck(HASH) if password else None, secure=False, metrics_token="0" * 32)
    access._token = "fuzz"  # so that seeds can contain it
    return asyncio.new_event_loop(), create_app(Service(), access)


def read_request(data: bytes) -> object:
    """Read one request as the server does, and answer it. The first byte chooses the application."""
    loop, app = application(data[:1] == b"p")
    connection = h11.Connection(h11.SERVER)
    try:
        connection.receive_data(data[1:])
        event = connection.next_event()
        body, messages = bytearray(), []
        while isinstance(piece := connection.next_event(), h11.Data):
            body += piece.data
    except h11.RemoteProtocolError:
        return None
    if not isinstance(event, h11.Request):
        return None
    path, _, query = event.target.partition(b"?")
    scope = {
        "type": "http", "http_version": "1.1", "method": event.method.decode("ascii"), "root_path": "",
        "path": unquote(path.decode("ascii")), "raw_path": path, "query_string": query, "scheme": "http",
        "headers": [(name.lower(), value) for name, value in event.headers], "state": {},
        "client": ("127.0.0.1", 5000), "server": ("127.0.0.1", 8080), "asgi": {"version": "3.0", "spec_version": "2.3"},
    }  # fmt: skip
    waiting = [{"type": "http.request", "body": bytes(body), "more_body": False}]

    async def receive() -> dict[str, object]:
        return waiting.pop() if waiting else {"type": "http.disconnect"}

    async def send(message: dict[str, object]) -> None:
        messages.append(message)

    if path.startswith(b"/v1/events"):  # it would go on
        return None
    loop.run_until_complete(app(scope, receive, send))
    body_text = b"".join(message.get("body", b"") for message in messages)
    if messages[0]["status"] >= 500 and b"not here" not in body_text:
        raise Failed(f"{messages[0]['status']} {body_text[:200]!r}")
    return messages


def request_seeds() -> list[bytes]:
    head = b"HTTP/1.1\r\nHost: localhost\r\nX-CSRF-Token: fuzz\r\nContent-Type: application/json\r\n"

    def post(method: bytes, path: bytes, body: bytes) -> bytes:
        return b"-%s %s %sContent-Length: %d\r\n\r\n%s" % (method, path, head, len(body), body)

    return [
        b"-GET /v1/people/x/face?sample=1 " + head + b"\r\n",
        b"-GET /v1/appearances?limit=5&before=1.5&person=&source=door " + head + b"\r\n",
        b"-GET /v1/alert-pictures/ab?expires=1780000000&signature=x " + head + b"\r\n",
        b"-GET /static/app.js " + head + b"If-None-Match: \"x\"\r\n\r\n",
        b"pGET /v1/health " + head + b"Authorization: Bearer 0\r\n\r\n",
        b"pGET /v1/session " + head + b"Cookie: a=b; rkface=c; rkface-browser=d.e\r\n\r\n",
        post(b"PATCH", b"/v1/settings", b'{"recognition.match": 0.5}'),
        post(b"PATCH", b"/v1/people/x", b'{"name": "Ada"}'),
        post(b"POST", b"/v1/people/x/merge", b'{"into": "y"}'),
        post(b"POST", b"/v1/appearances/delete", b'{"appearances": ["x", "y"]}'),
        b"-GET /v1/appearances?since=2026-11-29T00:00:00Z&until=1.5 " + head + b"\r\n",
        post(b"POST", b"/v1/people/x/split", b'{"name": "Ada", "samples": [1, 2]}'),
        post(b"POST", b"/v1/people/search", b'{"text": "ada", "limit": 2, "cursor": "WyJhZGEiLCAieCJd"}'),
        post(b"POST", b"/v1/enrollments/seen", b'{"name": "Ada", "appearance": "x", "force": true, "shots": ["a"]}'),
        post(b"POST", b"/v1/enrollments/photo?name=Ada&source=x", b"\xff\xd8\xff"),
        b"p" + post(b"POST", b"/v1/session", b'{"password": "guess"}')[1:],
        b"-DELETE /v1/people/x/samples/1 " + head + b"Origin: http://localhost\r\n\r\n",
    ]  # fmt: skip


def read_file(read, data: bytes) -> object:
    path = FOLDER / "secret"
    path.touch(mode=0o600)
    path.write_bytes(data)
    return read(path)


TARGETS = (
    Target("http-request", read_request, request_seeds, mutations=200),
    Target(
        "password-file", lambda data: read_file(read_password, data), lambda: [HASH.encode() + b"\n"], mutations=100
    ),
    Target("token-file", lambda data: read_file(read_token, data), lambda: [b"0123456789abcdef" * 2], mutations=50),
)
