"""What events are, and what passes between a sink and where it delivers to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from .spool import Record


class UndeliveredError(Exception):
    """Try again, not before ``after`` seconds."""

    def __init__(self, message: str, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after


class RefusedError(Exception):
    """This event will never be taken: go on with the next."""


class GoneError(Exception):
    """Nothing will be taken any more, until rkface is started again."""


class Channel(Protocol):
    """Where events are delivered to. One thread uses it. Beside the errors above, OSError means: try again."""

    def keep(self, lost: Callable[[], None]) -> bool | None:
        """See to the connection, and to what ``forget`` asked for; ``lost`` is to be called, by any thread, when
        the one breaks or there is news for the other. None: it keeps none."""

    def forget(self, people: Collection[str]) -> bool:
        """Any thread: the next ``keep`` takes back what the other side keeps of ``people``, ids of the gallery. False:
        it keeps nothing that could be taken back."""

    def deliver(self, record: Record) -> None:
        """On return the other side has it."""

    def close(self) -> None:
        """Take leave, within a few seconds."""


class Sink(Protocol):
    """What takes events: a ``Delivery``, or whatever else a service sends them to."""

    def send(self, event: Mapping[str, Any]) -> None: ...
    def forget(self, people: Mapping[str, float]) -> None: ...
    def forgotten(self, timeout: float) -> bool: ...
    def told(self, timeout: float) -> bool: ...
    def state(self) -> SinkState: ...
    def close(self, timeout: float) -> None: ...


@dataclass(frozen=True)
class SinkState:
    """For health page and metrics.

    queued     events that wait, on disk and in memory, and those that say who is forgotten
    sent       events delivered since the start
    dropped    events lost since the start: no room, too old, unreadable, or no JSON
    refused    events the other side will never take
    retries    tries that failed
    connected  whether the last try went well; None before the first
    error      what went wrong last, also when it has gone well since; never holds a secret
    """

    name: str
    queued: int
    sent: int
    dropped: int
    refused: int
    retries: int
    connected: bool | None
    error: str


def encode(event: Mapping[str, Any]) -> bytes:
    """JSON on one line. ``event`` is added: a digest of the content, by which receivers tell repetitions.

    ValueError or TypeError if it is no JSON.
    """
    plain = json.dumps(event, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return to_json({**event, "event": hashlib.sha256(plain.encode()).hexdigest()[:32]})


def without(body: bytes, people: Collection[str]) -> bytes:
    """The event ``body``; where it names one of ``people``, ids of the gallery, as that of somebody unknown. No longer
    than it was."""
    event = json.loads(body) if people else {}
    match = event.get("match") or {}
    if match.get("person") not in people:
        return body
    return encode({**{name: value for name, value in event.items() if name != "event"}, "match": None})


def to_json(value: Any) -> bytes:
    """In UTF-8, on one line. What is no character (Python's \\udcNN, an odd byte in a file's name) stays an escape."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(errors="backslashreplace")
