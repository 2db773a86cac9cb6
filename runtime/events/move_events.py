"""Move what an outbox holds to another folder."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from ..core.atomic import SQLITE_SUFFIXES, sync_to_disk, write_atomically
from ..core.errors import WorkError
from ..core.sqlite import commit, remove_deleted_bytes
from .event import named_person
from .old_spool import CURSOR
from .outbox import Outbox
from .outbox_file import COLUMNS, FILE, claim_folder, open_database, store_once, to_os_error

TOLD, RETAINED = "told-", "retained-"  # the starts of the names of the files of deletion notices and retained topics


def is_event_folder(folder: Path) -> bool:
    """Whether ``folder`` contains an outbox, an old spool, or a list of deletion notices or retained topics."""
    return any((folder / name).exists() for name in (FILE, CURSOR)) or any(
        any(folder.glob(f"{start}*")) for start in (TOLD, RETAINED)
    )


def read_named_people(folder: Path) -> set[str]:
    """The ids of all people whom events in ``folder`` name, or about whom its receivers were told. Raises the errors of
    ``move_events``."""
    people: set[str] = set()
    with _errors_about(folder):
        if _has_events(folder):
            _open_once(folder)
            with closing(_Claimed(folder)) as outbox:
                named = (_person_in(body) for (body,) in outbox.database.execute("SELECT body FROM event"))
                people.update(person for person in named if person)
        for path in folder.glob(f"{TOLD}*"):
            people.update(path.read_text("utf-8", "replace").split())
    return people


def move_events(old: Path, new: Path, is_mine: Callable[[str | None], bool]) -> bool:
    """Move the events in the folder ``old`` that are ``is_mine`` (called with the id of the person whom an event names,
    or None) to the outbox in the folder ``new``. If no event remains, the lists of deletion notices and retained topics
    are moved too, and ``old`` is deleted. Returns whether that was done.

    An event is on the disk in ``new`` before it is deleted in ``old``. After an interruption, call it again: no event
    is stored twice. Raises OutboxInUseError if another process sends events from one of the folders, InputError if one
    cannot be used, and WorkError if it cannot be written.
    """
    with _errors_about(old), ExitStack() as opened:
        if _has_events(old):
            _open_once(old)
            _open_once(new)
            source, target = (opened.enter_context(closing(_Claimed(folder))) for folder in (old, new))
            _move_rows(source.database, target.database, is_mine)
            # Also before the file is deleted: without its write-ahead log, it would contain the moved events again.
            if not remove_deleted_bytes(source.database):
                raise WorkError(f"{old / FILE}: another program reads this file: stop it")
            if source.database.execute("SELECT count(*) FROM event").fetchone()[0]:
                _merge_told(old, new)
                return False
            source.database.close()
        else:
            for folder in (old, new):
                opened.callback(os.close, claim_folder(folder))
        _merge_told(old, new)
        _merge_retained(old, new)
        _delete_folder(old)
    return True


class _Claimed:
    """The outbox file in ``folder``, which no other process can open meanwhile."""

    def __init__(self, folder: Path) -> None:
        self._owner = claim_folder(folder)
        try:
            self.database = open_database(folder / FILE)
        except BaseException:
            os.close(self._owner)
            raise

    def close(self) -> None:
        self.database.close()
        os.close(self._owner)


def _has_events(folder: Path) -> bool:
    return (folder / FILE).exists() or (folder / CURSOR).exists()


def _open_once(folder: Path) -> None:
    """Let ``Outbox`` repair a damaged file and take over a spool of rkface 0.1."""
    with closing(Outbox(folder)):
        pass


def _move_rows(old: sqlite3.Connection, new: sqlite3.Connection, is_mine: Callable[[str | None], bool]) -> None:
    rows = [
        (number, stored, body)
        for number, stored, _, _, body in old.execute(f"SELECT {COLUMNS} FROM event ORDER BY id")
        if is_mine(_person_in(body))
    ]
    store_once(new, [(stored, body) for _, stored, body in rows])
    with commit(old, durable=True):
        old.executemany("DELETE FROM event WHERE id = ?", [(number,) for number, _, _ in rows])


def _person_in(body: bytes) -> str | None:
    """The id of the person whom the event names."""
    with suppress(ValueError, RecursionError):
        event = json.loads(body)
        return named_person(event) if isinstance(event, dict) else None
    return None


def _merge_told(old: Path, new: Path) -> None:
    for path in sorted(old.glob(f"{TOLD}*")):
        target = new / path.name
        texts = [one.read_text("utf-8", "replace") for one in (target, path) if one.exists()]
        write_atomically(target, "\n".join(sorted({id for text in texts for id in text.split()})).encode())


def _merge_retained(old: Path, new: Path) -> None:
    from .broker import RetainedTopics  # imports ssl

    for path in sorted(old.glob(f"{RETAINED}*")):
        target = new / path.name
        topics = {*RetainedTopics(target), *RetainedTopics(path)}
        write_atomically(target, json.dumps(sorted(topics)).encode())


def _delete_folder(folder: Path) -> None:
    """Delete the files of rkface in ``folder``, and the folder, if nothing else is in it."""
    for suffix in SQLITE_SUFFIXES:
        (folder / f"{FILE}{suffix}").unlink(missing_ok=True)
    for path in (*folder.glob(f"{RETAINED}*"), *folder.glob(f"{TOLD}*"), folder / "lock"):
        path.unlink(missing_ok=True)
    with suppress(OSError):  # the user has put something here
        folder.rmdir()
    sync_to_disk(folder.parent)


@contextmanager
def _errors_about(folder: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise WorkError(f"{folder}: events cannot be moved: {to_os_error(error, folder).strerror}") from error
    except OSError as error:
        raise WorkError(f"{folder}: events cannot be moved: {error.strerror}") from error
