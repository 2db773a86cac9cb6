"""What the actions of ``rkface strangers`` share."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..core.errors import InputError
from .gallery_options import open_gallery

if TYPE_CHECKING:
    from ..service.stranger_requests import StrangerRequests

SHOWN = 12  # digits of an id: enough to be the only one, and to be typed


@contextmanager
def open_strangers(options: Namespace) -> Iterator[StrangerRequests]:
    """The strangers in the log beside the gallery. The threshold is that of the newest appearance. Raises InputError
    without a log."""
    import threading

    from ..service.appearance_log import AppearanceLog
    from ..service.log_files import log_path
    from ..service.stranger_requests import StrangerRequests

    with open_gallery(options) as gallery:
        path = log_path(gallery.path)
        if not path.exists():
            raise InputError(f"{path}: there is no appearance log: `rkface run` writes it")
        with AppearanceLog(path, lambda: gallery.cipher) as log:
            newest = log.newest(1)
            identity = log.identity() or gallery.identity or ""
            yield StrangerRequests(
                gallery,
                log,
                identity,
                threshold=lambda: newest[0].threshold if newest else 1.0,
                lock=threading.Lock(),
            )
