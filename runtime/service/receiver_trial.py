"""A test message to a receiver of alerts: at once, past its outbox, so that the result is known."""

from __future__ import annotations

import secrets
import time

from ..core.errors import InputError, WorkError
from ..events import (
    Channel,
    LinesFile,
    OutgoingEvent,
    Push,
    ReceiverGoneError,
    RefusedError,
    UndeliveredError,
    Webhook,
    encode,
    make_test_event,
    publish_once,
    read_secret,
)
from ..events.homeassistant import Message, Topics
from .receivers import find_broker
from .settings import Settings


def testable_receivers(settings: Settings) -> list[str]:
    """Names of the receivers that can get a test message: all but stdout and the hub, whose state health shows."""
    return [name for name in settings.receivers if name not in ("stdout", "hub")]


def send_test_message(settings: Settings, name: str) -> None:
    """Send a test message (``rkface.test``) to the receiver ``name``, with the address and the secrets of ``settings``.

    It contains no person and no picture, waits for no other event, and is sent once. Takes up to half a minute. Raises
    InputError if there is no such receiver, or its settings cannot be used, and WorkError if the message did not get
    there.
    """
    if name not in (known := testable_receivers(settings)):
        there = f"there are {', '.join(known)}" if known else "none is configured"
        raise InputError(f"there is no receiver {name!r} that can be tested: {there}")
    event = OutgoingEvent(encode(make_test_event(name, settings.device, time.time())))
    try:
        if name == "mqtt" and (mqtt := settings.events.mqtt):
            topic = Topics(mqtt.prefix.strip("/"), settings.device).other
            # Not the name of the service, whose connection the broker would end.
            publish_once(find_broker(mqtt), f"rkface-test-{secrets.token_hex(4)}", Message(topic, event.body))
        else:
            _open(settings, name).deliver(event)
    except (UndeliveredError, RefusedError, ReceiverGoneError, OSError) as error:
        raise WorkError(f"{name} did not get the test message: {error}") from error


def _open(settings: Settings, name: str) -> Channel:
    """What sends events to the receiver ``name``, which is not the broker. Raises InputError."""
    webhook, file = settings.events.webhook, settings.events.file
    if name == "webhook" and webhook:
        return Webhook(webhook.url, read_secret(webhook.secret) if webhook.secret else "", ca=webhook.ca)
    if name == "file" and file:
        return LinesFile(file)
    try:
        return Push(read_secret(settings.notify[name.removeprefix("notify.")].url))
    except InputError as error:
        raise InputError(f"{name}.url: {error}") from error
