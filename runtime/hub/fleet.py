"""What the hub knows about each board: when it was seen, how far it is behind, and what it says about itself.

A board writes its own heartbeat. A board that was taken over can write anything there, so everything is checked.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from .connection import hub_errors

if TYPE_CHECKING:
    from .connection import Hub

AWAY = 180.0  # seconds without a heartbeat, which comes each minute, after which a board counts as away
MOST_TEXT = 2000  # characters of a part of a heartbeat that are read
RELEASE = 100  # characters of a release

Standing = Literal["ok", "trouble", "waiting", "away", "lease ended", "revoked"]


@dataclass(frozen=True)
class BoardState:
    """A board, as the hub knows it at this moment.

    standing     "ok"; "trouble": it is here and reports a problem; "waiting": it was never seen; "away": no heartbeat
                 for three minutes; "lease ended": it names nobody any more; "revoked": its credentials are void
    seen         its last heartbeat, seconds since 1970 (UTC); None before the first one
    age          seconds since then, by the clock of the hub
    revoked      since when its credentials are void; None: they are valid
    lease_left   seconds until it names nobody; None before the first heartbeat
    behind       how many people of its site changed since its last sync
    unconfirmed  how many erasures it has not confirmed
    release      of rkface; None if it did not say
    queue        events that wait there; None if it did not say
    celsius      the temperature of its hottest zone; None if it did not say
    """

    id: str
    site: str
    standing: Standing
    seen: float | None
    age: float | None
    revoked: float | None
    lease_left: float | None
    behind: int
    unconfirmed: int
    release: str | None
    queue: int | None
    celsius: float | None


def read_fleet(hub: Hub) -> list[BoardState]:
    """All boards, by site and name."""
    with hub_errors(), hub.transaction():
        rows = hub.execute(
            """
            SELECT board.id, board.site, extract(epoch FROM seen)::float8,
                extract(epoch FROM now() - seen)::float8, extract(epoch FROM revoked)::float8, lease,
                (SELECT count(*) FROM rkface.change
                    WHERE change.site = board.site AND change.revision > coalesce(heartbeat.revision, 0)),
                (SELECT count(*) FROM rkface.tombstone JOIN rkface.change USING (person)
                    WHERE change.site = board.site AND board.created < erased AND NOT EXISTS (SELECT 1
                        FROM rkface.receipt WHERE receipt.person = tombstone.person AND receipt.board = board.id)),
                left(state ->> 'release', %(most)s), left(state ->> 'queue', %(most)s),
                left(state ->> 'celsius', %(most)s), state -> 'ok' = 'false'
            FROM rkface.board LEFT JOIN rkface.heartbeat ON heartbeat.board = board.id ORDER BY board.site, board.id
            """,
            {"most": MOST_TEXT},
        ).fetchall()
    return [_read_row(row) for row in rows]


def _read_row(row: tuple[Any, ...]) -> BoardState:
    id, site, seen, age, revoked, lease, behind, unconfirmed, release, queue, celsius, trouble = row
    age = None if age is None else max(0.0, age)  # the clock of the hub may have been set back
    left = None if age is None else max(0.0, lease - age)
    return BoardState(
        id, site, _standing(age, revoked, left, bool(trouble)), seen, age, revoked, left, behind, unconfirmed,
        read_release(release), read_queue(queue), read_celsius(celsius),
    )  # fmt: skip


def _standing(age: float | None, revoked: float | None, left: float | None, trouble: bool) -> Standing:
    if revoked is not None:
        return "revoked"
    if age is None or left is None:
        return "waiting"
    if left <= 0:
        return "lease ended"
    return "away" if age > AWAY else "trouble" if trouble else "ok"


def read_release(text: str | None) -> str | None:
    """The release in a heartbeat, visible characters only; None if it has no release."""
    return "".join(one for one in (text or "")[:RELEASE] if one.isprintable()).strip() or None


def read_queue(text: str | None) -> int | None:
    """The number of waiting events in a heartbeat; None if it cannot be one."""
    number = read_number(text)
    return int(number) if number is not None and 0 <= number < 2**53 else None


def read_celsius(text: str | None) -> float | None:
    """The highest of the temperatures in a heartbeat, a JSON object of them; None if it has no number."""
    try:
        zones = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return None
    values = [read_number(json.dumps(one)) for one in zones.values()] if isinstance(zones, dict) else []
    return max((one for one in values if one is not None), default=None)


def read_number(text: str | None) -> float | None:
    """The finite number that a board wrote as ``text``; None for any other text."""
    try:
        number = float(text) if text else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None
