"""What the service opens when it starts: its lock, the models, the gallery and the sinks."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from logging import getLogger
from pathlib import Path

from ..core.bundle import Bundle, read_bundle
from ..core.errors import InputError, WorkError
from ..core.installed import runtime_library
from ..core.picture_kind import PictureKind
from ..core.versions import older_library
from ..events import (
    BoardReport,
    Broker,
    Channel,
    Delivery,
    Limits,
    LinesFile,
    LinesStream,
    Mqtt,
    Outbox,
    PictureLimits,
    PictureLinks,
    PictureStore,
    Push,
    SwitchRequests,
    Webhook,
    delete_pictures,
    read_secret,
)
from ..gallery.companions import Companion, companion_path
from ..gallery.encryption import Cipher, Key, NoCipher, key_from_environment, read_key
from ..gallery.gallery import Gallery
from ..gallery.people import Person, embedding_identity
from ..hub.client import HubClient
from ..hub.connection import read_address
from ..hub.push import HubEvents
from ..inference.pipeline import Pipeline
from ..inference.scheduler import Scheduler, open_scheduler
from ..tracking.watch import detect_for_tracking
from .erasure import erase_from_sinks, finish_at_start
from .receiver_settings import MqttSettings, NotifySettings
from .settings import Settings, console_address

# Of alerts that wait for a person: nobody wants to read them after a day.
MESSAGES = Limits(bytes=4 << 20, seconds=86_400.0)
HUB_SINK = "hub"  # the name of the receiver that sends events to the hub

log = getLogger("rkface.service")


@contextmanager
def lock_gallery(gallery: Path) -> Iterator[None]:
    """Allow one service per gallery. Raises InputError, with the process number, if another service uses it."""
    path = companion_path(gallery, Companion.LOCK)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise WorkError(f"{path}: cannot be written ({error.strerror}): choose another place with --gallery") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            process = os.read(descriptor, 20).decode("ascii", "replace")
            raise InputError(
                f"{gallery} is in use by another rkface run (process {process or 'unknown'}): stop it, "
                "or choose another gallery"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def open_service_scheduler(settings: Settings, read: Callable[[Path], Bundle] = read_bundle) -> Scheduler:
    """Open the scheduler for ``settings``, with the bundle that ``read`` returns for its folder. Raises InputError if
    liveness is required but not enabled, and everything that ``open_scheduler`` raises."""
    if settings.liveness.require and not settings.liveness.enabled:
        raise InputError(
            "[liveness] require = true without enabled = true would recognize nobody: set enabled = true as well"
        )
    return open_scheduler(
        read(settings.bundle),
        settings.backend or None,
        cores=settings.cores or None,
        work=detect_for_tracking,
        liveness=settings.liveness.enabled,
    )


def check_library(pipeline: Pipeline, root: Path = Path("/")) -> None:
    """Log a warning if the librknnrt of the machine at ``root`` is older than the toolkit that made the models."""
    found = runtime_library(root) if pipeline.backend == "npu" else None
    if found and found[1] and (remark := older_library(found[1], pipeline.manifest.toolkit)):
        log.warning("%s: %s", found[0], remark)


@contextmanager
def open_gallery(settings: Settings, pipeline: Pipeline) -> Iterator[Gallery]:
    """Open the gallery, or create it. Deletions that a power cut interrupted are finished, here and in outboxes that no
    sink has open. Raises InputError if it holds embeddings of another model, or is encrypted with another key."""
    identity, path = embedding_identity(pipeline.manifest), settings.gallery
    with Gallery(path, identity, create=True, key=_read_key(settings)) as gallery:
        gallery.refresh()  # loads the index now, not at the first search
        gallery.check_identity()
        for problem in finish_at_start(gallery):
            log.warning("%s", problem)
        yield gallery


@contextmanager
def follow_hub(
    settings: Settings,
    gallery: Gallery,
    before_erasing: Callable[[Person], None],
    on_erased: Callable[[], Sequence[str]],
    describe: Callable[[], dict[str, object]],
) -> Iterator[HubClient | None]:
    """Keep ``gallery`` equal to the hub, if the settings have one. From now on the gallery names people only as long as
    its lease lasts, in every program. The functions: see ``HubClient``."""
    if settings.hub is None:
        yield None
        return
    gallery.lease.begin()
    address, key = read_address(settings.hub.address), read_key(settings.hub.key) if settings.hub.key else None
    with HubClient(
        address, gallery, before_erasing=before_erasing, on_erased=on_erased, describe=describe, key=key
    ) as client:
        yield client


def _read_key(settings: Settings) -> Key | None:
    return read_key(settings.key) if settings.key else key_from_environment()


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
    key = _read_key(settings)
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
        secret = read_secret(events.webhook.secret) if events.webhook.secret else ""
        links = open_links(settings, pictures)
        webhook = Webhook(events.webhook.url, secret, ca=events.webhook.ca, pictures=pictures, links=links)
        yield delivery("webhook", webhook, events.webhook.url, stored=True, picture=events.webhook.picture)
    if events.mqtt:
        address = f"{events.mqtt.host}:{events.mqtt.port}/{events.mqtt.prefix}"
        mqtt = _open_mqtt(events.mqtt, settings, report, pictures, switches)
        yield delivery("mqtt", mqtt, address, stored=True, picture=events.mqtt.picture)
    if settings.hub:
        address = read_address(settings.hub.address)
        yield delivery(HUB_SINK, HubEvents(address), address, stored=True)
    for name, notify in settings.notify.items():
        yield _open_push(f"notify.{name}", notify, settings, pictures)


def find_broker(mqtt: MqttSettings) -> Broker:
    """The broker of the settings. Raises InputError if its password cannot be read."""
    password = read_secret(mqtt.password) if mqtt.password else ""
    return Broker(
        mqtt.host, mqtt.port, mqtt.user, password, mqtt.tls, mqtt.ca, mqtt.certificate, mqtt.key, mqtt.protocol
    )


def _open_push(name: str, notify: NotifySettings, settings: Settings, pictures: PictureStore | None) -> Delivery:
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
