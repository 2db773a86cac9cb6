"""What the service opens when it starts: its lock, its receivers, the cameras, the models, the gallery and the log."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.atomic import write_error
from ..core.bundle import Bundle, read_bundle
from ..core.errors import InputError
from ..core.installed import runtime_library
from ..core.versions import older_library
from ..events import Delivery, PictureLinks, PictureStore, SwitchRequests
from ..gallery.companions import Companion, companion_path
from ..gallery.encryption import find_key, read_key
from ..gallery.gallery import Gallery
from ..gallery.people import Person, embedding_identity
from ..inference.open_bundle import open_scheduler
from ..inference.pipeline import Pipeline
from ..inference.scheduler import Scheduler
from ..tracking.watch import detect_for_tracking
from . import old_files
from .appearance_log import AppearanceLog
from .camera_worker import CameraWorker
from .erasure import finish_at_start, read_forgotten
from .log_files import log_path
from .problems import Problems
from .receivers import open_links, open_pictures, open_sinks
from .settings import CameraSettings, Settings

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
    workers    of the cameras, by name
    scheduler  of the frames
    pipeline   for enrollment
    log        of appearances
    """

    pictures: PictureStore | None
    links: PictureLinks | None
    sinks: list[Delivery]
    workers: dict[str, CameraWorker]
    scheduler: Scheduler
    pipeline: Pipeline
    gallery: Gallery
    log: AppearanceLog


def open_resources(
    settings: Settings,
    opened: ExitStack,
    problems: Problems,
    *,
    open_scheduler: Callable[[Settings], Scheduler],
    open_camera_worker: Callable[[str, CameraSettings], CameraWorker],
    report: Callable[[], BoardReport | None],
    switches: SwitchRequests,
) -> Resources:
    """Open everything that ``settings`` name; ``opened`` closes it. What may be wrong in the settings is opened before
    a model. ``report`` and ``switches`` as in ``open_sinks``. Errors are those of ``Service``."""
    with problems.of("old files"):
        old_files.take_over(settings)
    forgotten = read_forgotten(settings.gallery)  # also people who were deleted while no service ran
    pictures = open_pictures(settings, opened)
    if pictures is not None:
        pictures.erase(forgotten)
    links = open_links(settings, pictures)
    sinks = open_sinks(settings, opened, forgotten, report, pictures, switches=switches)
    workers = {name: open_camera_worker(name, camera) for name, camera in settings.camera.items()}
    scheduler = opened.enter_context(open_scheduler(settings))
    pipeline = scheduler.pipeline()
    check_library(pipeline)
    for worker in workers.values():
        worker.note_detector(pipeline.manifest.longest_side)
    gallery = opened.enter_context(open_gallery(settings, pipeline))
    if pictures is not None:
        pictures.use_cipher(lambda: gallery.cipher)  # it may be encrypted at any time
    appearances = opened.enter_context(AppearanceLog(log_path(settings.gallery), lambda: gallery.cipher))
    with problems.of("appearances"):
        appearances.encrypt()
    return Resources(pictures, links, sinks, workers, scheduler, pipeline, gallery, appearances)


@contextmanager
def lock_gallery(gallery: Path) -> Iterator[None]:
    """Allow one service per gallery. Raises InputError, with the process number, if another service uses it."""
    path = companion_path(gallery, Companion.LOCK)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise write_error(path, error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            process = os.read(descriptor, 20).decode("ascii", "replace")
            raise InputError(
                f"{gallery} is in use by another rkface run (process {process or 'unknown'}): stop it, "
                "or choose another gallery"
            ) from None
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        except OSError as error:
            raise write_error(path, error) from error
        yield
    finally:
        os.close(descriptor)


def open_service_scheduler(settings: Settings, read: Callable[[Path], Bundle] = read_bundle) -> Scheduler:
    """Open the scheduler for ``settings``, with the bundle that ``read`` returns for its folder, and the recognizer
    left for ``open_later``. Raises InputError if liveness is required but not enabled, and everything that
    ``open_scheduler`` raises."""
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
        later=["recognizer"],
    )


def check_library(pipeline: Pipeline, root: Path = Path("/")) -> None:
    """Log a warning if the librknnrt of the machine at ``root`` is older than the toolkit that made the models."""
    found = runtime_library(root) if pipeline.backend == "npu" else None
    if found and found[1] and (remark := older_library(found[1], pipeline.manifest.toolkit)):
        log.warning("%s: %s", found[0], remark)


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
