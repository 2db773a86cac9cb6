"""``/v1/boards``: the boards of the hub, for the page and for programs."""

from __future__ import annotations

from fastapi import APIRouter

from ..hub.fleet import BoardState, read_fleet
from ..web.dependencies import UNAUTHORIZED
from ..web.wire import Page
from .hub_connections import HubDependency

router = APIRouter(prefix="/v1", responses=UNAUTHORIZED)


@router.get("/boards", tags=["boards"])
def list_boards(hub: HubDependency) -> Page[BoardState]:
    """All boards, by site and name: when each was seen, how far it is behind, and what it says about itself."""
    return Page(items=read_fleet(hub), next=None)
