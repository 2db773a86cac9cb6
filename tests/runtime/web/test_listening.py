"""Where the console listens: before anything else starts, and with messages that say what to do."""

import errno
import os
import resource
import socket
import ssl
import subprocess
import sys
from argparse import ArgumentParser

import httpx
import pytest

from rkface.runtime.cli.run import run, run_settings
from rkface.runtime.core.errors import InputError
from rkface.runtime.web import listening
from rkface.runtime.web.listening import CONNECTIONS, FEWEST_CONNECTIONS, listen, most_connections
from rkface.runtime.web.serve import serve

from .fake_service import FakeService


def options(*arguments):
    parser = ArgumentParser()
    run(parser)
    return parser.parse_args(arguments)


@pytest.fixture
def taken():
    """A port that somebody else uses."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


@pytest.mark.slow
def test_a_taken_port_is_the_first_error_of_run(taken, tmp_path):
    """Before the bundle is even looked for, and before a camera or a receiver of events is opened."""
    command = [
        sys.executable,
        "-m",
        "rkface.runtime.cli.main",
        "run",
        "--bundle",
        "no-bundle",
        "--web-port",
        str(taken),
    ]
    ended = subprocess.run(
        [*command, "--gallery", "gallery.sqlite", "--camera", "-"],
        cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ended.returncode == 2 and not ended.stdout
    assert f"127.0.0.1:{taken}" in ended.stderr and "--web-port" in ended.stderr and "[web] port" in ended.stderr
    assert "Traceback" not in ended.stderr and "no-bundle" not in ended.stderr


def test_a_port_of_the_system_and_an_address_of_another_machine_are_explained(monkeypatch):
    with pytest.raises(InputError, match=r"does not have this address.*\[web\] host"):
        listen("192.0.2.1", 0)

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(listening.socket, "create_server", refuse)
    with pytest.raises(InputError, match=r"may not use port 80;.*--web-port.*such as 8080"):
        listen("127.0.0.1", 80)


@pytest.mark.parametrize(
    "host", ["no-such-host.invalid", "", "a" * 70, "a..b", "\0", "256.1.1.1", "\ud800", "fe80::1%no"]
)
def test_an_unknown_host_is_explained(host):
    with pytest.raises(InputError, match=r"\[web\] host"):
        listen(host, 0)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_two_colons_are_every_address_of_this_machine():
    with listen("::", 0) as listener:
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, listener.getsockname()[1]), timeout=30).close()


def test_run_has_an_option_for_the_port(tmp_path, capsys):
    (tmp_path / "rkface.toml").write_text("[web]\nport = 9000\nenabled = false\n")
    file = ["--config", str(tmp_path / "rkface.toml"), "--camera", "-"]
    assert run_settings(options(*file)).web.port == 9000
    chosen = run_settings(options(*file, "--web-port", "0")).web
    assert (chosen.port, chosen.enabled) == (0, True)
    with pytest.raises(InputError, match="contradict"):
        run_settings(options(*file, "--web-port", "8081", "--no-web"))
    for wrong, says in (("65536", "0 to 65535"), ("-1", "0 to 65535"), ("http", "0 to 65535"), ("9" * 5000, "digits")):
        with pytest.raises(SystemExit):
            options("--web-port", wrong)
        assert says in capsys.readouterr().err


def test_a_failed_start_leaves_the_port_free():
    with pytest.raises(KeyError), serve(FakeService(), port=0) as address:
        port = int(address.rpartition(":")[2])
        raise KeyError
    listen("127.0.0.1", port).close()


def test_cameras_and_files_keep_file_descriptors(monkeypatch):
    for files, expected in (
        (64, 16),
        (16, FEWEST_CONNECTIONS),
        (1024, CONNECTIONS),
        (resource.RLIM_INFINITY, CONNECTIONS),
    ):
        monkeypatch.setattr(listening.resource, "getrlimit", lambda _, files=files: (files, files))
        assert most_connections() == expected


def test_a_failed_handshake_is_one_line_in_the_log(certificate, caplog):
    files = (certificate / "ca", certificate / "key")
    with serve(FakeService(), port=0, tls=files) as address:
        place = ("127.0.0.1", int(address.rpartition(":")[2]))
        for _ in range(5):
            with socket.create_connection(place, timeout=30) as plain:
                plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
                plain.settimeout(30)
                assert not plain.recv(100).startswith(b"HTTP")
        trusting = ssl.create_default_context(cafile=certificate / "ca")
        assert httpx.get(f"{address}/v1/health", verify=trusting, trust_env=False, timeout=30).status_code == 200
    assert len(caplog.messages) < 6 and not any(record.exc_info for record in caplog.records)


# What `rkface run` has imported when its cameras run, and what a client hears who connected while the models loaded.
STARTED = """
import socket, sys, threading
from rkface.runtime.cli.main import main
from rkface.runtime.service.service import Service
from rkface.runtime.web import entry

clients, enter, listen = [], Service.__enter__, entry.listen

def listening_port(*place):
    place = listen(*place)
    clients.append(socket.create_connection(place.getsockname(), timeout=30))
    clients[0].sendall(b"GET /v1/health HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\nConnection: close\\r\\n\\r\\n")
    return place

def entered(service):
    enter(service)
    print([one.name for one in threading.enumerate() if "camera" in one.name], file=sys.stderr)
    print(sorted({"fastapi", "starlette", "uvicorn", "pydantic"} & sys.modules.keys()), file=sys.stderr)
    threading.Thread(target=answered, args=(service,)).start()
    return service

def answered(service):
    print(clients[0].makefile("rb").readline().decode().strip(), file=sys.stderr)
    service.stop()

Service.__enter__ = entered
entry.listen = listening_port
sys.exit(main(["run", *sys.argv[1:]]))
"""


@pytest.mark.slow
def test_cameras_run_before_the_web_framework_is_imported_and_early_clients_are_answered(bundle, tmp_path):
    command = [sys.executable, "-c", STARTED, "--bundle", bundle, "--backend", "reference", "--web-port", "0",
               "--gallery", tmp_path / "g.sqlite", "--camera", "-", "--quiet"]  # fmt: skip
    pictures, end = os.pipe()  # a camera that delivers nothing
    ended = subprocess.run(command, stdin=pictures, capture_output=True, text=True, check=False, timeout=120)
    os.close(pictures)
    os.close(end)
    assert ended.returncode == 0, ended.stderr
    cameras, frameworks, answer = ended.stderr.splitlines()
    assert "rkface-camera-" in cameras
    assert frameworks == "[]"
    assert answer == "HTTP/1.1 200 OK"
