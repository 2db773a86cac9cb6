"""Decisions of a human: somebody at a door got a name that somebody else at the hub has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..core.errors import InputError
from ..gallery.people import clean_name
from .connection import hub_errors

if TYPE_CHECKING:
    from .connection import Hub


@dataclass(frozen=True)
class Conflict:
    """``person`` (an id) got ``name`` at ``board``, of ``site``, but ``other`` (an id; None: nobody any more) has it.

    known     the name of the person at the hub; None: the person was enrolled at the board, and the hub has not taken
              them
    received  seconds since 1970 (UTC)
    samples   number of samples that came with the person
    """

    person: str
    name: str
    board: str
    site: str
    other: str | None
    known: str | None
    received: float
    samples: int


def list_conflicts(hub: Hub) -> list[Conflict]:
    """All that wait for a decision, oldest first."""
    with hub_errors(), hub.transaction():
        rows = hub.execute("""
            SELECT review.person, review.name, review.board, board.site, other.id, own.name,
                extract(epoch FROM received)::float8,
                (SELECT count(*) FROM rkface.review_sample WHERE review_sample.person = review.person)
            FROM rkface.review JOIN rkface.board ON board.id = review.board
                LEFT JOIN rkface.person other ON other.name = review.name
                LEFT JOIN rkface.person own ON own.id = review.person
            ORDER BY received, review.person
        """).fetchall()
    return [Conflict(*row) for row in rows]


def find_conflict(hub: Hub, key: str) -> Conflict:
    """The conflict about the person whose id begins with ``key``. Raises InputError unless there is exactly one."""
    found = [one for one in list_conflicts(hub) if one.person.startswith(key)] if key else []
    if len(found) != 1:
        what = "several conflicts are" if found else "no conflict is"
        raise InputError(f"{what} about a person with the id {key!r}: `rkface hub conflicts` lists all")
    return found[0]


def decide_same(hub: Hub, conflict: Conflict) -> None:
    """Both are one person: merge the one at the board into the other. Raises InputError if nobody has the name any
    more."""
    if conflict.other is None or conflict.other == conflict.person:
        raise InputError("nobody else has this name any more: at its next sync, the board gets it")
    with hub_errors(), hub.transaction():
        hub.execute("SET LOCAL search_path = rkface, public")
        if conflict.known is not None:
            hub.execute("SELECT merge_people(%s, %s)", [conflict.person, conflict.other])
            return
        hub.execute("INSERT INTO stay (person, site) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                    [conflict.other, conflict.site])  # fmt: skip
        _take_samples(hub, conflict, conflict.other)
        hub.execute("UPDATE person SET groups = both_groups(person.groups, review.groups) FROM review "
                    "WHERE person.id = %s AND review.person = %s", [conflict.other, conflict.person])  # fmt: skip
        hub.execute("SELECT note_merged(%s, %s)", [conflict.person, conflict.other])
        hub.execute("SELECT note_change(%s, %s, 'gone')", [conflict.person, conflict.site])


def decide_name(hub: Hub, conflict: Conflict, name: str) -> None:
    """They are two people: the one at the board gets ``name``. Raises InputError if somebody has it."""
    name = clean_name(name)
    with hub_errors(), hub.transaction():
        hub.execute("SET LOCAL search_path = rkface, public")
        if hub.execute("SELECT 1 FROM person WHERE name = %s AND id <> %s", [name, conflict.person]).fetchone():
            raise InputError(f"the hub knows somebody called {name!r}: choose another name")
        if conflict.known is not None:
            hub.execute("UPDATE person SET name = %s WHERE id = %s", [name, conflict.person])
        else:
            hub.execute(
                "INSERT INTO person (id, name, metadata, groups) SELECT person, %s, metadata, groups FROM review "
                "WHERE person = %s",
                [name, conflict.person],
            )
            hub.execute("INSERT INTO stay (person, site) VALUES (%s, %s)", [conflict.person, conflict.site])
            _take_samples(hub, conflict, conflict.person)
        hub.execute("DELETE FROM review WHERE person = %s", [conflict.person])


def decide_erase(hub: Hub, conflict: Conflict) -> None:
    """Erase the person who was enrolled at the board, also there. Raises InputError for somebody whom the hub has."""
    if conflict.known is not None:
        raise InputError("this person was renamed, and the hub has them: use `rkface hub erase`")
    with hub_errors(), hub.transaction():
        hub.execute("SET LOCAL search_path = rkface, public")
        hub.execute("DELETE FROM review WHERE person = %s", [conflict.person])
        hub.execute("INSERT INTO tombstone VALUES (%s) ON CONFLICT DO NOTHING", [conflict.person])
        hub.execute("SELECT note_change(%s, %s, 'erased')", [conflict.person, conflict.site])
        hub.execute("UPDATE event SET body = without_match(body) WHERE named_person(body) = %s", [conflict.person])


def _take_samples(hub: Hub, conflict: Conflict, person: str) -> None:
    """Give the samples that came with the conflict to ``person`` (an id), without those that are there."""
    hub.execute(
        """
        INSERT INTO sample (person, identity, embedding, sealed, quality, source)
            SELECT %s, identity, embedding, sealed, quality, source FROM review_sample new WHERE person = %s
            AND NOT EXISTS (SELECT 1 FROM sample WHERE sample.person = %s AND sample.identity = new.identity
                AND (sample.embedding = new.embedding OR sample.sealed = new.sealed))
        """,
        [person, conflict.person, person],
    )
