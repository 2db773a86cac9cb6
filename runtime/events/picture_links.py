"""Links to the pictures of alerts: signed, and they expire. Anyone who has a link can see the picture, without a
password.

``ADDRESS/v1/alert-pictures/ID?expires=SECONDS&signature=TEXT``: the signature is the HMAC-SHA256, under a random secret
of this gallery, of ``ID.SECONDS``, as base64 for URLs. It does not depend on the address, so proxies may change that.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

PATH = "/v1/alert-pictures/"
ADJUSTED = 60.0  # seconds by which a time server may set the clock back after a link was made


@dataclass(frozen=True)
class PictureLinks:
    """Makes and checks links. ``key``: the secret. ``address``: that of the console, for others. ``seconds``: how long
    a link works. ``wall``: the clock, in seconds since 1970."""

    key: bytes = field(repr=False)
    address: str
    seconds: float
    wall: Callable[[], float] = time.time

    def describe(self, id: str) -> dict[str, Any]:
        """What an alert says about the link to the picture ``id``: ``url``, and when it ``expires`` (seconds since
        1970)."""
        expires = int(self.wall() + self.seconds)
        signature = sign_link(self.key, id, expires)
        url = f"{self.address.rstrip('/')}{PATH}{id}?expires={expires}&signature={signature}"
        return {"url": url, "expires": expires}

    def is_valid(self, id: str, expires: int, signature: str) -> bool:
        """Whether these parts of a link are ours, and it has not expired."""
        good = hmac.compare_digest(sign_link(self.key, id, expires).encode(), signature.encode(errors="replace"))
        return good and self.wall() < expires <= self.wall() + self.seconds + ADJUSTED


def sign_link(key: bytes, id: str, expires: int) -> str:
    """The signature of the link to the picture ``id``."""
    digest = hmac.new(key, f"{id}.{expires}".encode(errors="replace"), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
