"""Clients that open many connections cannot keep others out of the console."""

import socket
import ssl
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from rkface.runtime.tracking.appearance import Appearance
from rkface.runtime.web import serve as serving
from rkface.runtime.web.connections import ConnectionLimit
from rkface.runtime.web.serve import serve

from .conftest import eventually
from .fake_service import FakeService

LARGE = 16 << 20  # bytes
OPEN_FILES = Path("/proc/self/fd")
INCOMPLETE = [
    b"",
    b"G",
    b"GET / HTTP/1.1\r\nhost: localhost\r\n",  # no request, or a part of its head
    b"POST /v1/session HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{",
]


def get_session(address, **options):
    return httpx.get(f"{address}/v1/session", trust_env=False, timeout=30, **options)


def place(address):
    return "127.0.0.1", int(address.rpartition(":")[2])


def read_large(client):
    """Whether the whole answer with the large file comes before the other side closes the connection."""
    received = 0
    with suppress(ConnectionError, ssl.SSLError):
        while received < LARGE and (part := client.recv(1 << 20)):
            received += len(part)
    return received >= LARGE


@pytest.fixture
def limits(monkeypatch):
    """The ConnectionLimit of each console that is served in this test."""
    made = []

    def noted(limit):
        made.append(ConnectionLimit(limit))
        return made[-1]

    monkeypatch.setattr(serving, "ConnectionLimit", noted)
    return made


@pytest.mark.parametrize("incomplete", INCOMPLETE)
def test_clients_that_send_no_whole_request_keep_nobody_out(monkeypatch, incomplete):
    monkeypatch.setattr(serving, "CONNECTIONS", 8)
    service = FakeService()
    with (
        serve(service, port=0) as address,
        ExitStack() as opened,
        httpx.stream("GET", f"{address}/v1/events", trust_env=False, timeout=30) as stream,
    ):
        lines = filter(None, stream.iter_lines())
        assert next(lines) == ": listening"
        idle = []
        for _ in range(3):
            idle += [opened.enter_context(socket.create_connection(place(address), timeout=30)) for _ in range(20)]
            for each in idle[-20:]:
                with suppress(ConnectionError):  # it was closed already
                    each.sendall(incomplete)
            assert get_session(address).status_code == 200
        with suppress(ConnectionResetError):
            assert idle[0].recv(1) == b"", "the connection that waited longest was closed"
        service.events.put(Appearance("a", "door", "start", None, 0.4, 1.0, 1.0, 0.0, (0, 0, 1, 1), 0.9, 0.8, 5))
        assert next(lines) == "event: appearance", "an answer in progress goes on"


def test_clients_that_never_finish_the_tls_handshake_keep_nobody_out(monkeypatch, certificate):
    """asyncio itself does not limit them: they would use up all file descriptors of the service."""
    monkeypatch.setattr(serving, "CONNECTIONS", 10)
    files, trusting = (certificate / "ca", certificate / "key"), ssl.create_default_context(cafile=certificate / "ca")
    with serve(FakeService(), port=0, tls=files) as address, ExitStack() as opened:
        before = len(list(OPEN_FILES.iterdir()))
        for _ in range(60):
            opened.enter_context(socket.create_connection(place(address), timeout=30))
        assert get_session(address, verify=trusting).status_code == 200
        eventually(lambda: len(list(OPEN_FILES.iterdir())) - before - 60 <= 10, "the oldest connections were closed")


@pytest.mark.parametrize("encrypted", [False, True])
def test_clients_that_do_not_read_the_answer_keep_nobody_out(monkeypatch, tmp_path, limits, certificate, encrypted):
    monkeypatch.setattr(serving, "CONNECTIONS", 4)
    monkeypatch.setattr(serving, "STATIC", tmp_path)
    (tmp_path / "large").write_bytes(bytes(LARGE))  # more than the buffers of the sockets can take
    files = (certificate / "ca", certificate / "key") if encrypted else None
    trusting = ssl.create_default_context(cafile=certificate / "ca")
    with serve(FakeService(), port=0, tls=files) as address, ExitStack() as opened:
        stalled = []
        for _ in range(4):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(30)
            client.connect(place(address))
            client = trusting.wrap_socket(client, server_hostname="127.0.0.1") if encrypted else client
            stalled.append(opened.enter_context(client))
            client.sendall(b"GET /static/large HTTP/1.1\r\nhost: localhost\r\n\r\n")
        (limit,) = limits
        eventually(lambda: sum(each.writing_since is not None for each in limit.connections) == 4, "all are stalled")
        assert get_session(address, verify=trusting).status_code == 200
        assert [read_large(client) for client in stalled].count(False) == 1, "only one was closed"


def test_when_every_connection_is_being_answered_a_new_one_is_refused(monkeypatch):
    monkeypatch.setattr(serving, "CONNECTIONS", 2)
    with serve(FakeService(), port=0) as address, ExitStack() as opened:
        streams = []
        for _ in range(2):
            stream = opened.enter_context(httpx.stream("GET", f"{address}/v1/events", trust_env=False, timeout=30))
            streams.append(stream.iter_lines())
            assert next(streams[-1]) == ": listening"
        for _ in range(3):
            assert get_session(address).status_code == 503


def test_a_connection_counts_from_its_last_answer(limits, monkeypatch):
    """A browser that keeps a connection open and uses it is not the first to be closed."""
    monkeypatch.setattr(serving, "CONNECTIONS", 3)
    with (
        serve(FakeService(), port=0) as address,
        httpx.Client(base_url=address, trust_env=False, timeout=30) as used,
        ExitStack() as opened,
    ):
        assert used.get("/v1/session").status_code == 200
        idle = [opened.enter_context(socket.create_connection(place(address), timeout=30)) for _ in range(2)]
        eventually(lambda: len(limits[0].connections) == 3, "all are open")
        first = limits[0].connections[0].socket
        assert used.get("/v1/session").status_code == 200
        idle.append(opened.enter_context(socket.create_connection(place(address), timeout=30)))
        assert idle[0].recv(1) == b""
        assert first.fileno() >= 0 and used.get("/v1/session").status_code == 200


def test_one_client_port_may_be_connected_to_two_addresses_of_the_board():
    limit = ConnectionLimit(8)
    with ExitStack() as opened:
        listening = opened.enter_context(socket.create_server(("0.0.0.0", 0)))
        port = listening.getsockname()[1]
        source = 0
        for host in ("127.0.0.1", "127.0.0.2"):
            client = opened.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.bind(("127.0.0.1", source))
            client.connect((host, port))
            source = client.getsockname()[1]
            limit.add(opened.enter_context(listening.accept()[0]))
        assert len(limit.connections) == 2


def test_a_stopped_console_answers_nobody(service):
    with (
        serve(service, port=0) as address,
        httpx.Client(trust_env=False) as client,
        client.stream("GET", f"{address}/v1/events", timeout=30) as stream,
    ):
        assert next(stream.iter_lines()) == ": listening"
        # Leaving the block with an open stream does not hang.
    with pytest.raises(httpx.ConnectError):
        httpx.get(address, trust_env=False)
