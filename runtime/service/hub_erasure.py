"""Erases people whom the hub has erased from all files of a running service, before the hub is told so."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..core.errors import RkfaceError
from ..events import PictureStore, Sink
from ..gallery import backup
from ..gallery.gallery import Gallery
from .alert_pictures import erase_from_pictures
from .appearance_log import AppearanceLog
from .erasure import FOREVER, PATIENCE, erase_from_log, erase_from_old_log, erase_from_outboxes, erase_from_sinks


def finish_erasure(
    gallery: Gallery, log: AppearanceLog, pictures: PictureStore | None, sinks: Sequence[Sink]
) -> list[str]:
    """Erase everybody who was ever forgotten from the ``log``, the ``pictures`` of alerts and the outboxes beside
    ``gallery``, and wait until their files are rewritten, but not longer than ``PATIENCE``. Returns sentences that say
    what is left; call it again later then."""
    left: list[str] = []
    erase_from_sinks(backup.forgotten(gallery), sinks)
    try:
        if pictures is not None:  # first: the log says whom they show
            erase_from_pictures(gallery, pictures, log)
        erase_from_log(gallery, log, FOREVER)
    except RkfaceError as error:
        left.append(str(error))
    left += [*erase_from_old_log(gallery).left, *erase_from_outboxes(gallery).left]
    until = time.monotonic() + PATIENCE
    for sink in sinks:
        if not sink.wait_until_erased(max(0.0, until - time.monotonic())):
            state = sink.state()
            left.append(f"{state.name}: events that wait, or what the receiver stores ({state.error or 'no answer'})")
    return left
