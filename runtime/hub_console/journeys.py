"""``/v1/journeys`` and ``/v1/attendance.csv``: who was where, over all boards of the hub."""

from __future__ import annotations

import io
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from ..hub.attendance import list_days, read_zone
from ..hub.journeys import PAUSE, Journey
from ..hub.stored_stops import HubStops, Selection, reading, write_hub_attendance
from ..web.dependencies import UNAUTHORIZED
from ..web.journeys import Limit, Pause, Person, Since, Until, page_of_journeys
from ..web.wire import Cursor, Page
from .hub_connections import HubDependency

CSV = "text/csv; charset=utf-8"
TABLE: dict[int | str, dict[str, Any]] = {200: {"content": {CSV: {"schema": {"type": "string"}}}}}
Site = Annotated[str | None, Query(description="only what boards of this site saw")]

router = APIRouter(prefix="/v1", responses=UNAUTHORIZED)


@router.get("/journeys", tags=["journeys"])
def list_journeys(
    *,
    hub: HubDependency,
    limit: Limit = 50,
    cursor: Cursor = None,
    person: Person = None,
    site: Site = None,
    since: Since = None,
    until: Until = None,
    pause: Pause = PAUSE,
) -> Page[Journey]:
    """Journeys of known people, newest start first: appearances of one person, at any boards, in which no pause is
    longer than ``pause``. A page never ends within a journey."""
    since_seconds, until_seconds = (time.timestamp() if time else None for time in (since, until))
    with reading(hub):
        stored = HubStops(hub, Selection(person, site), since_seconds, until_seconds)
        return page_of_journeys(stored, limit, cursor, pause)


@router.get("/attendance.csv", tags=["journeys"], responses=TABLE, response_class=Response)
def get_attendance(
    *,
    hub: HubDependency,
    first: Annotated[date, Query(alias="from", description="the first day")],
    last: Annotated[date, Query(alias="to", description="the last day, which is included")],
    time_zone: Annotated[str, Query(max_length=100, description="whose days count, such as Europe/Warsaw")],
    person: Person = None,
    site: Site = None,
) -> Response:
    """When each person was seen first and last on each day, and when boards and cameras did not look (docs/hub.md)."""
    days = list_days(first, last, read_zone(time_zone))
    out = io.StringIO()
    write_hub_attendance(hub, Selection(person, site), days, out)
    name = f'attachment; filename="attendance-{first}-{last}.csv"'
    return Response(out.getvalue(), media_type=CSV, headers={"content-disposition": name})
