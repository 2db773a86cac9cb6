"""Where people were and when nobody looked, as the hub stores it, for journeys and attendance."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, TextIO

from .attendance import Days, Silence, Watch, find_seen_days, write_attendance
from .connection import hub_errors
from .journeys import LONG, Start, Stop

if TYPE_CHECKING:
    from .connection import Hub

BATCH = (
    8  # appearances of one person in the first answer: few journeys have more. Each further answer has twice as many
)
STREAMED = 2000  # rows that travel at once when all of a time are read
STOP = (
    "appearance.id, board.site, board.id, appearance.source, appearance.person, "
    "coalesce(person.name, (SELECT left(body #>> '{match,name}', 300) FROM rkface.event "
    "WHERE event.board = appearance.board AND event.id = appearance.event), ''), "
    "appearance.started, appearance.last, appearance.lasts "
    "FROM rkface.appearance JOIN rkface.board ON board.id = appearance.board "
    "LEFT JOIN rkface.person ON person.id = appearance.person"
)
BEFORE = (
    "FROM rkface.appearance other JOIN rkface.board ON board.id = other.board WHERE other.person = one.person "
    "AND other.started < one.started AND other.last + %(pause)s >= one.started "
    "AND (%(site)s::text IS NULL OR board.site = %(site)s)"
)


@dataclass(frozen=True)
class Selection:
    """Which appearances count: those of one person (an id), at one site; None: of all."""

    person: str | None = None
    site: str | None = None


@contextmanager
def reading(hub: Hub) -> Iterator[None]:
    """A transaction that reads one state of the hub. Raises WorkError if the hub fails."""
    with hub_errors(), hub.transaction():
        hub.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


class HubStops:
    """The ``StoredStops`` of ``hub``: appearances of ``selection``, and journeys that begin at ``since`` or later and
    before ``until`` (seconds since 1970; None: without a limit). Use it while
    ``reading``."""

    def __init__(self, hub: Hub, selection: Selection, since: float | None = None, until: float | None = None) -> None:
        self._hub, self._selection, self._since, self._until = hub, selection, since, until

    def starts(self, limit: int, before: Start | None, pause: float) -> list[Start]:
        """See ``StoredStops``."""
        rows = self._hub.execute(
            f"""
            SELECT DISTINCT one.started, one.person
            FROM rkface.appearance one JOIN rkface.board ON board.id = one.board
            WHERE one.person IS NOT NULL AND (%(person)s::text IS NULL OR one.person = %(person)s)
                AND (%(site)s::text IS NULL OR board.site = %(site)s)
                AND (%(since)s::float8 IS NULL OR one.started >= %(since)s)
                AND (%(until)s::float8 IS NULL OR one.started < %(until)s)
                AND (%(before)s::float8 IS NULL OR (one.started, one.person) < (%(before)s, %(who)s))
                AND NOT EXISTS (
                    SELECT 1 {BEFORE} AND other.started >= one.started - %(pause)s - {LONG} - 1)
                AND NOT EXISTS (
                    SELECT 1 {BEFORE} AND other.last - other.started > {LONG})
            ORDER BY one.started DESC, one.person DESC LIMIT %(limit)s
            """.encode(),
            {
                "person": self._selection.person, "site": self._selection.site, "since": self._since,
                "until": self._until, "before": before.started if before else None,
                "who": before.person if before else "", "pause": pause, "limit": limit,
            },
        )  # fmt: skip
        return [Start(started, person) for started, person in rows]

    def stops(self, start: Start) -> Iterator[Stop]:
        """See ``StoredStops``."""
        after: tuple[Any, ...] = (start.started, "", "")
        for batch in (BATCH << number for number in count()):
            rows = self._hub.execute(
                f"SELECT {STOP} WHERE appearance.person = %s AND (%s::text IS NULL OR board.site = %s) "
                "AND (appearance.started, appearance.board, appearance.id) > (%s, %s, %s) "
                "ORDER BY appearance.started, appearance.board, appearance.id LIMIT %s".encode(),
                [start.person, self._selection.site, self._selection.site, *after, batch],
            ).fetchall()
            found = [Stop(*row) for row in rows]
            yield from found
            if len(found) < batch:
                return
            after = (found[-1].started, found[-1].board, found[-1].appearance)


def read_stops(hub: Hub, selection: Selection, since: float, until: float) -> Iterator[Stop]:
    """All appearances of ``selection`` that touch the time from ``since`` to ``until``, while ``reading``."""
    with hub.cursor("stops") as cursor:
        cursor.itersize = STREAMED
        cursor.execute(
            f"SELECT {STOP} WHERE appearance.person IS NOT NULL AND appearance.last >= %s AND appearance.started < %s "
            "AND (%s::text IS NULL OR appearance.person = %s) AND (%s::text IS NULL OR board.site = %s)".encode(),
            [since, until, selection.person, selection.person, selection.site, selection.site],
        )
        yield from (Stop(*row) for row in cursor)


def read_silences(hub: Hub, site: str | None, since: float, until: float, now: float) -> list[Silence]:
    """When boards at ``site`` (None: everywhere) or their cameras did not look, between ``since`` and ``until``. A
    board whose last heartbeat is older than 5 minutes is silent until ``now``. What was revoked is no board any more.
    """
    rows = hub.execute(
        """
        SELECT board.site, one.board, one.camera, extract(epoch FROM one.started)::float8,
            extract(epoch FROM least(one.ended, board.revoked, to_timestamp(%(now)s)))::float8
        FROM (
            SELECT board, camera, started, ended FROM rkface.silence
            UNION ALL
            SELECT board.id, '', coalesce(seen, created), NULL
                FROM rkface.board LEFT JOIN rkface.heartbeat ON heartbeat.board = board.id
                WHERE coalesce(seen, created) < to_timestamp(%(now)s) - interval '5 minutes'
        ) one JOIN rkface.board ON board.id = one.board
        WHERE (%(site)s::text IS NULL OR board.site = %(site)s) AND one.started < to_timestamp(%(until)s)
            AND least(one.ended, board.revoked, to_timestamp(%(now)s)) > to_timestamp(%(since)s)
        ORDER BY board.site, one.board, one.camera, one.started
        """,
        {"site": site, "since": since, "until": until, "now": now},
    )
    return [Silence(*row) for row in rows]


def read_places(hub: Hub) -> dict[str, frozenset[str]]:
    """The sites where each person (an id) is known today."""
    rows = hub.execute("SELECT person, array_agg(site) FROM rkface.stay GROUP BY person")
    return {person: frozenset(sites) for person, sites in rows}


def write_hub_attendance(hub: Hub, selection: Selection, days: Days, out: TextIO) -> None:
    """Write the attendance of ``selection`` on ``days`` as CSV: see ``write_attendance``. Raises WorkError if the hub
    fails; then nothing was written."""
    now, (since, until) = time.time(), (days.bounds[0], days.bounds[-1])
    with reading(hub):
        seen_days = find_seen_days(read_stops(hub, selection, since, until), days)
        watch = Watch(read_silences(hub, selection.site, since, until, now), read_places(hub), now)
    write_attendance(out, seen_days, watch, days)
