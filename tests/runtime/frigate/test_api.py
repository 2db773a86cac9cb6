"""How Frigate is reached: with its own certificate, and with a warning before a password goes over a network."""

import ssl
import threading
from http.server import ThreadingHTTPServer

import pytest

from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.frigate.api import FrigateApi

from .conftest import EVENT, FakeFrigate, Handler

WARNING = "unencrypted"


@pytest.fixture
def secure(certificate):
    """A Frigate that asks for a password over https, with a certificate of its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "ca", certificate / "key")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.frigate = FakeFrigate({(EVENT, "snapshot"): b"a picture"}, password="right")
        server.frigate.url = f"https://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.frigate
        server.shutdown()


def test_its_own_certificate_is_trusted_only_on_request(secure, certificate, caplog):
    api = FrigateApi(secure.url, "rkface", "right", certificate / "ca")
    assert api.snapshot(EVENT, ended=False) == b"a picture"
    with pytest.raises(WorkError, match="certificate verify failed"):
        FrigateApi(secure.url, "rkface", "right").snapshot(EVENT, ended=False)
    assert WARNING not in caplog.text


def test_wrong_certificates_are_refused_at_the_start(tmp_path):
    (tmp_path / "ca").write_text("no certificate")
    with pytest.raises(InputError, match="not a file of certificates"):
        FrigateApi("https://nvr:8971", ca=tmp_path / "ca")
    with pytest.raises(InputError, match="certificates are for https only"):
        FrigateApi("http://nvr:5000", ca=tmp_path / "ca")


@pytest.mark.parametrize(
    ("url", "password", "warned"),
    [
        ("http://nvr:8971", "x", True),
        ("http://127.0.0.1:8971", "x", False),
        ("http://nvr:5000", "", False),
        ("https://nvr:8971", "x", False),
    ],
)
def test_a_password_over_plain_http_is_warned_about(url, password, warned, caplog):
    FrigateApi(url, "rkface", password)
    assert (WARNING in caplog.text) == warned
