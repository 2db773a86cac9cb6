"""``/v1/people/search``: the people of the hub, and the sites where they are known."""

from __future__ import annotations

from fastapi import APIRouter

from ..hub.people import HubPerson, find_people
from ..web.dependencies import UNAUTHORIZED
from ..web.schemas import PersonSearch
from ..web.wire import Page, read_name, write_cursor
from .hub_connections import HubDependency

router = APIRouter(prefix="/v1", responses=UNAUTHORIZED)


@router.post("/people/search", tags=["people"])
def search_people(hub: HubDependency, body: PersonSearch) -> Page[HubPerson]:
    """People whose name contains ``text``, by name, and where they are known. Small and capital letters are the same.
    It changes nothing; it is a POST because addresses of requests, which proxies log, must not contain names."""
    found = find_people(hub, body.text, body.limit + 1, read_name(body.cursor))
    shown = found[: body.limit]
    return Page(items=shown, next=write_cursor([shown[-1].name]) if len(found) > body.limit else None)
