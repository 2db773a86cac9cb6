"""The webhook with servers that accept, refuse, redirect, answer slowly or are not running."""

import base64
import json
import logging
import re
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rkface.runtime.core.errors import InputError
from rkface.runtime.events import Backoff, Delivery, Outbox
from rkface.runtime.events.channel import ReceiverGoneError, RefusedError, UndeliveredError
from rkface.runtime.events.event import OutgoingEvent, encode
from rkface.runtime.events.webhook import Webhook, sign

from ...ports import free_port
from .world import PATIENCE, Log, event

AT_ONCE = Backoff(first=0.001, longest=0.002)
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
DOCS = Path(__file__).resolve().parents[3] / "docs/events.md"
RECORD = OutgoingEvent(encode(event(1)))


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, headers = self.server.answers.pop(0) if self.server.answers else (204, {})
        self.server.posts.add((self.path, dict(self.headers), body))
        if status == "never":
            self.server.left.wait(PATIENCE)
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_):
        pass


def start(port=0, context=None, answers=()):
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.answers, server.posts, server.left = list(answers), Log(), threading.Event()
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


@pytest.fixture
def server():
    server = start()
    yield server
    server.left.set()
    server.shutdown()
    server.server_close()


def url(server, path="/hook", scheme="http"):
    return f"{scheme}://127.0.0.1:{server.server_port}{path}"


@pytest.fixture(scope="module")
def documented_verify():
    code = re.search(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)[1]
    namespace = {}
    exec(code, namespace)
    return namespace["verify"]


def test_the_receiver_in_the_docs_verifies_it(server, documented_verify):
    Webhook(url(server, "/hook?a=1"), SECRET).deliver(RECORD)
    [(path, headers, body)] = server.posts.entries
    assert path == "/hook?a=1"
    assert body == RECORD.body
    assert headers["webhook-id"] == json.loads(body)["event"]
    assert headers["Content-Type"] == "application/json"
    assert documented_verify(SECRET, headers, body)
    assert not documented_verify(SECRET, headers, body.replace(b"Ada", b"Eva"))
    assert not documented_verify("whsec_" + base64.b64encode(bytes(32)).decode(), headers, body)
    late = str(int(headers["webhook-timestamp"]) + 400)
    assert not documented_verify(SECRET, {**headers, "webhook-timestamp": late}, body)


def test_a_replayed_request_is_refused_as_too_old(server, documented_verify):
    Webhook(url(server), SECRET, wall=lambda: time.time() - 400).deliver(RECORD)
    [(_, headers, body)] = server.posts.entries
    assert not documented_verify(SECRET, headers, body)


def test_the_signature_is_that_of_the_specification():
    # The example that the Standard Webhooks libraries share (made by Svix, whose scheme it was).
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(("status", "error"), [
    (200, None), (202, None), (204, None),
    (400, RefusedError), (413, RefusedError), (415, RefusedError), (422, RefusedError),
    (410, ReceiverGoneError),
    (301, UndeliveredError), (302, UndeliveredError), (307, UndeliveredError), (304, UndeliveredError),
    (401, UndeliveredError), (403, UndeliveredError), (404, UndeliveredError), (429, UndeliveredError),
    (500, UndeliveredError), (503, UndeliveredError),
])  # fmt: skip
def test_each_answer_has_its_own_meaning(server, status, error):
    server.answers = [(status, {})]
    if error is None:
        Webhook(url(server)).deliver(RECORD)
    else:
        with pytest.raises(error, match=str(status)):
            Webhook(url(server)).deliver(RECORD)


@pytest.mark.parametrize(("said", "seconds"), [("7", 7), ("1000000", 3600), ("Wed, 21 Oct 2026 07:28:00 GMT", 0)])
def test_retry_after_is_obeyed_up_to_an_hour(server, said, seconds):
    server.answers = [(503, {"Retry-After": said})]
    with pytest.raises(UndeliveredError) as caught:
        Webhook(url(server)).deliver(RECORD)
    assert caught.value.after == seconds


def test_a_redirect_is_not_followed(server):
    other = start()
    server.answers = [(status, {"Location": url(other)}) for status in (301, 302, 303, 307, 308)]
    webhook = Webhook(url(server), SECRET)
    for _ in range(5):
        with pytest.raises(UndeliveredError, match="redirect"):
            webhook.deliver(RECORD)
    assert other.posts.entries == []
    other.shutdown()  # otherwise its thread looks at a closed socket again and again, until the last test ends
    other.server_close()


def test_an_endpoint_that_is_down_then_refuses_then_answers_gets_all_in_order(tmp_path):
    port = free_port()
    webhook = Webhook(f"http://127.0.0.1:{port}/hook")
    tried = threading.Event()

    class Watched(Backoff):
        def seconds(self, failures):
            tried.set()
            return 0.01

    with Delivery("webhook", webhook, Outbox(tmp_path), Watched()) as sink:
        for number in range(5):
            sink.send(event(number))
        assert tried.wait(PATIENCE)
        assert sink.state().connected is False
        assert "refused" in sink.state().error
        server = start(port, answers=[(500, {}), (503, {}), (404, {})])
        posts = server.posts.wait_for(8)
    server.shutdown()
    server.server_close()
    numbers = [int(json.loads(body)["id"][2:]) for _, _, body in posts]
    assert numbers == [0, 0, 0, 0, 1, 2, 3, 4]
    assert len({headers["webhook-id"] for _, headers, _ in posts[:4]}) == 1  # by which the receiver knows it again


def test_a_server_that_never_answers_delays_nobody(server, tmp_path):
    server.answers = [("never", {})]
    with Delivery("webhook", Webhook(url(server), timeout=0.2), Outbox(tmp_path), AT_ONCE) as sink:
        for number in range(5):
            sink.send(event(number))
        server.posts.wait_for(1)
        assert sink.flush(PATIENCE)
        server.posts.wait_for(6)
    assert "no answer within 0.2 s" in sink.state().error


def test_a_server_that_dribbles_is_given_no_more_time():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()

        def dribble():
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                while not stop.wait(0.01):  # each byte comes well within the timeout
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        return

        threading.Thread(target=dribble, daemon=True).start()
        with pytest.raises(UndeliveredError, match=r"no answer within 0\.2 s"):
            Webhook(f"http://127.0.0.1:{listener.getsockname()[1]}/", timeout=0.2).deliver(RECORD)
        stop.set()


def test_nonsense_for_an_answer_is_tried_again():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"\x00\xff what?\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(UndeliveredError):
            Webhook(f"http://127.0.0.1:{listener.getsockname()[1]}/", timeout=PATIENCE).deliver(RECORD)


def test_tls_is_verified(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "ca", certificate / "key")
    server = start(context=context)
    with pytest.raises(UndeliveredError, match="certificate verify failed"):
        Webhook(url(server, scheme="https")).deliver(RECORD)
    assert server.posts.entries == []
    with pytest.raises(UndeliveredError, match="certificate"):  # trusted, but not for this name
        Webhook(f"https://localhost:{server.server_port}/", ca=certificate / "ca").deliver(RECORD)
    Webhook(url(server, scheme="https"), ca=certificate / "ca").deliver(RECORD)
    assert len(server.posts.entries) == 1
    server.shutdown()
    server.server_close()


def test_no_secret_reaches_logs_or_state(server, caplog, tmp_path):
    caplog.set_level(logging.DEBUG)
    server.answers = [(500, {}), (400, {}), (302, {"Location": "http://127.0.0.1:1/"})]
    with Delivery("webhook", Webhook(url(server, "/api/webhook/hush"), SECRET), Outbox(tmp_path), AT_ONCE) as sink:
        sink.send(event(1))
        sink.send(event(2))
        server.posts.wait_for(4)
    said = caplog.text + repr(sink.state())
    assert "500" in said
    for secret in ("hush", SECRET[6:], "Ada"):
        assert secret not in said


@pytest.mark.parametrize("wrong", ["hook.example.com", "ftp://example.com/", "http://", "https://me:pass@example.com/",
                                   "http://example.com:99999/", "http://example.com/a b", "http://tür.example.com/",
                                   "http://example.com/\r\nX: y"])  # fmt: skip
def test_a_url_that_cannot_be_is_wrong_input(wrong):
    with pytest.raises(InputError) as caught:
        Webhook(wrong)
    assert "pass" not in str(caught.value).replace("password", "")


@pytest.mark.parametrize("wrong", ["hunter2", "whsec_hunter2", "whsec_" + base64.b64encode(bytes(8)).decode()])
def test_a_weak_secret_is_wrong_input_and_is_not_repeated(wrong):
    with pytest.raises(InputError, match="whsec_") as caught:
        Webhook("https://example.com/", wrong)
    assert wrong not in str(caught.value)


def test_a_header_that_cannot_be_is_wrong_input_and_is_not_repeated():
    with pytest.raises(InputError, match="Authorization") as caught:
        Webhook("https://example.com/", headers={"Authorization": "Bearer hush\r\n"})
    assert "hush" not in str(caught.value)


def test_headers_of_the_receivers_own_are_sent(server):
    Webhook(url(server), headers={"Authorization": "Bearer hush"}).deliver(RECORD)
    [(_, headers, _)] = server.posts.entries
    assert headers["Authorization"] == "Bearer hush"


def test_a_file_that_contains_no_certificates_is_wrong_input(tmp_path):
    (tmp_path / "ca").write_text("hello")
    with pytest.raises(InputError, match="PEM"):
        Webhook("https://example.com/", ca=tmp_path / "ca")
