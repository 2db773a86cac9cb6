"""Where the settings say that events go, opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from .events import Broker, Delivery, LinesFile, LinesStream, Mqtt, Spool, Webhook, read_secret
from .settings import MqttSettings, Settings

GRACE = 5.0  # seconds that a sink may go on delivering when the service ends; the rest waits in its spool


def open_sinks(settings: Settings, opened: ExitStack) -> list[Delivery]:
    """The sinks of ``settings.events``, closed with ``opened``. Spools lie beside the gallery. InputError for secrets,
    certificates and addresses that cannot be used."""
    return [opened.enter_context(sink) for sink in _sinks(settings)]


def _sinks(settings: Settings) -> Iterator[Delivery]:
    told = settings.events
    if told.stdout:
        yield Delivery("stdout", LinesStream())
    if told.file:
        yield Delivery("file", LinesFile(told.file))
    if told.webhook:
        secret = read_secret(told.webhook.secret) if told.webhook.secret else ""
        yield Delivery("webhook", Webhook(told.webhook.url, secret, ca=told.webhook.ca),
                       Spool(settings.beside("events-webhook")))  # fmt: skip
    if told.mqtt:
        yield Delivery("mqtt", _mqtt(told.mqtt, settings), Spool(settings.beside("events-mqtt")))


def _mqtt(told: MqttSettings, settings: Settings) -> Mqtt:
    password = read_secret(told.password) if told.password else ""
    broker = Broker(
        told.host, told.port, told.user, password, told.tls, told.ca, told.certificate, told.key, told.protocol
    )
    return Mqtt(broker, settings.device, settings.camera, prefix=told.prefix, discovery_root=told.discovery_root)
