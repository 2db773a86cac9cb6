"""The files of appearance logs beside a gallery."""

from __future__ import annotations

from pathlib import Path

from ..events import PictureStore
from ..gallery.companions import Companion, companion_path
from ..gallery.gallery import Gallery
from .appearance_log import AppearanceLog

OLD_FILE = "appearances.sqlite"  # of earlier versions, for all galleries of the folder


def log_path(gallery: Path) -> Path:
    """The file with the log of the gallery at this path."""
    return companion_path(gallery, Companion.APPEARANCE_LOG)


def find_logs(gallery: Path) -> list[Path]:
    """The files that may name people of the gallery at this path: its log, and one of an earlier version."""
    return [path for path in (log_path(gallery), gallery.with_name(OLD_FILE)) if path.exists()]


def encrypt_log_beside(gallery: Gallery) -> None:
    """Encrypt the faces in the log beside ``gallery`` if the gallery is encrypted; see ``AppearanceLog.encrypt``.
    Pictures of alerts that are not encrypted are deleted."""
    pictures = companion_path(gallery.path, Companion.ALERT_PICTURES)
    if pictures.exists():
        PictureStore(pictures, lambda: gallery.cipher).close()
    for path in find_logs(gallery.path):
        with AppearanceLog(path, lambda: gallery.cipher) as log:
            log.encrypt()
