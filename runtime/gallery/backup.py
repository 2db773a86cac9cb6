"""Backups of a gallery, and forgetting a person in all of them.

A backup is one SQLite file for its owner only. The gallery remembers where its backups are and which ids were
forgotten, so that nobody comes back with one.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from ..core.atomic import copy_owner, remove_leftovers, replace_atomically, temporary_file
from ..core.errors import InputError, RkfaceError, WorkError
from ..core.text import shell_quoted
from .backup_registry import disown, enlist, known_backups, strike
from .encryption import SETTING, Cipher, Key, NoCipher
from .gallery import Gallery
from .people import Person
from .schema import (
    APPLICATION,
    DamagedError,
    NoDatabaseError,
    backup_folder,
    explained,
    list_backups,
    open_database,
    transaction,
)

KEEP = 7  # backups in the gallery's own folder; older ones go
SCRUB = "scrub"  # the setting that stands while deleted bytes may still be in the file


@dataclass(frozen=True)
class Left:
    """A copy in which forgotten people may still be, and why."""

    path: Path
    reason: str


def back_up(gallery: Gallery, to: Path | None = None, keep: int = KEEP) -> Path:
    """Copy ``gallery`` as it is now, while others use it, to the new file ``to``, or into its own folder for backups,
    where the ``keep`` newest stay. The copy is checked before it gets its name. InputError where ``to`` exists."""
    if to is None:
        folder = backup_folder(gallery.path)
        folder.mkdir(mode=0o700, exist_ok=True)
        copy_owner(folder, gallery.path)
        now = time.time()
        to = folder / f"{time.strftime('%Y-%m-%dT%H-%M-%S', time.gmtime(now))}-{int(now % 1 * 1000):03d}Z.sqlite"
    if to.exists():
        raise InputError(f"{to} exists: name a new file for the backup")
    with gallery.writing() as database:  # before there is a copy: a power cut must not leave one that nobody knows of
        enlist(database, gallery.path, to)
    try:
        with replace_atomically(to) as copy, closing(sqlite3.connect(copy)) as target, explained(gallery.path):
            with gallery.lock:
                gallery.database.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")  # one file, without -wal and -shm
            copy_owner(copy, gallery.path)
            if (problem := _damage(target)) is not None:
                raise DamagedError(f"{gallery.path}: not backed up, because it is damaged: {problem}")
    except BaseException:
        strike(gallery, to)
        raise
    for old in list_backups(gallery.path)[:-keep]:
        if old.parent == to.parent:
            old.unlink()
            strike(gallery, old)
    return to.resolve()


def restore(path: Path, source: Path, key: Key | None = None) -> Path | None:
    """Put the content of the backup ``source`` in the place of the gallery at ``path``, without those who were
    forgotten since. Returns where the present content was put first: a backup, or, where it is damaged, the file
    itself under another name; None where there was nothing. Programs that use the gallery see the change. ``key`` is
    needed where the gallery is encrypted and the backup is not: it becomes so."""
    if not source.is_file():
        raise InputError(f"{source}: no such backup; `rkface gallery backup --list` has all")
    if path.exists() and source.samefile(path):
        raise InputError(f"{source} is the gallery itself, no backup of it")
    present, aside = None, None
    try:
        with temporary_file(_restored(path)) as copy:
            _copy(source, copy)
            with closing(open_database(copy)) as restored, explained(source):
                if (problem := _damage(restored)) is not None:
                    raise WorkError(f"{source} is damaged ({problem}): nothing was changed; take an older backup")
                with transaction(restored):
                    disown(restored, path)
                present, aside = _present(path, key)
                if present is not None:
                    _remember(present, restored)
                _delete_forgotten(restored)
                if present is not None and is_encrypted(present.database) and not is_encrypted(restored):
                    with transaction(restored):
                        encrypt_all(restored, present.cipher)
                if present is None:
                    present = Gallery(path, create=True)
                with present.lock, explained(path):
                    restored.backup(present.database)
    finally:
        if present is not None:
            present.close()
    return aside


def forget(gallery: Gallery, person: Person) -> list[Left]:
    """Delete ``person`` with all samples from ``gallery`` and from its backups: afterwards no byte of an embedding or
    a crop is in any of the files. Returns the backups that could not be reached. WorkError where another program holds
    on to the old pages of the gallery itself; the person is deleted even so, and ``finish`` can be called later.
    """
    now = time.time()
    with gallery.writing() as database:
        database.execute("DELETE FROM person WHERE id = ?", [person.id])  # and the samples by their foreign key
        database.execute("UPDATE former SET person = NULL, since = ? WHERE person = ?", [now, person.id])
        database.execute("INSERT OR REPLACE INTO former VALUES (?, NULL, ?)", [person.id, now])
        database.execute("INSERT OR REPLACE INTO setting VALUES (?, '1')", [SCRUB])
    with suppress(InputError):  # encrypted by another program meanwhile: forgetting needs no key, only searching does
        gallery.changed()
    return finish(gallery)


def resume(gallery: Gallery) -> None:
    """``finish`` what was cut off, by a power cut or because another program was reading. WorkError as there."""
    if gallery.read("SELECT 1 FROM setting WHERE name = ?", [SCRUB]):
        finish(gallery)
    else:
        _unfinished(gallery)


def forgotten(gallery: Gallery) -> dict[str, float]:
    """The ids of all who were ever forgotten, and when, in that order."""
    return dict(gallery.read("SELECT id, since FROM former WHERE person IS NULL ORDER BY since, id"))


def finish(gallery: Gallery) -> list[Left]:
    """Overwrite what was deleted, here and in the backups; see ``forget``."""
    left = _disowned(gallery) + _unfinished(gallery)
    left += [reason for backup in known_backups(gallery) if (reason := _purged(gallery, backup)) is not None]
    if gallery.read("SELECT 1 FROM setting WHERE name = ?", [SCRUB]):
        # VACUUM writes every page anew: secure_delete alone can leave a copy where a page was split.
        # In a connection of its own, so that searching goes on meanwhile: of a large gallery it takes a while.
        with explained(gallery.path), closing(open_database(gallery.path)) as own:
            own.execute("VACUUM")
            (busy, *_) = own.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise WorkError(
                f"{gallery.path}: deleted, but another program still reads old pages, so that their bytes stay in the "
                f"-wal file: stop it, then run `rkface gallery check --gallery {shell_quoted(gallery.path)}`"
            )
        with gallery.writing() as database:
            database.execute("DELETE FROM setting WHERE name = ?", [SCRUB])
    return left + _set_aside(gallery)


def encrypt(gallery: Gallery, key: Key) -> list[Left]:
    """Encrypt all embeddings and crops of ``gallery`` and of its backups; whole or not at all, and without a trace of
    what they were. Returns the backups that could not be reached. InputError where it is encrypted already."""
    if is_encrypted(gallery.database):
        raise InputError(f"{gallery.path} is encrypted already")
    cipher = Cipher(key.value)
    with gallery.writing() as database:
        encrypt_all(database, cipher)
        database.execute("INSERT OR REPLACE INTO setting VALUES (?, '1')", [SCRUB])
    gallery.use_key(key)
    return finish(gallery)


def is_encrypted(database: sqlite3.Connection) -> bool:
    return database.execute("SELECT 1 FROM setting WHERE name = ?", [SETTING]).fetchone() is not None


def encrypt_all(database: sqlite3.Connection, cipher: NoCipher) -> None:
    """Inside a transaction."""
    for table, id, column in (("sample", "id", "embedding"), ("crop", "sample", "image")):
        for (number,) in database.execute(f"SELECT {id} FROM {table}").fetchall():
            (plain,) = database.execute(f"SELECT {column} FROM {table} WHERE {id} = ?", [number]).fetchone()
            database.execute(f"UPDATE {table} SET {column} = ? WHERE {id} = ?", [cipher.encrypt(plain), number])
    database.execute("INSERT INTO setting VALUES (?, ?)", [SETTING, cipher.proof()])


def check(gallery: Gallery) -> list[str]:
    """What is wrong with the database and what it holds; empty where nothing is."""
    with gallery.lock, explained(gallery.path):
        found = [problem] if (problem := _damage(gallery.database)) is not None else []
        lost = gallery.database.execute("PRAGMA foreign_key_check").fetchall()
    found += [f"{len(lost)} samples belong to nobody"] if lost else []
    lengths = gallery.read(
        "SELECT identity, count(DISTINCT length(embedding)), max(length(embedding) % 4) FROM sample GROUP BY identity"
    )
    found += [f"embeddings of {identity[:8]} differ in length" for identity, kinds, odd in lengths if kinds > 1 or odd]
    return found


def _damage(database: sqlite3.Connection) -> str | None:
    try:
        (said,) = database.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        said = str(error)
    return None if said == "ok" else str(said).splitlines()[-1]


def _present(path: Path, key: Key | None) -> tuple[Gallery | None, Path | None]:
    """The gallery at ``path`` and a backup of it; a damaged one steps aside and is None."""
    if not path.exists():
        return None, None
    try:
        gallery = Gallery(path, key=key)
        try:
            return gallery, back_up(gallery, keep=10**6)
        except BaseException:
            gallery.close()
            raise
    except (DamagedError, NoDatabaseError):
        pass
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return None, aside


def _remember(gallery: Gallery, restored: sqlite3.Connection) -> None:
    """What the present gallery knows and an old backup cannot: who was merged or forgotten, and which backups exist."""
    with transaction(restored):
        for table, columns in (("former", 3), ("backup", 2)):
            restored.executemany(
                f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * columns)})",
                gallery.read(f"SELECT * FROM {table}"),
            )
        # Who was merged since is a person again.
        restored.execute("DELETE FROM former WHERE person IS NOT NULL AND id IN (SELECT id FROM person)")


def _delete_forgotten(database: sqlite3.Connection) -> bool:
    with transaction(database):
        gone = database.execute("DELETE FROM person WHERE id IN (SELECT id FROM former WHERE person IS NULL)").rowcount
    if gone:
        database.execute("VACUUM")
    return bool(gone)


def _disowned(gallery: Gallery) -> list[Left]:
    """Said once: backups of the gallery that this one was copied from, which are left alone from now on."""
    with gallery.writing() as database:
        home, theirs = disown(database, gallery.path)
    return [
        Left(path, f"it is of {home}, which this gallery is a copy of, and was left alone: do the same there")
        for path in theirs
    ]


def _unfinished(gallery: Gallery) -> list[Left]:
    """Delete copies that a power cut kept from being finished: nobody would look for who is in them."""
    own, path = backup_folder(gallery.path).resolve(), gallery.path
    elsewhere = [backup for backup in known_backups(gallery) if backup.parent != own]
    left = remove_leftovers(own) + remove_leftovers(path.parent, _restored(path).name)
    left += [found for backup in elsewhere for found in remove_leftovers(backup.parent, backup.name)]
    return [Left(*found) for found in left]


def _restored(path: Path) -> Path:
    """Where the gallery at ``path`` is put together before it is restored, a name added to this one."""
    return path.with_name(f".{path.name}.restored")


def _set_aside(gallery: Gallery) -> list[Left]:
    """Damaged files beside the gallery, where somebody was forgotten, or it is encrypted: no one can look into them."""
    if not forgotten(gallery) and not is_encrypted(gallery.database):
        return []
    found = sorted(gallery.path.parent.glob("*.damaged-*"))
    return [Left(path, "it was set aside because it is damaged: delete it") for path in found]


def _purged(gallery: Gallery, backup: Path) -> Left | None:
    """Write ``backup`` anew without the people that ``gallery`` has forgotten; what stands in the way, or None."""
    gone = forgotten(gallery).keys()
    encrypt_too = is_encrypted(gallery.database)
    if not backup.exists():
        if backup.parent == backup_folder(gallery.path).resolve():
            strike(gallery, backup)
            return None
        return Left(
            backup,
            "not found: if it is on a disk that is not connected, connect it; if it was never finished, or is "
            f"destroyed, `rkface gallery backup --gallery {shell_quoted(gallery.path)} --gone {shell_quoted(backup)}`",
        )
    try:
        with explained(backup), closing(sqlite3.connect(f"{backup.as_uri()}?mode=ro", uri=True)) as database:
            known = {id for (id,) in database.execute("SELECT id FROM person")}
            encrypt_too = encrypt_too and not is_encrypted(database)
        if known & gone or encrypt_too:
            with replace_atomically(backup) as copy:
                _copy(backup, copy)
                with explained(backup), closing(sqlite3.connect(copy, isolation_level=None)) as database:
                    for pragma in ("journal_mode=OFF", "foreign_keys=ON", "secure_delete=ON"):
                        database.execute(f"PRAGMA {pragma}")
                    database.executemany("DELETE FROM person WHERE id = ?", [(id,) for id in known & gone])
                    if encrypt_too:
                        encrypt_all(database, gallery.cipher)
                    database.execute("VACUUM")
    except (RkfaceError, OSError) as error:
        return Left(backup, str(error))
    return None


def _copy(source: Path, target: Path) -> None:
    """Through SQLite, so that what another program is just writing does not come along by half."""
    place = f"{source.resolve().as_uri()}?mode=ro"
    with explained(source), closing(sqlite3.connect(place, uri=True)) as old, closing(sqlite3.connect(target)) as new:
        if old.execute("PRAGMA application_id").fetchone() != (APPLICATION,):  # an empty file is a database, too
            raise InputError(f"{source} is no backup of a gallery: `rkface gallery backup --list` has all")
        old.backup(new)
        new.execute("PRAGMA journal_mode=DELETE")
