"""``/v1/journeys``: one person in front of one camera of this board after another."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime

from ..hub.journeys import PAUSE, Journey, Start, StoredStops, read_journeys
from .dependencies import UNAUTHORIZED, ServiceDependency
from .wire import Cursor, Page, read_place, write_cursor

Limit = Annotated[int, Query(ge=1, le=200, description="how many, at most")]
Person = Annotated[str | None, Query(description="a person's id")]
Since = Annotated[AwareDatetime | None, Query(description="only those that began then or later")]
Until = Annotated[AwareDatetime | None, Query(description="only those that began earlier")]
Pause = Annotated[float, Query(ge=1, le=86_400, description="the longest pause within a journey, in seconds")]

router = APIRouter(prefix="/v1", responses=UNAUTHORIZED)


@router.get("/journeys", tags=["appearances"])
def list_journeys(
    *,
    service: ServiceDependency,
    limit: Limit = 50,
    cursor: Cursor = None,
    person: Person = None,
    source: Annotated[str | None, Query(description="only appearances at this camera")] = None,
    since: Since = None,
    until: Until = None,
    pause: Pause = PAUSE,
) -> Page[Journey]:
    """Journeys of known people, newest start first: appearances of one person in which no pause is longer than
    ``pause``. A page never ends within a journey. ``site`` and ``board`` are empty: all cameras are of this board."""
    since_seconds, until_seconds = (time.timestamp() if time else None for time in (since, until))
    stored = service.appearances.stops(person, source, since=since_seconds, until=until_seconds)
    return page_of_journeys(stored, limit, cursor, pause)


def page_of_journeys(stored: StoredStops, limit: int, cursor: str | None, pause: float) -> Page[Journey]:
    """The page of journeys after ``cursor``. Raises HTTPException 422 for a cursor that is not one of ours."""
    place = read_place(cursor, float)
    journeys, last = read_journeys(stored, limit, Start(*place) if place else None, pause)
    return Page(items=journeys, next=write_cursor([last.started, last.person]) if last else None)
