"""What the service opens for the receivers of events: their sinks, and pictures of alerts with links to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from hashlib import sha256
from typing import TYPE_CHECKING

from ..core.errors import InputError
from ..core.picture_kind import PictureKind
from ..events import (
    Channel,
    Delivery,
    Limits,
    LinesFile,
    LinesStream,
    Outbox,
    PictureLimits,
    PictureLinks,
    PictureStore,
    SwitchRequests,
    delete_pictures,
    read_secret,
)
from ..gallery.companions import Companion, companion_path
from ..gallery.encryption import Cipher, NoCipher, find_key
from .erasure import erase_from_sinks
from .receiver_settings import MqttSettings, NotifySettings
from .settings import Settings, console_address

if TYPE_CHECKING:
    from ..events.broker import Broker
    from ..events.homeassistant import BoardReport
    from ..events.mqtt import Mqtt

# Of alerts that wait for a person: nobody wants to read them after a day.
MESSAGES = Limits(bytes=4 << 20, seconds=86_400.0)
HUB_SINK = "hub"  # the name of the receiver that sends events to the hub


def open_sinks(
    settings: Settings,
    opened: ExitStack,
    forgotten: Mapping[str, float],
    report: Callable[[], BoardReport | None] = lambda: None,
    pictures: PictureStore | None = None,
    *,
    switches: SwitchRequests | None = None,
) -> list[Delivery]:
    """Open the sinks of ``settings.events`` and ``settings.notify``, which ``opened`` closes. They never name
    ``forgotten`` people (ids, with the times), and tell their receivers about them. Outboxes are beside the gallery.
    ``report`` returns the state of the board, if it is known. ``pictures`` are those of alerts. ``switches`` takes
    commands that switch cameras. Raises InputError if a secret, a certificate or an address cannot be used."""
    sinks = []
    for sink in _sinks(settings, report, pictures, switches):
        erase_from_sinks(forgotten, [sink])  # before its threads start
        sinks.append(opened.enter_context(sink))
    return sinks


def open_pictures(settings: Settings, opened: ExitStack) -> PictureStore | None:
    """Open the pictures of alerts beside the gallery, which ``opened`` closes; None if no receiver gets any. Pictures
    of earlier runs are then deleted. Raises WorkError if their file cannot be opened, and InputError if the key of the
    gallery cannot be read."""
    receivers = [settings.events.webhook, settings.events.mqtt, *settings.notify.values()]
    if all(one is None or one.picture == "none" for one in receivers):
        delete_pictures(companion_path(settings.gallery, Companion.ALERT_PICTURES))
        return None
    key = find_key(settings.key)
    cipher = Cipher(key.value) if key else NoCipher()
    limits = PictureLimits(3600 * settings.alert_pictures.hours, int(settings.alert_pictures.megabytes * (1 << 20)))
    path = companion_path(settings.gallery, Companion.ALERT_PICTURES)
    return opened.enter_context(PictureStore(path, lambda: cipher, limits))


def open_links(settings: Settings, pictures: PictureStore | None) -> PictureLinks | None:
    """What makes and checks links to the pictures of alerts; None if no receiver gets links."""
    webhook = settings.events.webhook
    if pictures is None or webhook is None or webhook.picture == "none" or webhook.picture_as != "url":
        return None
    address = settings.alert_pictures.address or console_address(settings.web)
    return PictureLinks(pictures.link_key(), address, pictures.limits.seconds)


def _sinks(
    settings: Settings,
    report: Callable[[], BoardReport | None],
    pictures: PictureStore | None,
    switches: SwitchRequests | None,
) -> Iterator[Delivery]:
    events = settings.events

    def delivery(name: str, channel: Channel, address: str, *, stored: bool, picture: PictureKind = "none") -> Delivery:
        folder = companion_path(settings.gallery, Companion.EVENTS, name)
        # Each receiver has a file of its own. Its name is a digest of the address, which may be a secret.
        told_file = folder / f"told-{sha256(address.encode(errors='surrogateescape')).hexdigest()[:16]}"
        return Delivery(name, channel, Outbox(folder) if stored else None, told_file=told_file, picture=picture)

    if events.stdout:
        yield delivery("stdout", LinesStream(), "", stored=False)
    if events.file:
        yield delivery("file", LinesFile(events.file), str(events.file.absolute()), stored=False)
    if events.webhook:
        from ..events.webhook import Webhook

        secret = read_secret(events.webhook.secret) if events.webhook.secret else ""
        links = open_links(settings, pictures)
        webhook = Webhook(events.webhook.url, secret, ca=events.webhook.ca, pictures=pictures, links=links)
        yield delivery("webhook", webhook, events.webhook.url, stored=True, picture=events.webhook.picture)
    if events.mqtt:
        address = f"{events.mqtt.host}:{events.mqtt.port}/{events.mqtt.prefix}"
        mqtt = _open_mqtt(events.mqtt, settings, report, pictures, switches)
        yield delivery("mqtt", mqtt, address, stored=True, picture=events.mqtt.picture)
    if settings.hub:
        from ..hub.connection import read_address
        from ..hub.push import HubEvents

        address = read_address(settings.hub.address)
        yield delivery(HUB_SINK, HubEvents(address), address, stored=True)
    for name, notify in settings.notify.items():
        yield _open_push(f"notify.{name}", notify, settings, pictures)


def find_broker(mqtt: MqttSettings) -> Broker:
    """The broker of the settings. Raises InputError if its password cannot be read."""
    from ..events.broker import Broker

    password = read_secret(mqtt.password) if mqtt.password else ""
    return Broker(
        mqtt.host, mqtt.port, mqtt.user, password, mqtt.tls, mqtt.ca, mqtt.certificate, mqtt.key, mqtt.protocol
    )


def _open_push(name: str, notify: NotifySettings, settings: Settings, pictures: PictureStore | None) -> Delivery:
    from ..events.push import Push

    try:
        push = Push(read_secret(notify.url), pictures)
    except InputError as error:
        raise InputError(f"{name}.url: {error}") from error
    outbox = Outbox(companion_path(settings.gallery, Companion.EVENTS, name), MESSAGES)
    return Delivery(name, push, outbox, picture=notify.picture, only_alerts=True)


def _open_mqtt(
    mqtt: MqttSettings,
    settings: Settings,
    report: Callable[[], BoardReport | None],
    pictures: PictureStore | None,
    switches: SwitchRequests | None,
) -> Mqtt:
    from ..events.mqtt import Mqtt

    digest = sha256(f"{mqtt.host}:{mqtt.port}".encode(errors="surrogateescape")).hexdigest()[:16]
    return Mqtt(
        find_broker(mqtt),
        settings.device,
        settings.camera,
        prefix=mqtt.prefix,
        discovery_root=mqtt.discovery_root,
        retained_file=companion_path(settings.gallery, Companion.EVENTS, "mqtt") / f"retained-{digest}",
        console=console_address(settings.web),
        report=report,
        switches=switches,
        pictures=pictures if mqtt.picture != "none" else None,
    )
