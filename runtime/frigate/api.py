"""Requests to Frigate's HTTP API: snapshots, frames of recordings, and sub labels.

The paths are those of Frigate's documentation (docs.frigate.video/integrations/api). On port 5000 Frigate asks nobody
who it is; on port 8971 it wants a user and a password, and gives a cookie.
"""

from __future__ import annotations

import http.client
import json
import threading
import urllib.error
import urllib.request
from http.cookies import CookieError, SimpleCookie
from logging import getLogger
from pathlib import Path
from typing import Any

from ..core.addresses import is_this_machine, split_address
from ..core.errors import InputError, WorkError
from ..core.trust import trust_only

MOST_BYTES = 32 << 20  # of an answer
TIMEOUT = 10.0  # seconds
COOKIE = "frigate_token"
LONGEST_NAME = 100  # characters of a sub label

log = getLogger("rkface.frigate")


class NotThereYetError(Exception):
    """Frigate does not have this, or not yet."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any) -> None:
        """Another host must not get the cookie."""


class FrigateApi:
    """Frigate at ``url``, such as http://frigate:5000. Thread-safe. ``ca``: certificates to trust instead of the
    system's. Raises InputError for a wrong URL, and for certificates that cannot be read."""

    def __init__(self, url: str, user: str = "", password: str = "", ca: Path | None = None) -> None:
        parts = split_address(url, "the address of Frigate", ("http", "https"))
        if parts.username or parts.password:
            raise InputError("write the user and the password of Frigate with --user and --password, not into the URL")
        self._url = url.rstrip("/")
        self._user, self._password = user, password
        self._token = ""
        self._lock = threading.Lock()
        handlers: list[urllib.request.BaseHandler] = [_NoRedirects()]
        if ca is not None:
            if parts.scheme != "https":
                raise InputError("certificates are for https only: write --url https://…, or leave out --ca")
            handlers.append(urllib.request.HTTPSHandler(context=trust_only(ca)))
        self._opener = urllib.request.build_opener(*handlers)
        if password and parts.scheme == "http" and not is_this_machine(parts.hostname or ""):
            log.warning(
                "the password of Frigate goes over the network unencrypted: use https and port 8971, with --ca if "
                "Frigate's certificate is its own"
            )

    def snapshot(self, event: str, *, ended: bool) -> bytes:
        """The best picture of ``event``, without boxes and times drawn into it if Frigate has it so. Raises
        NotThereYetError, and WorkError if Frigate cannot be reached or refuses."""
        if ended:
            for name in ("snapshot-clean.webp", "snapshot-clean.png"):
                try:
                    return self._get(f"/api/events/{event}/{name}")
                except NotThereYetError:
                    continue
        return self._get(f"/api/events/{event}/snapshot.jpg?bbox=0&timestamp=0&crop=0&quality=95")

    def recorded_frame(self, camera: str, time: float) -> bytes:
        """The frame of the recording of ``camera`` at ``time`` (seconds since 1970), in the size of the recording.
        Raises as ``snapshot``."""
        return self._get(f"/api/{camera}/recordings/{time:.6f}/snapshot.png")

    def set_sub_label(self, event: str, name: str, score: float, camera: str) -> None:
        """Write ``name`` into ``event``, with ``score`` in 0 to 1. Raises as ``snapshot``."""
        body = {
            "subLabel": name[:LONGEST_NAME],
            "subLabelScore": round(min(max(score, 0.001), 1.0), 3),
            "camera": camera,
        }
        self._request(f"/api/events/{event}/sub_label", json.dumps(body).encode())

    def _get(self, path: str) -> bytes:
        return self._request(path, None)

    def _request(self, path: str, body: bytes | None) -> bytes:
        try:
            return self._send(path, body)
        except urllib.error.HTTPError as error:
            if error.code != 401 or not self._user:
                raise _explain(error) from error
        self._sign_in()
        try:
            return self._send(path, body)
        except urllib.error.HTTPError as error:
            raise _explain(error) from error

    def _send(self, path: str, body: bytes | None) -> bytes:
        request = urllib.request.Request(self._url + path, body)
        request.add_header("Content-Type", "application/json")
        if self._token:
            request.add_header("Cookie", f"{COOKIE}={self._token}")
        try:
            with self._opener.open(request, timeout=TIMEOUT) as answer:
                content: bytes = answer.read(MOST_BYTES + 1)
        except urllib.error.HTTPError:
            raise
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise WorkError(f"Frigate cannot be reached: {getattr(error, 'reason', error)}") from error
        if len(content) > MOST_BYTES:
            raise WorkError(f"Frigate's answer has more than {MOST_BYTES >> 20} MB")
        return content

    def _sign_in(self) -> None:
        with self._lock:
            body = json.dumps({"user": self._user, "password": self._password}).encode()
            request = urllib.request.Request(f"{self._url}/api/login", body)
            request.add_header("Content-Type", "application/json")
            try:
                with self._opener.open(request, timeout=TIMEOUT) as answer:
                    found = SimpleCookie(answer.headers.get("Set-Cookie", ""))
            except urllib.error.HTTPError as error:
                raise WorkError("Frigate refuses the user or the password") from error
            except (OSError, ValueError, http.client.HTTPException, CookieError) as error:
                raise WorkError(f"Frigate cannot be reached: {getattr(error, 'reason', error)}") from error
            if COOKIE not in found:
                raise WorkError("Frigate accepted the password, but gave no cookie: is this Frigate's port 8971?")
            self._token = found[COOKIE].value


def _explain(error: urllib.error.HTTPError) -> Exception:
    if error.code in (404, 425):
        return NotThereYetError()
    if error.code in (401, 403):
        return WorkError("Frigate wants a user with the role admin: give --user and --password, or use port 5000")
    return WorkError(f"Frigate answered {error.code}")
