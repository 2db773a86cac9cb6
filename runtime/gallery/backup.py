"""Backups of a gallery, and deleting a person from the gallery and from all its backups.

A backup is one SQLite file with mode 0600. The gallery stores where its backups are and which ids were deleted, so that
restoring a backup does not bring back a deleted person.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from ..core.atomic import copy_owner, remove_leftovers, replace_atomically
from ..core.errors import InputError, RkfaceError, WorkError
from ..core.paths import require_folder
from ..core.sqlite import DamagedError, connect, find_damage, open_read_only, remove_deleted_bytes, transaction
from ..core.text import shell_quoted
from .backup_files import APPLICATION, backup_folder, backup_name, is_made_here, list_backups, suggest_backup
from .backup_registry import add_to_registry, adopt_registry, count_backup, known_backups, remove_from_registry
from .bound_values import bind_all, encrypt_all, is_bound, is_encrypted
from .companions import Companion, companion_path
from .encryption import Cipher, Key
from .gallery import Gallery
from .people import Person
from .schema import SCRUB, gallery_errors, open_gallery_database
from .stored_values import find_row_damage

_MOVED = "FROM sample WHERE id = ? AND created = ?"
KEEP = 7  # backups in the gallery's own folder; older ones are deleted


@dataclass(frozen=True)
class Left:
    """A copy that may still contain deleted people, and the reason."""

    path: Path
    reason: str


def back_up(gallery: Gallery, to: Path | None = None, keep: int = KEEP) -> Path:
    """Copy ``gallery`` to the new file ``to`` while other threads and programs use it. Returns the path of the copy.

    Without ``to`` the copy goes to the gallery's own folder for backups, where only the ``keep`` newest ones stay.
    Raises InputError if ``to`` exists or its folder does not, WorkError if it cannot be written, DamagedError if the
    gallery is damaged.
    """
    own = to is None
    if own:
        folder = backup_folder(gallery.path)
        folder.mkdir(mode=0o700, exist_ok=True)
        copy_owner(folder, gallery.path)
    elif to is not None:
        require_folder(to, str(to))
        if to.exists():
            raise InputError(f"{to} exists: name a new file for the backup")
    with gallery.transaction() as database:  # before the copy exists: a power cut must not leave an unknown copy
        number = count_backup(database, gallery.path)
        target = to or backup_folder(gallery.path) / backup_name(number, time.time())
        add_to_registry(database, gallery.path, target)
    try:
        errors = gallery_errors(gallery.path, writing=target)
        with replace_atomically(target) as copy, closing(connect(copy)) as new, errors:
            with gallery.lock:
                gallery.database.backup(new)
            new.execute("PRAGMA journal_mode=DELETE")  # one file, without -wal and -shm
            copy_owner(copy, gallery.path)
            if (problem := find_damage(new) or find_row_damage(new)) is not None:
                repair = suggest_backup(gallery.path)
                raise DamagedError(f"{gallery.path}: not backed up, because it is damaged ({problem}): {repair}")
    except BaseException:
        remove_from_registry(gallery, target)
        raise
    if own:
        _delete_old_backups(gallery, target, keep)
    return target.resolve()


def _delete_old_backups(gallery: Gallery, newest: Path, keep: int) -> None:
    """Delete all backups in the gallery's folder but the ``keep`` newest ones. ``newest`` was just made."""
    made = [backup for backup in list_backups(gallery.path) if is_made_here(backup)]
    for old in made[: -max(keep, 1)]:
        if old != newest:
            old.unlink(missing_ok=True)  # another process may delete it, too
            remove_from_registry(gallery, old)


def forget(gallery: Gallery, person: Person) -> list[Left]:
    """Delete ``person`` and all samples from ``gallery`` and its backups, so that no byte of an embedding or a crop
    remains in any of these files. Returns the backups that could not be reached.

    Raises WorkError if another program still reads old pages of the gallery. The person is deleted even so; call
    ``finish`` later to overwrite the old pages.
    """
    now = time.time()
    with gallery.transaction() as database:
        database.execute("DELETE FROM person WHERE id = ?", [person.id])  # a foreign key deletes the samples too
        database.execute("UPDATE former SET person = NULL, since = ? WHERE person = ?", [now, person.id])
        database.execute("INSERT OR REPLACE INTO former VALUES (?, NULL, ?)", [person.id, now])
        database.execute("INSERT OR REPLACE INTO setting VALUES (?, '1')", [SCRUB])
    # If another program has encrypted the gallery in the meantime, only searching needs the key; forgetting does not.
    with suppress(InputError):
        gallery.update_index()
    return finish(gallery)


def resume(gallery: Gallery) -> None:
    """Call ``finish`` if it was interrupted by a power cut or by another program. Raises WorkError as ``finish``."""
    if gallery.read("SELECT 1 FROM setting WHERE name = ?", [SCRUB]):
        finish(gallery)
    else:
        _delete_unfinished_copies(gallery)


def forgotten(gallery: Gallery) -> dict[str, float]:
    """The ids of all people who were ever forgotten, with the times (seconds since 1970, UTC), oldest first."""
    return dict(gallery.read("SELECT id, since FROM former WHERE person IS NULL ORDER BY since, id"))


def forgotten_samples(gallery: Gallery) -> list[tuple[int, float]]:
    """Numbers and times of samples of forgotten people that backups may contain as samples of somebody else."""
    return gallery.read(
        "SELECT sample, created FROM moved WHERE person IN (SELECT id FROM former WHERE person IS NULL)"
    )


def finish(gallery: Gallery) -> list[Left]:
    """Overwrite the bytes of deleted people in the gallery and its backups. Returns and raises as ``forget`` does."""
    left = _release_backups_of_original(gallery) + _delete_unfinished_copies(gallery)
    left += [problem for backup in known_backups(gallery) if (problem := _clean_backup(gallery, backup)) is not None]
    if gallery.read("SELECT 1 FROM setting WHERE name = ?", [SCRUB]):
        # On a connection of its own, so that searches continue: a large gallery takes a while.
        with gallery_errors(gallery.path), closing(open_gallery_database(gallery.path)) as own:
            removed = remove_deleted_bytes(own)
        if not removed:
            raise WorkError(
                f"{gallery.path}: deleted, but another program still reads old pages, so their bytes remain in the "
                f"-wal file: stop that program, then run `rkface gallery check --gallery {shell_quoted(gallery.path)}`"
            )
        with gallery.transaction() as database:
            database.execute("DELETE FROM setting WHERE name = ?", [SCRUB])
    return left + _find_damaged_copies(gallery)


def encrypt_gallery(gallery: Gallery, key: Key) -> list[Left]:
    """Encrypt all embeddings and crops of ``gallery`` and its backups, and overwrite the unencrypted bytes. Returns the
    backups that could not be reached.

    If it fails, nothing is encrypted. Raises InputError if the gallery is already encrypted, WorkError if another
    program still reads old pages: the gallery is encrypted even so, and ``finish`` overwrites them later.
    """
    if is_encrypted(gallery.database):
        raise InputError(f"{gallery.path} is already encrypted")
    cipher = Cipher(key.value)
    with gallery.transaction() as database:
        encrypt_all(database, cipher)
        database.execute("INSERT OR REPLACE INTO setting VALUES (?, '1')", [SCRUB])
    gallery.use_key(key)
    return finish(gallery)


def copy_backup(source: Path, target: Path) -> None:
    """Copy the backup ``source`` to ``target`` through SQLite, so that the copy is complete even if another program is
    writing. Raises InputError if ``source`` is not a backup of a gallery."""
    with (
        gallery_errors(source, writing=target.parent),
        closing(open_read_only(source)) as old,
        closing(connect(target)) as new,
    ):
        if old.execute("PRAGMA application_id").fetchone() != (APPLICATION,):  # an empty file is a database too
            raise InputError(f"{source} is not a backup of a gallery: `rkface gallery backup --list` shows all backups")
        old.backup(new)
        new.execute("PRAGMA journal_mode=DELETE")


def restoring_path(path: Path) -> Path:
    """The target of the temporary file in which a backup is prepared, before it is restored to the gallery ``path``."""
    return companion_path(path, Companion.RESTORING)


def _release_backups_of_original(gallery: Gallery) -> list[Left]:
    """If ``gallery`` is a copy of another gallery made by hand, remove the original's backups from the registry. They
    are reported once and are not changed."""
    with gallery.transaction() as database:
        original, backups = adopt_registry(database, gallery.path)
    reason = f"it is a backup of {original}, from which this gallery was copied, and was not changed: do the same there"
    return [Left(path, reason) for path in backups]


def _delete_unfinished_copies(gallery: Gallery) -> list[Left]:
    """Delete temporary files of backups and restores that a power cut interrupted: nothing else would clean them."""
    own, path = backup_folder(gallery.path).resolve(), gallery.path
    elsewhere = [backup for backup in known_backups(gallery) if backup.parent != own]
    left = remove_leftovers(own) + remove_leftovers(path.parent, restoring_path(path).name)
    left += [found for backup in elsewhere for found in remove_leftovers(backup.parent, backup.name)]
    return [Left(*found) for found in left]


def _find_damaged_copies(gallery: Gallery) -> list[Left]:
    """Damaged files beside the gallery, if people were deleted or it is encrypted: they cannot be cleaned."""
    if not forgotten(gallery) and not is_encrypted(gallery.database):
        return []
    found = sorted(gallery.path.parent.glob("*.damaged-*"))
    return [Left(path, "this damaged file was renamed and cannot be cleaned: delete it") for path in found]


def _clean_backup(gallery: Gallery, backup: Path) -> Left | None:
    """Rewrite ``backup`` without the people and the entries of the ignore list that were deleted from ``gallery``, and
    encrypted if ``gallery`` is. Returns the problem, or None."""
    deleted, moved = forgotten(gallery).keys(), forgotten_samples(gallery)
    unlisted = {id for (id,) in gallery.read("SELECT id FROM former_ignored")}
    if not backup.exists():
        if backup.parent == backup_folder(gallery.path).resolve():
            remove_from_registry(gallery, backup)
            return None
        return Left(
            backup,
            "not found: if it is on a disk that is not connected, connect the disk; if it was never finished or is "
            f"destroyed, run `rkface gallery backup --gallery {shell_quoted(gallery.path)} "
            f"--gone {shell_quoted(backup)}`",
        )
    try:
        with gallery_errors(backup), closing(open_read_only(backup)) as database:
            known = {id for (id,) in database.execute("SELECT id FROM person")}
            listed = _listed_ids(database)
            held = [one for one in moved if database.execute(f"SELECT 1 {_MOVED}", one).fetchone()]
            encrypted, bound = is_encrypted(database), is_bound(database)
        encrypt_too = is_encrypted(gallery.database) and not encrypted
        bind_too = encrypted and not bound and gallery.has_key
        if known & deleted or listed & unlisted or held or encrypt_too or bind_too:
            with replace_atomically(backup) as copy:
                copy_backup(backup, copy)
                with gallery_errors(backup), closing(open_gallery_database(copy)) as database:  # migrates it
                    database.executemany("DELETE FROM person WHERE id = ?", [(id,) for id in known & deleted])
                    database.executemany("DELETE FROM ignored WHERE id = ?", [(id,) for id in listed & unlisted])
                    database.executemany(f"DELETE {_MOVED}", held)
                    with transaction(database):
                        if encrypt_too:
                            encrypt_all(database, gallery.cipher)
                        if bind_too:
                            bind_all(database, gallery.cipher, backup)
                    database.execute("VACUUM")
                    database.execute("PRAGMA journal_mode=DELETE")
    except (RkfaceError, OSError) as error:
        return Left(backup, str(error))
    return None


def _listed_ids(database: sqlite3.Connection) -> set[str]:
    """The ids on the ignore list of a backup, which may be of a version without such a list."""
    if database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'ignored'").fetchone() is None:
        return set()
    return {id for (id,) in database.execute("SELECT id FROM ignored")}
