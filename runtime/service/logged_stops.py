"""The appearances of known people in the log of this board, for journeys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..gallery.gallery import Gallery
from ..hub.journeys import LONG, Start, Stop
from .appearance_log import AppearanceLog
from .current_person import find_current

BATCH = 50  # appearances of one person in one answer: few journeys have more
# Which appearances of a table count.
COUNTS = "(?1 IS NULL OR {0}.person = ?1) AND (?2 IS NULL OR {0}.source = ?2)"
BEFORE = (
    "FROM appearance other WHERE other.person = one.person AND other.started < one.started "
    f"AND other.last + ?7 >= one.started AND {COUNTS.format('other')}"
)


@dataclass(frozen=True)
class LoggedStops:
    """The ``StoredStops`` of ``log``, with the names that ``gallery`` has today. Who was deleted there has none.

    person  only this person (an id); None: everybody
    source  only this camera
    since   only journeys that begin then or later; seconds since 1970
    until   only journeys that begin earlier
    """

    log: AppearanceLog
    gallery: Gallery
    person: str | None = None
    source: str | None = None
    since: float | None = None
    until: float | None = None

    def starts(self, limit: int, before: Start | None, pause: float) -> list[Start]:
        """See ``StoredStops``."""
        rows = self.log.read(
            "SELECT DISTINCT one.started, one.person FROM appearance one WHERE one.person IS NOT NULL "
            f"AND {COUNTS.format('one')} AND one.started >= ifnull(?3, -1e308) AND one.started < ifnull(?4, 1e308) "
            "AND (?5 IS NULL OR (one.started, one.person) < (?5, ?6)) "
            f"AND NOT EXISTS (SELECT 1 {BEFORE} AND other.started >= one.started - ?7 - {LONG} - 1) "
            f"AND NOT EXISTS (SELECT 1 {BEFORE} AND other.last - other.started > {LONG}) "
            "ORDER BY one.started DESC, one.person DESC LIMIT ?8",
            [
                self.person, self.source, self.since, self.until, before.started if before else None,
                before.person if before else "", pause, limit,
            ],
        )  # fmt: skip
        return [Start(*row) for row in rows]

    def stops(self, start: Start) -> Iterator[Stop]:
        """See ``StoredStops``."""
        current = find_current(self.gallery, start.person)
        after, more = (start.started, ""), current is not None
        while current and more:
            rows = self.log.read(
                "SELECT id, source, started, last, json_extract(event, '$.stage') <> 'end' FROM appearance "
                f"WHERE person = ?3 AND {COUNTS.format('appearance')} AND (started, id) > (?4, ?5) "
                "ORDER BY started, id LIMIT ?6",
                [self.person, self.source, start.person, *after, BATCH],
            )
            for id, source, started, last, lasts in rows:
                yield Stop(id, "", "", source, start.person, current[1], started, last, bool(lasts))
                after = started, id
            more = len(rows) == BATCH
