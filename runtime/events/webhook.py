"""Events over HTTP: one signed POST for each, as Standard Webhooks 1.0.0 specifies (standardwebhooks.com).

The libraries of that project (Python, Go, JavaScript, …) verify the signature. ``webhook-signature`` is ``v1,`` and the
base64 of the HMAC-SHA256, under the secret, of ``webhook-id.webhook-timestamp.body``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path

from ..core.addresses import check_http_address
from ..core.errors import InputError
from ..core.trust import trust_only
from .alert_picture import write_picture
from .channel import ReceiverGoneError, RefusedError, UndeliveredError
from .event import OutgoingEvent
from .picture_links import PictureLinks
from .picture_store import PictureStore

TOO_LARGE = 413
REFUSED = (400, 405, 406, 411, 413, 414, 415, 422)  # the same body would get the same answer again
LONGEST_AFTER = 3600.0  # seconds: the longest Retry-After that is obeyed
PREFIX = "whsec_"


class Webhook:
    """A ``Channel`` to a URL. ``secret``: as Standard Webhooks writes it, ``whsec_`` and base64 of 24 to 64 bytes;
    without a secret nothing is signed. ``timeout``: seconds for a whole exchange, also if the server sends slowly.
    ``ca``: certificates to trust instead of the system's. ``headers``: added to each request. ``pictures``: where the
    pictures of alerts are; with ``links``, an alert contains a link instead of the picture. ``wall``: the clock for the
    time stamp.

    An alert that is too large for the server is sent again without its picture. Only 2xx means success. The statuses in
    ``REFUSED`` refuse one event permanently, and 410 refuses all. After every other answer the event is sent again,
    also after redirects, which are never followed. Raises InputError if URL, secret, headers or certificates cannot be
    used.
    """

    def __init__(
        self,
        url: str,
        secret: str = "",
        *,
        timeout: float = 10.0,
        ca: Path | None = None,
        headers: Mapping[str, str] | None = None,
        pictures: PictureStore | None = None,
        links: PictureLinks | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        parts = check_http_address(url)
        self._host, self._port = parts.hostname or "", parts.port
        # The path of a URL may be a secret (Home Assistant's are), so messages contain only the part before it.
        self._place = f"{parts.scheme}://{parts.netloc}"
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._key = _key(secret) if secret else None
        self._timeout = timeout
        self._headers = dict(headers or {})
        for name, value in self._headers.items():
            if not (name + value).isascii() or not (name + value).isprintable():
                raise InputError(f"the webhook's header {name!r} contains characters that are not allowed in a header")
        self._pictures, self._links = pictures, links
        self._wall = wall
        self._tls = trust_only(ca) if parts.scheme == "https" else None

    def maintain(self, wake: Callable[[], None]) -> None:
        return None

    def withdraw(self, people: Collection[str]) -> bool:
        return False  # events that were sent belong to the receiver

    def close(self) -> None:
        pass

    def deliver(self, event: OutgoingEvent) -> None:
        identity = json.loads(event.body)["event"]
        body = write_picture(event.body, self._pictures, self._links)
        status, after = self._send(identity, body)
        if status == TOO_LARGE and body != (smaller := write_picture(event.body, None)):
            status, after = self._send(identity, smaller)
        said = f"{self._place} answered {status}"
        if 200 <= status < 300:
            return
        if status == 410:
            raise ReceiverGoneError(f"{said} (gone)")
        if status in REFUSED:
            raise RefusedError(said)
        raise UndeliveredError(said + (", a redirect, which is not followed" if 300 <= status < 400 else ""), after)

    def _send(self, identity: str, body: bytes) -> tuple[int, float]:
        """Send ``body``, signed now. The status, and the seconds of Retry-After."""
        now = str(int(self._wall()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "rkface",
            "Connection": "close",
            "webhook-id": identity,
            "webhook-timestamp": now,
            **self._headers,
        }
        if self._key is not None:
            headers["webhook-signature"] = sign(self._key, identity, now, body)
        return self._post(body, headers)

    def _post(self, body: bytes, headers: dict[str, str]) -> tuple[int, float]:
        """The status, and the seconds of Retry-After."""
        connection = (
            http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=self._tls)
            if self._tls
            else http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        )
        late = threading.Event()

        def abort() -> None:
            late.set()
            if connection.sock is not None:
                with suppress(OSError):
                    socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)

        # A socket's own timeout starts again with every byte that arrives.
        alarm = threading.Timer(self._timeout, abort)
        alarm.daemon = True
        alarm.start()
        try:
            connection.request("POST", self._target, body, headers)
            answer = connection.getresponse()
            if late.is_set():  # http.client mistakes our shutdown for the end of the headers
                raise TimeoutError
            after = answer.getheader("Retry-After", "")
            return answer.status, min(float(after), LONGEST_AFTER) if after.isdecimal() else 0.0
        except (OSError, http.client.HTTPException) as error:
            slow = late.is_set() or isinstance(error, TimeoutError)
            what = f"no answer within {self._timeout:g} s" if slow else str(error) or type(error).__name__
            raise UndeliveredError(f"{self._place}: {what}") from error
        finally:
            alarm.cancel()
            connection.close()


def sign(key: bytes, identity: str, timestamp: str, body: bytes) -> str:
    """Return the value of ``webhook-signature``."""
    digest = hmac.new(key, f"{identity}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(PREFIX) or not 24 <= len(key) <= 64:
        raise InputError(
            f"the webhook's secret must be {PREFIX} and the base64 of 24 to 64 bytes; make one with: "
            f'echo "{PREFIX}$(head -c 32 /dev/urandom | base64)"'
        )
    return key
