"""The registry of a gallery's backups, in its table ``backup``, and which gallery the registry belongs to.

A gallery file that was copied by hand brings the registry of the original along. Those backups do not belong to the
copy: it does not delete people in them, nor encrypt them with a key that the original may not know.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import NamedTuple

from ..core.atomic import remove_leftovers
from ..core.errors import InputError, WorkError
from .backup_files import list_backups, next_number
from .gallery import Gallery
from .schema import BACKUPS, gallery_errors

HOME = "home"  # row of the table ``setting``: the path of the gallery to which the registry belongs


class Released(NamedTuple):
    """The backups that were removed from the registry, because they belong to the gallery ``original``; None and no
    backups if the registry is the gallery's own."""

    original: Path | None
    backups: list[Path]


def known_backups(gallery: Gallery) -> list[Path]:
    """The backups of ``gallery``, sorted: those in its own folder, and those that were written elsewhere, even if they
    cannot be found at the moment."""
    with gallery.lock, gallery_errors(gallery.path):
        is_copy = find_original(gallery.database, gallery.path) is not None
    registered = set() if is_copy else {Path(path) for (path,) in gallery.read("SELECT path FROM backup")}
    return sorted(registered | {path.resolve() for path in list_backups(gallery.path)})


def count_backup(database: sqlite3.Connection, path: Path) -> int:
    """The number of the next backup of the gallery at ``path``, which never gets smaller. Call it inside a
    transaction."""
    number = next_number(path, last_number(database))
    database.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", [BACKUPS, str(number)])
    return number


def last_number(database: sqlite3.Connection) -> int:
    """The number of the last backup, or 0."""
    found = database.execute("SELECT value FROM setting WHERE name = ?", [BACKUPS]).fetchone()
    return int(found[0]) if found and str(found[0]).isdecimal() else 0


def add_to_registry(database: sqlite3.Connection, path: Path, backup: Path) -> None:
    """Register ``backup`` of the gallery at ``path``. Call it inside a transaction."""
    adopt_registry(database, path)
    database.execute("INSERT OR REPLACE INTO backup VALUES (?, ?)", [str(backup.resolve()), time.time()])


def remove_from_registry(gallery: Gallery, backup: Path) -> None:
    """Remove ``backup`` from the registry; the file does not change."""
    with gallery.transaction() as database:
        database.execute("DELETE FROM backup WHERE path = ?", [str(backup.resolve())])


def remove_lost_backup(gallery: Gallery, backup: Path) -> None:
    """Remove ``backup``, which was never finished or is destroyed, from the registry, and delete its temporary files.

    Raises InputError if the file exists or is not a backup of ``gallery``, WorkError if a temporary file cannot be
    deleted.
    """
    if backup.exists():
        raise InputError(f"{backup} exists: delete it first")
    if backup.resolve() not in known_backups(gallery):
        raise InputError(
            f"{backup} is not a backup of {gallery.path}: `rkface gallery backup --list` shows all backups"
        )
    for part, reason in remove_leftovers(backup.resolve().parent, backup.name):
        raise WorkError(f"{part}: {reason}")
    remove_from_registry(gallery, backup)


def find_original(database: sqlite3.Connection, path: Path) -> Path | None:
    """The gallery from which the gallery at ``path`` was copied, if the registry is still the original's and the
    original still exists. A gallery that was moved finds nothing at its old path, and keeps its registry."""
    found = database.execute("SELECT value FROM setting WHERE name = ?", [HOME]).fetchone()
    home = Path(found[0]) if found else path.resolve()
    try:
        own = home == path.resolve() or not home.exists() or (path.exists() and home.samefile(path))
    except OSError:  # no permission to look into the folder
        own = True
    return None if own else home


def adopt_registry(database: sqlite3.Connection, path: Path) -> Released:
    """Make the registry the one of the gallery at ``path``, and remove the backups of another gallery from it. Call it
    inside a transaction."""
    original, backups = find_original(database, path), []
    if original is not None:
        backups = [Path(backup) for (backup,) in database.execute("DELETE FROM backup RETURNING path")]
    database.execute(
        "INSERT INTO setting VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value "
        "WHERE value <> excluded.value",  # without a change, other programs need not read the gallery again
        [HOME, str(path.resolve())],
    )
    return Released(original, backups)
