"""A fake Frigate, made from its public API documentation: its events, snapshots, recordings, sub labels and sign-in."""

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

EVENT = "1607123955.475377-mxklsc"


@dataclass
class FakeFrigate:
    """``snapshots`` and ``frames``: pictures by event, and by camera. ``late``: how often an event is not found yet.
    ``names``: what was written into events, in order. ``password``: None asks for none."""

    snapshots: dict = field(default_factory=dict)
    frames: dict = field(default_factory=dict)
    late: int = 0
    names: list = field(default_factory=list)
    password: str | None = None
    paths: list = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)
    url: str = ""

    def wait_for_names(self, count):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.names) >= count, 30), f"{self.names} {self.paths}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        frigate = self.server.frigate
        with frigate.changed:
            frigate.paths.append(self.path)
        if not self.signed_in():
            return self.answer(401)
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "events"]:
            picture = frigate.snapshots.get((parts[2], parts[3].split(".")[0]))
        else:
            picture = frigate.frames.get(parts[1]) if parts[2] == "recordings" else None
        return self.answer(200 if picture else 404, picture or b'{"success": false}')

    def do_POST(self):
        frigate = self.server.frigate
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/api/login":
            right = body == {"user": "rkface", "password": frigate.password}
            return self.answer(200 if right else 401, b"{}", {"Set-Cookie": "frigate_token=t0ken; HttpOnly; Path=/"})
        if not self.signed_in():
            return self.answer(401)
        with frigate.changed:
            if frigate.late:
                frigate.late -= 1
                return self.answer(404, b'{"success": false, "message": "Event not found."}')
            assert set(body) == {"subLabel", "subLabelScore", "camera"}
            assert len(body["subLabel"]) <= 100
            assert 0 < body["subLabelScore"] <= 1
            frigate.names.append((self.path, body["subLabel"], body["subLabelScore"]))
            frigate.changed.notify_all()
        return self.answer(200, b'{"success": true}')

    def signed_in(self):
        return self.server.frigate.password is None or self.headers.get("Cookie") == "frigate_token=t0ken"

    def answer(self, status, body=b"", headers=None):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def frigate():
    fake = FakeFrigate()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.frigate = fake
        fake.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield fake
        server.shutdown()


def message(type="new", id=EVENT, **after):
    """A message on frigate/events, with the fields of the documentation."""
    state = {
        "id": id, "camera": "front_door", "frame_time": 1607123962.08, "label": "person", "sub_label": None,
        "top_score": 0.95, "false_positive": False, "start_time": 1607123955.47, "end_time": None, "score": 0.87,
        "box": [432, 496, 544, 854], "has_snapshot": True, "has_clip": False, "stationary": False,
        "snapshot": {"frame_time": 1607123961.8, "box": [424, 500, 536, 712], "score": 0.77},
    } | after  # fmt: skip
    return json.dumps({"type": type, "before": state, "after": state}).encode()
