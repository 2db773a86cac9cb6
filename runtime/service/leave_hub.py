"""A board leaves its hub: its gallery is no replica any more, and the people of the hub are gone from it."""

from __future__ import annotations

import json
import shutil
import time

from ..core.errors import WorkError
from ..gallery.companions import Companion, companion_path
from ..gallery.gallery import Gallery
from ..gallery.lease import LEAVING, PREFIX, stop_naming
from ..gallery.people import Person
from ..gallery.replication import list_people_of_hub
from ..gallery.schema import SCRUB
from .erasure import finish_by_command


def leave_hub(gallery: Gallery, *, keep_people: bool) -> list[Person]:
    """Make ``gallery``, which no service may have open, one that no hub decides about. Returns the people who were
    deleted from it, and from its backups, appearances, waiting events and pictures: all whom the hub has, unless
    ``keep_people``. The hub keeps them. Events that wait for the hub are deleted.

    After an interruption, call it again: until then the gallery names nobody, and no service can use it. Raises
    WorkError, with what is left, if a backup or a file cannot be reached.
    """
    people = [] if keep_people else list_people_of_hub(gallery)
    ids = _delete(gallery, people)
    if ids and (left := finish_by_command(gallery).left):
        raise WorkError("; ".join([*left, "then run `rkface hub leave` again"]))
    shutil.rmtree(companion_path(gallery.path, Companion.EVENTS, "hub"), ignore_errors=True)
    with gallery.transaction() as database:  # nobody was forgotten: should the board join again, they may come back
        database.executemany("DELETE FROM former WHERE id = ? AND person IS NULL", [(id,) for id in ids])
        database.execute("DELETE FROM setting WHERE substr(name, 1, ?) = ?", [len(PREFIX), PREFIX])
    gallery.lease.read()
    return people


def _delete(gallery: Gallery, people: list[Person]) -> list[str]:
    """Delete ``people`` as if they were forgotten, and note it. Returns their ids, with those of earlier calls and of
    people who were merged into them."""
    now = time.time()
    with gallery.transaction() as database:
        earlier = database.execute("SELECT value FROM setting WHERE name = ?", [LEAVING]).fetchone()
        ids = {*(json.loads(earlier[0]) if earlier else ()), *(person.id for person in people)}
        merged = "SELECT id FROM former WHERE person IN (SELECT value FROM json_each(?))"
        ids |= {id for (id,) in database.execute(merged, [json.dumps(sorted(ids))])}
        stop_naming(database)
        database.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", [LEAVING, json.dumps(sorted(ids))])
        database.execute("INSERT OR REPLACE INTO setting VALUES (?, '1')", [SCRUB])
        for id in ids:
            database.execute("DELETE FROM person WHERE id = ?", [id])
            database.execute("INSERT OR REPLACE INTO former VALUES (?, NULL, ?)", [id, now])
    gallery.update_index()
    return sorted(ids)
