"""What the service opens when its cameras have begun: its receivers, the gallery and the log."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from logging import getLogger
from typing import TYPE_CHECKING

from ..events import Delivery, PictureLinks, PictureStore, SwitchRequests
from ..gallery.encryption import find_key, read_key
from ..gallery.gallery import Gallery
from ..gallery.people import Person, embedding_identity
from ..inference.pipeline import Pipeline
from ..inference.scheduler import Scheduler
from . import old_files
from .appearance_log import AppearanceLog
from .camera_worker import CameraWorker
from .erasure import finish_at_start, read_forgotten
from .log_files import log_path
from .problems import Problems
from .receivers import open_links, open_pictures, open_sinks
from .settings import Settings

if TYPE_CHECKING:
    from ..events.homeassistant import BoardReport
    from ..hub.client import HubClient

log = getLogger("rkface.service")


@dataclass(frozen=True)
class Resources:
    """What the service has open while it runs.

    pictures   of alerts; None if no receiver gets any
    links      to these pictures; None if no receiver gets links
    sinks      send events to the receivers
    switches   which cameras the broker asks to switch
    workers    of the cameras, by name
    scheduler  of the frames
    pipeline   for enrollment
    log        of appearances
    """

    pictures: PictureStore | None
    links: PictureLinks | None
    sinks: list[Delivery]
    switches: SwitchRequests
    workers: Mapping[str, CameraWorker]
    scheduler: Scheduler
    pipeline: Pipeline
    gallery: Gallery
    log: AppearanceLog


def open_resources(
    settings: Settings,
    opened: ExitStack,
    problems: Problems,
    *,
    workers: Mapping[str, CameraWorker],
    scheduler: Scheduler,
    report: Callable[[], BoardReport | None],
) -> Resources:
    """Open everything else that ``settings`` name, while the cameras of ``workers`` begin; ``opened`` closes it.
    ``report`` as in ``open_sinks``. Errors are those of ``Service``."""
    with problems.of("old files"):
        old_files.take_over(settings)
    forgotten = read_forgotten(settings.gallery)  # also people who were deleted while no service ran
    pictures = open_pictures(settings, opened)
    if pictures is not None:
        pictures.erase(forgotten)
    links, switches = open_links(settings, pictures), SwitchRequests()
    sinks = open_sinks(settings, opened, forgotten, report, pictures, switches=switches)
    pipeline = scheduler.pipeline()
    gallery = opened.enter_context(open_gallery(settings, pipeline))
    if pictures is not None:
        pictures.use_cipher(lambda: gallery.cipher)  # it may be encrypted at any time
    appearances = opened.enter_context(AppearanceLog(log_path(settings.gallery), lambda: gallery.cipher))
    with problems.of("appearances"):
        appearances.encrypt()
    return Resources(pictures, links, sinks, switches, workers, scheduler, pipeline, gallery, appearances)


@contextmanager
def open_gallery(settings: Settings, pipeline: Pipeline) -> Iterator[Gallery]:
    """Open the gallery, or create it. Deletions that a power cut interrupted are finished, here and in outboxes that no
    sink has open. With a hub, the gallery names people only as long as its lease lasts, from now on, in every program.
    Raises InputError if it holds embeddings of another model, or is encrypted with another key."""
    identity, path = embedding_identity(pipeline.manifest), settings.gallery
    with Gallery(path, identity, create=True, key=find_key(settings.key)) as gallery:
        gallery.refresh()  # loads the index now, not at the first search
        gallery.check_identity()
        for problem in finish_at_start(gallery):
            log.warning("%s", problem)
        if settings.hub is not None:
            gallery.lease.begin()
        yield gallery


@contextmanager
def follow_hub(
    settings: Settings,
    gallery: Gallery,
    before_erasing: Callable[[Person], None],
    on_erased: Callable[[], Sequence[str]],
    describe: Callable[[], dict[str, object]],
) -> Iterator[HubClient | None]:
    """Keep ``gallery`` equal to the hub, if the settings have one. The functions: see ``HubClient``."""
    if settings.hub is None:
        yield None
        return
    from ..hub.client import HubClient
    from ..hub.connection import read_address

    address, key = read_address(settings.hub.address), read_key(settings.hub.key) if settings.hub.key else None
    with HubClient(
        address, gallery, before_erasing=before_erasing, on_erased=on_erased, describe=describe, key=key
    ) as client:
        yield client
