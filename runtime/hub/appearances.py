"""Appearances of all boards, as their events told the hub. Boards write events: every part of one is checked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..tracking.appearance import SCHEMA
from .connection import hub_errors
from .fleet import read_number

if TYPE_CHECKING:
    from .connection import Hub

MOST_TEXT = 300  # characters of a name or another text of an event that are read
LATEST = 1e11  # seconds since 1970. Later events are left out: a cursor cannot hold any number


@dataclass(frozen=True)
class HubAppearance:
    """One appearance at one board, in its latest known stage. Times are seconds since 1970 (UTC) by the board's clock.

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
            WITH latest AS (
                SELECT DISTINCT ON (started, board, id) (body ->> 'started')::double precision AS started, board,
                    left(body ->> 'id', %(most)s) AS id, left(body ->> 'source', %(most)s) AS source,
                    left(body #>> '{match,person}', %(most)s) AS person,
                    left(body #>> '{match,name}', %(most)s) AS name,
                    left(body #>> '{match,cosine}', %(most)s) AS cosine, left(body ->> 'ended', %(most)s) AS ended
                FROM rkface.event
                WHERE body ->> 'schema' = %(schema)s
                    AND (body ->> 'started')::double precision < coalesce(%(before)s::float8, %(latest)s)
                ORDER BY started DESC, board, id, (body ->> 'stage' = 'end') DESC NULLS LAST, received DESC
            ), page AS (SELECT * FROM latest ORDER BY started DESC FETCH FIRST %(limit)s ROWS WITH TIES)
            SELECT page.id, board, site, source, page.person, coalesce(person.name, page.name), cosine, started, ended
            FROM page JOIN rkface.board ON board.id = page.board LEFT JOIN rkface.person ON person.id = page.person
            ORDER BY started DESC, board, page.id
            """,
            {"most": MOST_TEXT, "schema": SCHEMA, "before": before, "limit": limit, "latest": LATEST},
        ).fetchall()
    return [
        HubAppearance(
            id or "", board, site, source or "", person, name if person else None, read_number(cosine), started,
            read_number(ended) or 0.0,
        )
        for id, board, site, source, person, name, cosine, started, ended in rows if math.isfinite(started)
    ]  # fmt: skip
