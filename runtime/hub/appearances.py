"""Appearances of all boards, as their events told the hub. Boards write events: every part of one is checked
(``note_appearance`` in sql/functions.sql)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .connection import hub_errors
from .fleet import read_number

if TYPE_CHECKING:
    from .connection import Hub

MOST_TEXT = 300  # characters of a name or another text of an event that are read


@dataclass(frozen=True)
class HubAppearance:
    """One appearance at one board, in its latest known stage. Times are seconds since 1970 (UTC) by the board's clock,
    and no later than the hub heard of the appearance.

    id       of the appearance; unique at its ``board``
    source   the camera
    person   id of the person, and ``name``, the name today; None for an unknown or erased person
    cosine   of the match; None without one
    ended    when the person was seen last; 0 while the appearance lasts
    """

    id: str
    board: str
    site: str
    source: str
    person: str | None
    name: str | None
    cosine: float | None
    started: float
    ended: float


def list_appearances(hub: Hub, limit: int, before: float | None = None) -> list[HubAppearance]:
    """The newest ``limit`` appearances that started before ``before``, newest first; a few more if several start
    together."""
    with hub_errors(), hub.transaction():
        rows = hub.execute(
            """
            WITH page AS (
                SELECT * FROM rkface.appearance WHERE started < coalesce(%(before)s::float8, 'infinity')
                ORDER BY started DESC FETCH FIRST %(limit)s ROWS WITH TIES
            )
            SELECT page.id, page.board, site, source, page.person,
                coalesce(person.name, left(body #>> '{match,name}', %(most)s)),
                left(body #>> '{match,cosine}', %(most)s), started, CASE WHEN lasts THEN 0 ELSE last END
            FROM page JOIN rkface.board ON board.id = page.board
                JOIN rkface.event ON event.board = page.board AND event.id = page.event
                LEFT JOIN rkface.person ON person.id = page.person
            ORDER BY started DESC, page.board, page.id
            """,
            {"most": MOST_TEXT, "before": before, "limit": limit},
        ).fetchall()
    return [
        HubAppearance(id, board, site, source, person, name if person else None, read_number(cosine), started, ended)
        for id, board, site, source, person, name, cosine, started, ended in rows
    ]
