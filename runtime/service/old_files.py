"""Take over the files of earlier versions, which all galleries of a folder shared: the appearance log and the events
that wait. A gallery takes what names its people, and what names nobody of another gallery in the folder."""

from __future__ import annotations

import fcntl
import json
import math
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path

from ..core.atomic import SQLITE_SUFFIXES, sync_to_disk
from ..core.errors import WorkError
from ..core.sqlite import open_read_only
from ..core.stored_clock import CLOCK, read_clock
from ..events import OutboxInUseError, is_event_folder, move_events, read_named_people
from ..gallery.backup_files import APPLICATION
from ..gallery.companions import Companion, companion_path
from .appearance_log import KEPT, AppearanceLog
from .log_files import OLD_FILE, log_path
from .receiver_settings import Events
from .settings import Settings

EVENTS = "events-"  # the start of the names of the old folders of events; the name of the receiver follows
BATCH = 100  # appearances that are moved at once, with their faces in memory

log = getLogger("rkface.service")


@dataclass(frozen=True)
class Ownership:
    """Whose the entries of a shared file are.

    own         ids of all people who are or were in this gallery
    others      the same for the other galleries in the folder
    alone       there is no other gallery in the folder
    unread      another gallery could not be read, so anybody else may be in it
    """

    own: frozenset[str]
    others: frozenset[str]
    alone: bool
    unread: bool

    def is_mine(self, person: str | None) -> bool:
        """Whether an entry that names ``person`` (an id; None for an unknown person) belongs to this gallery."""
        if self.alone or person is None or person in self.own:
            return True
        return not self.unread and person not in self.others


def take_over(settings: Settings) -> None:
    """Move what belongs to the gallery of ``settings`` from the files of earlier versions to its own files. Nothing is
    lost or stored twice if this is interrupted; the next start continues. Raises WorkError or InputError if a file
    cannot be read or written."""
    gallery = settings.gallery
    old_log = gallery.with_name(OLD_FILE)
    folders = [
        folder
        for folder in sorted(gallery.parent.glob(f"{EVENTS}*"))
        if folder.name.removeprefix(EVENTS).isalpha() and is_event_folder(folder)
    ]
    if not old_log.exists() and not folders:
        return
    with _lock_folder(gallery.parent):
        ownership = _read_ownership(gallery)
        if not ownership.alone and not ownership.own:  # a new gallery beside one from before
            return
        if old_log.exists():
            _take_over_log(old_log, log_path(gallery), ownership)
        for folder in filter(Path.exists, folders):
            _take_over_events(folder, settings, ownership)


@contextmanager
def _lock_folder(folder: Path) -> Iterator[None]:
    """Let one service at a time take over files: two that start together must not both take the same entry."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # some network file systems have no such locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _take_over_log(old: Path, new: Path, ownership: Ownership) -> None:
    with AppearanceLog(old) as source, AppearanceLog(new) as target:
        _move_appearances(source, target, ownership)
        remaining = source.count()
    if remaining:
        log.info("%s: %d appearances are left to other galleries in this folder", old, remaining)
        return
    if old.with_name(f"{old.name}-wal").exists():  # the last program that closes a database deletes it
        log.info("%s: kept, because another program has it open", old)
        return
    try:
        for suffix in SQLITE_SUFFIXES:
            old.with_name(old.name + suffix).unlink(missing_ok=True)
        sync_to_disk(old.parent)
    except OSError as error:
        raise WorkError(f"{old}: cannot be deleted: {error.strerror}: check the owner of its folder") from error
    log.info("%s: taken over into %s", old, new.name)


def _move_appearances(old: AppearanceLog, new: AppearanceLog, ownership: Ownership) -> None:
    """Move what belongs to this gallery. It is on the disk in ``new`` before it is deleted in ``old``, so after an
    interruption nothing is lost, and the next call stores nothing twice."""
    clock = old.read("SELECT name, value FROM setting WHERE name = ?", [CLOCK])
    with new.writing() as database:
        database.executemany("INSERT OR IGNORE INTO setting VALUES (?, ?)", clock)
        kept = database.execute("SELECT value FROM setting WHERE name = ?", [CLOCK]).fetchone()
    now = read_clock(kept[0]) if kept else None
    latest = now.now if now else math.inf  # nothing was logged later than now
    rows = old.read("SELECT id, person FROM appearance ORDER BY started")
    mine = [id for id, person in rows if ownership.is_mine(person)]
    columns = "id, source, person, started, min(logged, ?2), event, face, renamed, last"
    named = "IN (SELECT value FROM json_each(?1))"
    for start in range(0, len(mine), BATCH):
        ids = json.dumps(mine[start : start + BATCH])
        batch = old.read(f"SELECT {columns} FROM appearance WHERE id {named}", [ids, latest])
        vectors = old.read(f"SELECT appearance, identity, value FROM embedding WHERE appearance {named}", [ids])
        with new.writing(durable=True) as database:
            database.executemany("INSERT OR IGNORE INTO appearance VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", batch)
            database.executemany("INSERT OR IGNORE INTO embedding VALUES (?, ?, ?)", vectors)
        with old.writing() as database:
            database.execute(f"DELETE FROM appearance WHERE id {named}", [ids])
    if mine:
        old.remove_deleted_bytes(KEPT)


def _take_over_events(old: Path, settings: Settings, ownership: Ownership) -> None:
    receiver = old.name.removeprefix(EVENTS)
    new = companion_path(settings.gallery, Companion.EVENTS, receiver)
    try:
        if not ownership.alone:
            named = read_named_people(old)
            foreign = any(not ownership.is_mine(person) for person in named)
            if not named & ownership.own and (foreign or not _is_used(receiver, settings.events)):
                log.info("%s: left to another gallery in this folder", old)
                return
        if move_events(old, new, ownership.is_mine):
            log.info("%s: taken over into %s", old, new.name)
        else:
            log.info("%s: events of other galleries in this folder are left there", old)
    except OutboxInUseError:
        if ownership.alone:
            raise
        log.info("%s: left to another rkface, which sends events from there", old)


def _is_used(receiver: str, events: Events) -> bool:
    return bool(getattr(events, receiver, None))


def _read_ownership(gallery: Path) -> Ownership:
    others = [path for path in sorted(gallery.parent.iterdir()) if path.name != gallery.name and _is_gallery(path)]
    found = [_read_ids(path) for path in others]
    own = _read_ids(gallery) if gallery.exists() else frozenset[str]()
    return Ownership(
        own or frozenset(),
        frozenset().union(*(ids for ids in found if ids is not None)),
        alone=not others,
        unread=None in found,
    )


def _is_gallery(path: Path) -> bool:
    """Whether the header of the file is that of a gallery (sqlite.org/fileformat2.html: the application id)."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            header = file.read(72)
    except OSError:
        return False
    return header[:15] == b"SQLite format 3" and header[68:72] == APPLICATION.to_bytes(4, "big")


def _read_ids(gallery: Path) -> frozenset[str] | None:
    """The ids of all people who are or were in this gallery; None if it cannot be read. Changes nothing."""
    try:
        with closing(open_read_only(gallery)) as database:
            return frozenset(id for (id,) in database.execute("SELECT id FROM person UNION SELECT id FROM former"))
    except (sqlite3.Error, OSError):
        return None
