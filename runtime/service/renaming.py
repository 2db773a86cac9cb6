"""Names that appearances get afterwards: after somebody is enrolled, the appearances in which they were a stranger can
be named, and each renaming can be undone. Events that were sent before stay as they are."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from ..core.errors import InputError
from ..gallery.gallery import Gallery
from ..gallery.match import Match
from .appearance_log import AppearanceLog


@dataclass(frozen=True)
class Renaming:
    """Appearances that were named together.

    id           32 hexadecimal digits
    person       id of the person
    name         of the person at that time
    appearances  how many are still in the log
    started      start of the first one, seconds since 1970
    """

    id: str
    person: str
    name: str
    appearances: int
    started: float


def rename_past(
    log: AppearanceLog,
    gallery: Gallery,
    identity: str,
    person: str,
    *,
    threshold: float,
    appearances: Sequence[str] | None = None,
) -> Renaming | None:
    """Name the person (an id) in appearances of unknown people: in these, or in all that look like nobody more than
    like the person, with a cosine of at least ``threshold``. Returns None if there are no such appearances."""
    stored = log.embeddings(identity, "")
    wanted = None if appearances is None else set(appearances)
    found = gallery.search(stored.vectors) if len(stored) else []
    names = {
        id: matches[0]
        for id, matches in zip(stored.ids, found, strict=True)
        if matches and matches[0].person == person and matches[0].counts(threshold) and (wanted is None or id in wanted)
    }
    return _rename(log, names) if names else None


def list_renamings(log: AppearanceLog) -> list[Renaming]:
    """All renamings that can be undone, in the order of the appearances, newest first."""
    rows = log.read(  # CAST: a damaged event may have another type there
        "SELECT renamed, ifnull(max(person), ''), CAST(ifnull(max(json_extract(event, '$.match.name')), '') AS TEXT), "
        "count(*), min(started) FROM appearance WHERE renamed IS NOT NULL "
        "GROUP BY renamed ORDER BY min(started) DESC, renamed"
    )
    return [Renaming(*row) for row in rows]


def undo_renaming(log: AppearanceLog, id: str) -> int:
    """Make the appearances of a renaming unknown again, and return how many. ``id`` may be the start of one. Raises
    InputError if there is no such renaming."""
    found = [one.id for one in list_renamings(log) if id and one.id.startswith(id)]
    if len(found) != 1:
        raise InputError(f"there is no renaming {id!r} that can be undone: `rkface strangers renamings` lists them")
    with log.writing() as database:
        change = "person = NULL, renamed = NULL, event = json_set(event, '$.match', NULL)"
        return database.execute(f"UPDATE appearance SET {change} WHERE renamed = ?", found).rowcount


def _rename(log: AppearanceLog, names: Mapping[str, Match]) -> Renaming:
    id = uuid.uuid4().hex
    with log.writing() as database:
        database.executemany(
            "UPDATE appearance SET person = ?2, renamed = ?3, event = json_set(event, '$.match', json(?4)) "
            "WHERE id = ?1 AND person IS NULL",
            [(one, match.person, id, json.dumps(asdict(match))) for one, match in names.items()],
        )
    return next(one for one in list_renamings(log) if one.id == id)
