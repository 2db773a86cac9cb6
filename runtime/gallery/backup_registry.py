"""The list that a gallery keeps of its backups, and whose list it is.

A gallery file that was copied by hand brings the original's list along. Those backups are not the copy's: it neither
deletes in them nor encrypts them, with a key that the original may not know.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from ..core.atomic import remove_leftovers
from ..core.errors import InputError, WorkError
from .gallery import Gallery
from .schema import explained, list_backups

HOME = "home"  # the setting that says where the gallery lies whose backups are listed


def known_backups(gallery: Gallery) -> list[Path]:
    """Where copies are or should be: those in its own folder, and those it was told to write elsewhere."""
    with gallery.lock, explained(gallery.path):
        foreign = original(gallery.database, gallery.path) is not None
    told = set() if foreign else {Path(path) for (path,) in gallery.read("SELECT path FROM backup")}
    return sorted(told | {path.resolve() for path in list_backups(gallery.path)})


def enlist(database: sqlite3.Connection, path: Path, backup: Path) -> None:
    """Inside a transaction of the gallery at ``path``."""
    disown(database, path)
    database.execute("INSERT OR REPLACE INTO backup VALUES (?, ?)", [str(backup.resolve()), time.time()])


def strike(gallery: Gallery, backup: Path) -> None:
    with gallery.writing() as database:
        database.execute("DELETE FROM backup WHERE path = ?", [str(backup.resolve())])


def give_up(gallery: Gallery, backup: Path) -> None:
    """Look no more for ``backup``, which was never finished or is destroyed. InputError where it is there, or none of
    ``gallery``'s; WorkError where a part of it is there and cannot be deleted."""
    if backup.exists():
        raise InputError(f"{backup} is there: delete it first")
    if backup.resolve() not in known_backups(gallery):
        raise InputError(f"{backup} is no backup of {gallery.path}: `rkface gallery backup --list` has all")
    for part, reason in remove_leftovers(backup.resolve().parent, backup.name):
        raise WorkError(f"{part}: {reason}")
    strike(gallery, backup)


def original(database: sqlite3.Connection, path: Path) -> Path | None:
    """Whose backups the gallery at ``path`` lists, where that is another one, which is still there. One that was moved
    finds nothing in its old place, and keeps its list."""
    found = database.execute("SELECT value FROM setting WHERE name = ?", [HOME]).fetchone()
    home = Path(found[0]) if found else path.resolve()
    try:
        own = home == path.resolve() or not home.exists() or (path.exists() and home.samefile(path))
    except OSError:  # a folder that is not ours to look into
        own = True
    return None if own else home


def disown(database: sqlite3.Connection, path: Path) -> tuple[Path | None, list[Path]]:
    """Inside a transaction: from now on the list is that of the gallery at ``path``. The gallery that it was copied
    from, if it was, and whose backups are no longer listed here."""
    home, theirs = original(database, path), []
    if home is not None:
        theirs = [Path(backup) for (backup,) in database.execute("DELETE FROM backup RETURNING path")]
    database.execute(
        "INSERT INTO setting VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value "
        "WHERE value <> excluded.value",  # or other programs would read all anew for nothing
        [HOME, str(path.resolve())],
    )
    return home, theirs
