"""What the service opens first, so that its cameras begin early: its lock, and the models and cameras."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging import getLogger
from pathlib import Path

from ..core.atomic import write_error
from ..core.bundle import Bundle, read_bundle
from ..core.errors import InputError
from ..core.installed import runtime_library
from ..core.versions import older_library
from ..gallery.companions import Companion, companion_path
from ..inference.open_bundle import choose_backend, import_backend, open_scheduler
from ..inference.pipeline import Pipeline
from ..inference.scheduler import Scheduler
from ..tracking.rules import detect_for_tracking
from .settings import Settings

log = getLogger("rkface.service")


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
    import_backend(choose_backend(settings.backend or None))  # while the bundle is read
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
