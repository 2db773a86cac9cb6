"""The files of backups beside a gallery: their names, their order, and which one can replace a damaged gallery.

A backup's name starts with a number that the gallery counts up, so that the order does not depend on a clock. Older
versions of rkface named backups by the time alone. Other files in the folder were copied there by hand.
"""

from __future__ import annotations

import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from ..core.sqlite import find_damage, open_read_only
from ..core.text import shell_quoted
from .companions import Companion, companion_path
from .stored_values import find_row_damage

APPLICATION = 0x726B6667  # "rkfg" (PRAGMA application_id): distinguishes galleries from other SQLite databases
NUMBER_WIDTH = 6  # digits, so that other programs list backups in their order, too; greater numbers have more
MOST_TRIED = 10  # backups that are checked to find a good one
_NUMBERED = re.compile(r"(\d{6,18})-(-?\d+(?:-\d\d){2}T\d\d-\d\d-\d\d)Z\.sqlite", re.ASCII)
_TIMED = re.compile(r"(\d{4,18})-(\d\d)-(\d\d)T(\d\d)-(\d\d)-(\d\d)-(\d{3})Z\.sqlite", re.ASCII)

Order = tuple[int, tuple[int, ...], str]


def backup_folder(path: Path) -> Path:
    """The folder for the backups of the gallery at ``path``."""
    return companion_path(path, Companion.BACKUPS)


def list_backups(path: Path) -> list[Path]:
    """The backups in the folder of the gallery at ``path``, oldest first: files that were copied there by hand, backups
    of older versions of rkface by the time in their names, then all others by their numbers."""
    return sorted(backup_folder(path).glob("*.sqlite"), key=_order)


def is_made_here(backup: Path) -> bool:
    """Whether rkface chose the name of ``backup``. Other files belong to the user and are never deleted for their
    age."""
    return _order(backup)[0] > 0


def next_number(path: Path, last: int) -> int:
    """The number of the next backup of the gallery at ``path``, whose last one had the number ``last``. It is greater
    than that of each backup in the folder."""
    numbers = (_NUMBERED.fullmatch(backup.name) for backup in list_backups(path))
    return max(last, *(int(found[1]) for found in numbers if found), 0) + 1


def backup_name(number: int, now: float) -> str:
    """The name of the backup with this number, made at ``now`` (seconds since 1970)."""
    return f"{number:0{NUMBER_WIDTH}d}-{time.strftime('%Y-%m-%dT%H-%M-%S', time.gmtime(now))}Z.sqlite"


def suggest_backup(path: Path) -> str:
    """What to do about the gallery at ``path``, which is damaged: the command that restores its newest good backup."""
    backups = list_backups(path)
    good = next((backup for backup in reversed(backups[-MOST_TRIED:]) if is_good(backup)), None)
    if good is not None:
        command = f"rkface gallery restore --gallery {shell_quoted(path)} {shell_quoted(good)}"
        return f"restore the newest good backup: `{command}`"
    found = f"no backup in {backup_folder(path)} can be read" if backups else "there is no backup next to it"
    return f"look for a copy elsewhere: {found}"


def is_good(backup: Path) -> bool:
    """Whether ``backup`` is a gallery without damage. Reads the whole file, and changes nothing."""
    try:
        with closing(open_read_only(backup)) as database:
            own = database.execute("PRAGMA application_id").fetchone() == (APPLICATION,)
            return own and find_damage(database) is None and find_row_damage(database) is None
    except (sqlite3.Error, OSError):
        return False


def _order(backup: Path) -> Order:
    if found := _NUMBERED.fullmatch(backup.name):
        return 2, (int(found[1]),), backup.name
    if found := _TIMED.fullmatch(backup.name):
        return 1, tuple(map(int, found.groups())), backup.name
    return 0, (), backup.name
