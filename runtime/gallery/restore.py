"""Restoring a backup of a gallery."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ..core.atomic import SQLITE_SUFFIXES, copy_owner, create_atomically, temporary_file
from ..core.errors import InputError, WorkError
from ..core.sqlite import DamagedError, NotADatabaseError, connect, find_damage, move_damaged_file_away, transaction
from .backup import back_up, copy_backup, restoring_path
from .backup_files import is_good
from .backup_registry import adopt_registry, last_number
from .bound_values import encrypt_all, is_encrypted
from .encryption import Key
from .gallery import Gallery
from .lease import CLOCK, stop_naming
from .schema import BACKUPS, gallery_errors, open_gallery_database
from .stored_values import find_row_damage

KEEP_ALL = 10**6  # backups: restoring must never delete one


@dataclass(frozen=True)
class _Replaced:
    """The gallery before a restore (None if it does not exist or is damaged), and where its content is saved."""

    gallery: Gallery | None = None
    saved: Path | None = None


def restore(path: Path, source: Path, key: Key | None = None) -> Path | None:
    """Replace the content of the gallery at ``path`` by the backup ``source``, without the people who were deleted
    since. Programs that use the gallery see the change.

    ``key`` is needed if the gallery is encrypted and the backup is not: the backup's content is then encrypted.

    Returns where the previous content is saved: in a backup or, if the gallery was damaged, in the renamed file; None
    if there was no gallery. Raises InputError if ``source`` is not a backup, and WorkError if it is damaged. Nothing
    was changed then.
    """
    if not source.is_file():
        raise InputError(f"{source}: no such backup; `rkface gallery backup --list` shows all backups")
    if path.exists() and source.samefile(path):
        raise InputError(f"{source} is the gallery itself, not a backup of it")
    replaced = _Replaced()
    try:
        with temporary_file(restoring_path(path)) as copy:
            copy_backup(source, copy)
            with closing(open_gallery_database(copy)) as restored, gallery_errors(source, writing=path):
                if (problem := find_damage(restored) or find_row_damage(restored)) is not None:
                    raise WorkError(f"{source} is damaged ({problem}). Nothing was changed. Use an older backup")
                with transaction(restored):
                    adopt_registry(restored, path)
                    stop_naming(restored)
                replaced = _save_current(path, key)
                if replaced.gallery is None:
                    _delete_forgotten(restored)
                    _write_new(path, restored, owner_like=replaced.saved or path.parent)
                else:
                    _copy_history(replaced.gallery, restored)
                    _delete_forgotten(restored)
                    _encrypt_like(replaced.gallery, restored)
                    with replaced.gallery.lock, gallery_errors(path):
                        restored.backup(replaced.gallery.database)
    finally:
        if replaced.gallery is not None:
            replaced.gallery.close()
    return replaced.saved


def _save_current(path: Path, key: Key | None) -> _Replaced:
    """Open the gallery at ``path`` and back it up. If it is damaged, rename the file."""
    if not path.exists():
        if any(path.with_name(path.name + suffix).exists() for suffix in SQLITE_SUFFIXES):
            move_damaged_file_away(path)  # SQLite would read an old write-ahead log into the restored gallery
        return _Replaced()
    try:
        gallery = Gallery(path, key=key)
        try:
            return _Replaced(gallery, back_up(gallery, keep=KEEP_ALL))
        except BaseException:
            gallery.close()
            raise
    except (WorkError, NotADatabaseError) as error:
        # Damage can have other symptoms too: a damaged index looks like a name that exists twice.
        if not isinstance(error, DamagedError | NotADatabaseError) and is_good(path):
            raise  # locked, or the disk is full
        return _Replaced(None, move_damaged_file_away(path))


def _write_new(path: Path, restored: sqlite3.Connection, owner_like: Path) -> None:
    """Write the gallery ``path``, which does not exist, completely or not at all. Raises WorkError if another program
    creates it at this moment."""
    try:
        with create_atomically(path) as new, closing(connect(new)) as target, gallery_errors(path):
            restored.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")
            copy_owner(new, owner_like)
    except FileExistsError as error:
        raise WorkError(f"{path} was created by another program in the meantime: try again") from error


def _copy_history(gallery: Gallery, restored: sqlite3.Connection) -> None:
    """Add to the old backup what happened since: who was merged or deleted, which entries of the ignore list
    were removed, and which backups exist."""
    with transaction(restored):
        for table, columns in (("former", 3), ("moved", 3), ("former_ignored", 2), ("backup", 2)):
            restored.executemany(
                f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * columns)})",
                gallery.read(f"SELECT * FROM {table}"),
            )
        if clock := gallery.read("SELECT * FROM setting WHERE name = ?", [CLOCK]):  # a replica stays one
            restored.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", clock[0])
        number = max(last_number(restored), last_number(gallery.database))
        restored.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", [BACKUPS, str(number)])
        # People who were merged since the backup was made exist again.
        restored.execute("DELETE FROM former WHERE person IS NOT NULL AND id IN (SELECT id FROM person)")
        # Samples that were moved since belong to the person before again, unless the person who got them was forgotten.
        restored.execute(
            "DELETE FROM moved WHERE EXISTS (SELECT 1 FROM sample WHERE id = moved.sample AND person <> moved.person) "
            "AND person NOT IN (SELECT id FROM former WHERE person IS NULL)"
        )


def _delete_forgotten(database: sqlite3.Connection) -> None:
    with transaction(database):
        people = "SELECT id FROM former WHERE person IS NULL"
        deleted = database.execute(f"DELETE FROM person WHERE id IN ({people})").rowcount
        deleted += database.execute(
            f"DELETE FROM sample WHERE (id, created) IN (SELECT sample, created FROM moved WHERE person IN ({people}))"
        ).rowcount
        deleted += database.execute("DELETE FROM ignored WHERE id IN (SELECT id FROM former_ignored)").rowcount
    if deleted:
        database.execute("VACUUM")


def _encrypt_like(gallery: Gallery, restored: sqlite3.Connection) -> None:
    """Encrypt the restored content if ``gallery`` is encrypted."""
    if is_encrypted(gallery.database) and not is_encrypted(restored):
        with transaction(restored):
            encrypt_all(restored, gallery.cipher)
