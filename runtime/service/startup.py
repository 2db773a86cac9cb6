"""What the service opens before it can serve: its lock, the models, the gallery, and where events go."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from logging import getLogger
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, WorkError
from ..core.faces import Faces
from ..events import Broker, Channel, Delivery, LinesFile, LinesStream, Mqtt, Outbox, Webhook, read_secret
from ..gallery.encryption import key_from_environment, read_key
from ..gallery.gallery import Gallery
from ..gallery.people import embedding_identity
from ..inference.pipeline import Pipeline
from ..inference.scheduler import Scheduler, open_scheduler
from ..tracking.visit import RecognitionRules
from .erasure import erase_from_sinks, finish_at_start
from .settings import MqttSettings, Settings

log = getLogger("rkface.service")


@contextmanager
def locked(gallery: Path) -> Iterator[None]:
    """One service for each gallery. InputError, which says who it is, where there is one already."""
    path = gallery.with_name(f".{gallery.name}.lock")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise WorkError(f"{path}: cannot be written ({error.strerror}): name another place with --gallery") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.read(descriptor, 20).decode("ascii", "replace")
            raise InputError(
                f"{gallery} is in use by another rkface run (process {who or 'unknown'}): stop that one, "
                "or name another gallery"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def detect_doubtful(pipeline: Pipeline, image: NDArray[np.uint8]) -> Faces:
    """The scheduler's work: detection alone, down to the scores that carry a track on."""
    return pipeline.detect(image, RecognitionRules.of(pipeline.thresholds).doubtful)


def scheduler_of(settings: Settings) -> Scheduler:
    """InputError where liveness is required but not judged, or the bundle has no model for it; else as
    ``open_scheduler``."""
    if settings.liveness.require and not settings.liveness.enabled:
        raise InputError("[liveness] require = true names nobody who is not judged: set enabled = true as well")
    return open_scheduler(
        settings.bundle,
        settings.backend or None,
        cores=settings.cores or None,
        work=detect_doubtful,
        liveness=settings.liveness.enabled,
    )


@contextmanager
def open_gallery(settings: Settings, pipeline: Pipeline) -> Iterator[Gallery]:
    """The gallery, begun where there is none; what a power cut kept from being forgotten is, here and in outboxes that
    no sink has open. InputError where it holds another model's embeddings, or is encrypted with another key."""
    identity, path = embedding_identity(pipeline.manifest), settings.gallery
    key = read_key(settings.key) if settings.key else key_from_environment()
    with Gallery(path, identity, create=True, key=key) as gallery:
        gallery.refresh()  # now, not when the first face is there
        gallery.check_identity()
        for problem in finish_at_start(gallery):
            log.warning("%s", problem)
        yield gallery


def open_sinks(settings: Settings, opened: ExitStack, forgotten: Mapping[str, float]) -> list[Delivery]:
    """The sinks of ``settings.events``, which ``opened`` closes. They never name ``forgotten`` people (ids, with the
    times), and tell their receivers about them. Outboxes are beside the gallery. Raises InputError if a secret,
    a certificate or an address cannot be used."""
    sinks = []
    for sink in _sinks(settings):
        erase_from_sinks(forgotten, [sink])  # before its threads start
        sinks.append(opened.enter_context(sink))
    return sinks


def _sinks(settings: Settings) -> Iterator[Delivery]:
    told = settings.events

    def delivery(name: str, channel: Channel, address: str, *, stored: bool) -> Delivery:
        folder = settings.beside(f"events-{name}")
        # Each receiver has a file of its own. Its name is a digest of the address, which may be a secret.
        told_file = folder / f"told-{sha256(address.encode(errors='surrogateescape')).hexdigest()[:16]}"
        return Delivery(name, channel, Outbox(folder) if stored else None, told_file=told_file)

    if told.stdout:
        yield delivery("stdout", LinesStream(), "", stored=False)
    if told.file:
        yield delivery("file", LinesFile(told.file), str(told.file.absolute()), stored=False)
    if told.webhook:
        secret = read_secret(told.webhook.secret) if told.webhook.secret else ""
        webhook = Webhook(told.webhook.url, secret, ca=told.webhook.ca)
        yield delivery("webhook", webhook, told.webhook.url, stored=True)
    if told.mqtt:
        address = f"{told.mqtt.host}:{told.mqtt.port}/{told.mqtt.prefix}"
        yield delivery("mqtt", _mqtt(told.mqtt, settings), address, stored=True)


def _mqtt(told: MqttSettings, settings: Settings) -> Mqtt:
    password = read_secret(told.password) if told.password else ""
    broker = Broker(
        told.host, told.port, told.user, password, told.tls, told.ca, told.certificate, told.key, told.protocol
    )
    return Mqtt(broker, settings.device, settings.camera, prefix=told.prefix, discovery_root=told.discovery_root)
