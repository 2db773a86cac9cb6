"""The default path of a gallery, and the paths of the files beside one. Each belongs to one gallery and is named after
it, so that galleries in one folder share none."""

from __future__ import annotations

import os
import re
from enum import Enum
from glob import escape
from pathlib import Path

from ..core.errors import InputError

BOARD_FOLDER = Path("/var/lib/rkface")
FILE = "gallery.sqlite"


def default_path() -> Path:
    """The gallery of a board's service, or gallery.sqlite in the working folder if /var/lib/rkface is not writable."""
    return (BOARD_FOLDER if os.access(BOARD_FOLDER, os.W_OK) else Path()) / FILE


_NAME = r"[A-Za-z0-9_-]{1,40}"
_RECEIVER = re.compile(rf"[A-Za-z]+|notify\.{_NAME}")


class Companion(Enum):
    """A kind of file or folder beside a gallery; the value is the pattern of its name."""

    LOCK = ".{gallery}.lock"
    CHANGED_SETTINGS = "changed-{gallery}.toml"
    BACKUPS = "{gallery}.backups"
    RESTORING = ".{gallery}.restored"
    APPEARANCE_LOG = "{gallery}.appearances"
    EVENTS = "{gallery}.events-{receiver}"
    ACCOUNTS = "{gallery}.accounts"
    ALERT_PICTURES = "{gallery}.alert-pictures"


def companion_path(gallery: Path, kind: Companion, receiver: str = "") -> Path:
    """The path of the file or folder of this ``kind`` for the gallery at the path ``gallery``. ``receiver``: the name
    of the receiver of events, for ``EVENTS`` only: letters, or "notify." and what ``is_receiver_name`` allows. Raises
    InputError if the path has no name."""
    return require_file_name(gallery).with_name(kind.value.format(gallery=gallery.name, receiver=receiver))


def require_file_name(gallery: Path) -> Path:
    """Return ``gallery``. Raises InputError if it cannot be a file, such as "." and "/", which have no name."""
    if not gallery.name:
        raise InputError(f"{gallery} is not a file: name a file for the gallery, such as gallery.sqlite")
    return gallery


def find_event_folders(gallery: Path) -> list[Path]:
    """The folders of all receivers of events of this gallery, also of those that are no longer used."""
    start = companion_path(gallery, Companion.EVENTS).name
    found = gallery.parent.glob(f"{escape(start)}*")
    return sorted(path for path in found if _RECEIVER.fullmatch(path.name.removeprefix(start)))


def is_receiver_name(name: str) -> bool:
    """Whether ``name`` can be that of a receiver of alerts, [notify.NAME]: it becomes a part of a folder's name."""
    return re.fullmatch(_NAME, name) is not None
