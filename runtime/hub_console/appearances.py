"""``/v1/appearances``: who was in front of the cameras of all boards."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from ..hub.appearances import HubAppearance, list_appearances
from ..web.dependencies import UNAUTHORIZED
from ..web.wire import Cursor, Page, read_number, write_cursor
from .hub_connections import HubDependency

router = APIRouter(prefix="/v1", responses=UNAUTHORIZED)


@router.get("/appearances", tags=["appearances"], name="list_appearances")
def list_all_appearances(
    hub: HubDependency,
    limit: Annotated[int, Query(ge=1, le=200, description="how many, at most; a few more if they start together")] = 50,
    cursor: Cursor = None,
) -> Page[HubAppearance]:
    """Newest first, of all boards."""
    found = list_appearances(hub, limit, read_number(cursor, float))
    return Page(items=found, next=write_cursor([found[-1].started]) if len(found) >= limit else None)
