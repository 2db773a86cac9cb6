"""The interfaces of event delivery: a sink takes events from the service, a channel hands them to one receiver."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from .event import OutgoingEvent


class UndeliveredError(Exception):
    """The receiver did not get the event: try again, ``after`` seconds or later."""

    def __init__(self, message: str, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after


class RefusedError(Exception):
    """The receiver will never accept this event: continue with the next one."""


class ReceiverGoneError(Exception):
    """The receiver wants no more events. Nothing is sent until rkface is started again."""


class Channel(Protocol):
    """The connection to one receiver. One thread uses it. Besides the errors above, OSError means: try again."""

    def maintain(self, wake: Callable[[], None]) -> bool | None:
        """Keep the connection open, and overwrite what ``withdraw`` requested. The channel calls ``wake``, from any
        thread, when the connection breaks or there is something to withdraw. Returns whether the receiver is connected;
        None if this channel keeps no connection."""

    def withdraw(self, people: Collection[str]) -> bool:
        """Have the next ``maintain`` overwrite the data about ``people`` (ids of the gallery) that the receiver stores,
        as far as this channel can change it. Any thread may call it. Returns False if this channel can never change
        any."""

    def deliver(self, event: OutgoingEvent) -> None:
        """Hand over one event. When this returns, the receiver has it."""

    def close(self) -> None:
        """Close the connection, within a few seconds."""


class Sink(Protocol):
    """Anything that takes events from the service: a ``Delivery`` or a test's replacement for one."""

    def send(self, event: Mapping[str, Any]) -> None: ...
    def forget(self, people: Mapping[str, float]) -> None: ...
    def wait_until_erased(self, timeout: float) -> bool: ...
    def wait_until_told(self, timeout: float) -> bool: ...
    def state(self) -> SinkState: ...
    def close(self, timeout: float) -> None: ...


@dataclass(frozen=True)
class SinkState:
    """What the health page and the metrics report about a sink.

    queued     events that wait, on disk and in memory, including requests to delete a person
    sent       events delivered since the start
    dropped    events lost since the start: no room, too old, unreadable, or not expressible as JSON
    refused    events that the receiver will never accept
    retries    attempts that failed
    connected  whether the last attempt succeeded; None before the first one
    error      the last problem, also when later attempts succeeded; never contains a secret
    """

    name: str
    queued: int
    sent: int
    dropped: int
    refused: int
    retries: int
    connected: bool | None
    error: str
