"""A test message to a receiver of alerts: at once, past its outbox, so that the result is known."""

from __future__ import annotations

import secrets
import time
from contextlib import ExitStack
from typing import Any

from ..core.errors import InputError, WorkError
from ..core.picture_kind import PictureKind
from ..events import (
    Channel,
    LinesFile,
    OutgoingEvent,
    PictureStore,
    ReceiverGoneError,
    RefusedError,
    UndeliveredError,
    encode,
    make_test_event,
    read_secret,
)
from ..events.homeassistant import Message, Topics
from ..events.mqtt_connection import publish_once
from ..events.push import Push
from ..events.webhook import Webhook
from .alert_pictures import encode_jpeg
from .receivers import find_broker, open_links, open_pictures
from .sample_picture import draw_sample
from .settings import Settings


def testable_receivers(settings: Settings) -> list[str]:
    """Names of the receivers that can get a test message: all but stdout and the hub, whose state health shows."""
    return [name for name in settings.receivers if name not in ("stdout", "hub")]


def send_test_message(settings: Settings, name: str) -> None:
    """Send a test message (``rkface.test``) to the receiver ``name``, with the address and the secrets of ``settings``.

    It contains no person, waits for no other event, and is sent once. A receiver that gets pictures with alerts gets a
    drawn one, on the same way. Takes up to half a minute. Raises InputError if there is no such receiver, or its
    settings cannot be used, and WorkError if the message did not get there.
    """
    if name not in (known := testable_receivers(settings)):
        there = f"there are {', '.join(known)}" if known else "none is configured"
        raise InputError(f"there is no receiver {name!r} that can be tested: {there}")
    with ExitStack() as opened:
        kind = _picture_kind(settings, name)
        pictures = open_pictures(settings, opened) if kind != "none" else None
        picture = _store_sample(pictures, kind) if pictures else None
        try:
            _send(settings, name, picture, pictures)
        except (UndeliveredError, RefusedError, ReceiverGoneError, OSError) as error:
            raise WorkError(f"{name} did not get the test message: {error}") from error


def _send(settings: Settings, name: str, picture: dict[str, Any] | None, pictures: PictureStore | None) -> None:
    mqtt, messages = settings.events.mqtt, list[Message]()
    if name == "mqtt" and mqtt:
        topics = Topics(mqtt.prefix.strip("/"), settings.device)
        if picture and pictures and (image := pictures.jpeg(picture["id"])):
            picture = {**picture, "topic": topics.test_picture}
            messages = [Message(topics.test_picture, image)]
    event = encode(make_test_event(name, settings.device, time.time(), picture))
    if name == "mqtt" and mqtt:
        # Not the name of the service, whose connection the broker would end.
        client_id = f"rkface-test-{secrets.token_hex(4)}"
        publish_once(find_broker(mqtt), client_id, [*messages, Message(topics.other, event)])
    else:
        _open(settings, name, pictures).deliver(OutgoingEvent(event))


def _picture_kind(settings: Settings, name: str) -> PictureKind:
    """Which pictures the receiver ``name`` gets with alerts."""
    receivers = {"webhook": settings.events.webhook, "mqtt": settings.events.mqtt}
    receiver = receivers.get(name) or settings.notify.get(name.removeprefix("notify."))
    return receiver.picture if receiver else "none"


def _store_sample(pictures: PictureStore, kind: PictureKind) -> dict[str, Any] | None:
    """Store the sample picture, and return what an event says about it. It expires like those of alerts."""
    image = draw_sample(kind)
    jpeg = encode_jpeg(image)
    id = pictures.add(jpeg, "test", None) if jpeg else None
    height, width = image.shape[:2]
    return {"id": id, "kind": kind, "type": "image/jpeg", "width": width, "height": height} if id else None


def _open(settings: Settings, name: str, pictures: PictureStore | None) -> Channel:
    """What sends events to the receiver ``name``, which is not the broker. Raises InputError."""
    webhook, file = settings.events.webhook, settings.events.file
    if name == "webhook" and webhook:
        secret = read_secret(webhook.secret) if webhook.secret else ""
        return Webhook(webhook.url, secret, ca=webhook.ca, pictures=pictures, links=open_links(settings, pictures))
    if name == "file" and file:
        return LinesFile(file)
    try:
        return Push(read_secret(settings.notify[name.removeprefix("notify.")].url), pictures)
    except InputError as error:
        raise InputError(f"{name}.url: {error}") from error
