"""Clients that open many connections cannot keep others out of the console."""

import errno
import socket
import ssl
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from rkface.runtime.tracking.appearance import Appearance
from rkface.runtime.web import serve as serving
from rkface.runtime.web import server as web_server
from rkface.runtime.web.connections import ConnectedSocket, ConnectionLimit
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
    return httpx.get(f"{address}/v1/session", trust_env=False, timeout=30, **{"verify": False} | options)


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

    monkeypatch.setattr(web_server, "ConnectionLimit", noted)
    return made


@pytest.mark.parametrize("incomplete", INCOMPLETE)
def test_clients_that_send_no_whole_request_keep_nobody_out(monkeypatch, incomplete):
    monkeypatch.setattr(web_server, "CONNECTIONS", 8)
    service = FakeService()
    with (
        serve(service, port=0) as address,
        ExitStack() as opened,
        httpx.stream("GET", f"{address}/v1/events", trust_env=False, timeout=30, verify=False) as stream,
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
    monkeypatch.setattr(web_server, "CONNECTIONS", 10)
    files, trusting = (certificate / "ca", certificate / "key"), ssl.create_default_context(cafile=certificate / "ca")
    with serve(FakeService(), port=0, tls=files) as address, ExitStack() as opened:
        before = len(list(OPEN_FILES.iterdir()))
        for _ in range(60):
            opened.enter_context(socket.create_connection(place(address), timeout=30))
        assert get_session(address, verify=trusting).status_code == 200
        eventually(lambda: len(list(OPEN_FILES.iterdir())) - before - 60 <= 10, "the oldest connections were closed")


@pytest.mark.slow
@pytest.mark.parametrize("encrypted", [False, True])
def test_clients_that_do_not_read_the_answer_keep_nobody_out(monkeypatch, tmp_path, limits, certificate, encrypted):
    monkeypatch.setattr(web_server, "CONNECTIONS", 4)
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
    monkeypatch.setattr(web_server, "CONNECTIONS", 2)
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
    monkeypatch.setattr(web_server, "CONNECTIONS", 3)
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


class Accepted:
    """An accepted connection from ``host``, as ConnectionLimit sees it."""

    def __init__(self, host, port):
        self.peer, self.closed, self.unread = (host, port), False, False

    def getpeername(self):
        return self.peer

    def getsockname(self):
        return ("192.0.2.1", 8080)

    def recv(self, *_):
        if not self.unread:
            raise BlockingIOError
        return b"G"

    def fileno(self):
        return -1 if self.closed else 3

    def shutdown(self, _):
        self.closed = True


def test_a_client_with_many_connections_makes_room_for_the_others():
    """Of its own connections, and its newest stay: nobody who opens many crowds out somebody who opens few."""
    now = [0.0]
    limit = ConnectionLimit(10, lambda: now[0])

    def connect(host, port):
        now[0] += 1
        limit.add(one := Accepted(host, port))
        return one

    few = [connect("10.0.0.1", 1), connect("2001:db8::1", 1), connect("fe80::1%2", 1), connect("fe80::1%3", 1)]
    many = [connect(host, port) for port in range(100) for host in ("10.0.0.9", "::ffff:10.0.0.9")]
    assert not any(one.closed for one in few), "although they have waited longest"
    assert [one.closed for one in many].count(False) == 6 and not any(one.closed for one in many[-6:])
    more = [connect("10.0.0.1", port) for port in range(2, 4)]
    assert not any(one.closed for one in few + more)


def test_a_client_whose_request_the_server_has_not_read_yet_is_not_slow():
    limit = ConnectionLimit(4, lambda: 0.0)
    connections = [Accepted("10.0.0.1", port) for port in range(5)]
    connections[0].unread = connections[1].unread = True
    for one in connections:
        limit.add(one)
    assert [one.closed for one in connections] == [False, False, True, False, False]


def test_a_link_local_client_is_told_apart_by_its_interface(monkeypatch):
    """Python's getpeername() has the interface as a number, and ASGI has no place for it."""
    peer = ("fe80::1", 5000, 0, 3)
    monkeypatch.setattr(socket.socket, "getpeername", lambda _: peer)
    with ConnectedSocket(socket.AF_INET6) as link_local:
        assert link_local.getpeername() == ("fe80::1%3", 5000, 0, 3)
        peer = ("2001:db8::1", 5000, 0, 0)
        assert link_local.getpeername() == peer


def test_without_file_descriptors_new_connections_wait_and_the_log_says_so_once(monkeypatch, caplog):
    monkeypatch.setattr("asyncio.constants.ACCEPT_RETRY_DELAY", 0.05)
    attempts, ports = [], []

    def accept(listener):
        # Only this server's: a server that another test has left may have a connection waiting.
        if exhausted and listener.getsockname()[1] in ports:
            attempts.append(1)
            raise OSError(errno.EMFILE, "Too many open files")
        return accept_one(listener)

    accept_one, exhausted = socket.socket.accept, True
    monkeypatch.setattr(socket.socket, "accept", accept)
    with serve(FakeService(), port=0) as address:
        ports.append(place(address)[1])
        used, started = time.process_time(), time.monotonic()
        with socket.create_connection(place(address), timeout=30) as client:
            client.sendall(b"GET /v1/session HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            eventually(lambda: len(attempts) > 5, "asyncio tries again")
            # Without a pause, there would be thousands of attempts.
            assert len(attempts) <= 2 + (time.monotonic() - started) / 0.05
            exhausted = False
            assert client.recv(15).startswith(b"HTTP/1.1 200"), "it has waited"
            assert time.process_time() - used < 10
    assert [text for text in caplog.messages if "new connections wait" in text] == [
        "new connections wait: Too many open files"
    ]
    assert not any(record.exc_info for record in caplog.records)


@pytest.mark.slow
def test_a_process_with_few_file_descriptors_answers_honest_clients(tmp_path):
    """Slow clients take all that the console may have, which is a quarter: something is left for the rest."""
    program = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "from tests.runtime.web.fake_service import FakeService\n"
        "from rkface.runtime.web.serve import serve\n"
        "with serve(FakeService(), port=0) as address:\n"
        "    print(address, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    root = Path(__file__).parents[3]
    with (
        subprocess.Popen(
            [sys.executable, "-c", program], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        ) as process,
        ExitStack() as opened,
    ):  # fmt: skip
        address = process.stdout.readline().strip()
        for number in range(200):
            client = opened.enter_context(socket.create_connection(place(address), timeout=30))
            with suppress(ConnectionError):
                client.sendall(INCOMPLETE[number % len(INCOMPLETE)])
        for _ in range(5):
            assert get_session(address).status_code == 200
        opened.close()
        _, log = process.communicate()
    assert process.returncode == 0 and "Traceback" not in log and log.count("\n") < 5, log


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
