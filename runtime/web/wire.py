"""How ``/v1`` writes its answers: times also as RFC 3339, lists in pages, and errors as RFC 9457."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from http import HTTPStatus
from typing import Annotated, Any, Generic, TypeVar

from fastapi import HTTPException, Query
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from ..core.text import readable

# Fields with seconds since 1970. Each has a neighbor with the same time as text, such as "started_at". 0: not yet.
TIMES = frozenset(
    {"started", "ended", "created", "changed", "used", "last", "time", "error_time", "until", "seen", "revoked"}
)
MOST = 1000  # entries of a page

LARGEST = 2**62  # of a number in a cursor

Item = TypeVar("Item")
Key = TypeVar("Key", float, str)
Number = TypeVar("Number", int, float)
Limit = Annotated[int, Query(ge=1, le=MOST, description="how many entries, at most")]
Cursor = Annotated[str | None, Query(max_length=1000, description="`next` of the page before")]


class Page(BaseModel, Generic[Item]):
    """A part of a list. ``next`` is the cursor of the next page; null after the last entry."""

    items: Sequence[Item]
    next: str | None


class Problem(BaseModel):
    """An error (RFC 9457). ``detail`` says what is wrong and what to do. ``errors``: the wrong fields of a request.
    ``verdict``: why a photo was not enrolled."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[dict[str, Any]] = Field(default_factory=list)
    verdict: dict[str, Any] | None = None


class WireResponse(JSONResponse):
    """JSON with the times as text, too. Only ASCII: a request may have contained half a character (\\ud800)."""

    def render(self, content: Any) -> bytes:
        return json.dumps(add_times(content), allow_nan=False, separators=(",", ":")).encode()


def add_times(content: Any) -> Any:
    """``content`` (JSON) with a time as text beside each time in seconds."""
    if isinstance(content, list):
        return [add_times(one) for one in content]
    if not isinstance(content, dict):
        return content
    written: dict[str, Any] = {}
    for name, value in content.items():
        if name in TIMES and (value is None or (isinstance(value, int | float) and not isinstance(value, bool))):
            written[name] = value or None
            written[f"{name}_at"] = to_rfc3339(value) if value else None
        else:
            written[name] = add_times(value)
    return written


def to_rfc3339(seconds: float) -> str | None:
    """``seconds`` since 1970 as text with milliseconds, UTC; None for a time that no calendar has."""
    try:
        text = datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return None
    return text.replace("+00:00", "Z")


def page_of(
    items: Iterable[Item], key: Callable[[Item], tuple[Any, ...]], limit: int, cursor: str | None
) -> Page[Item]:
    """The page of ``items``, sorted by ``key``, after the entry that ``cursor`` names. Entries that were added or
    deleted since neither repeat nor hide others. Raises HTTPException 422 for a cursor that is not one of ours."""
    ordered = sorted(items, key=key)
    after = read_cursor(cursor)
    try:
        rest = ordered if after is None else [one for one in ordered if key(one) > tuple(after)]
    except TypeError:
        raise _wrong_cursor() from None
    shown = rest[:limit]
    return Page(items=shown, next=write_cursor(key(shown[-1])) if len(rest) > limit else None)


def write_cursor(place: Sequence[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(list(place)).encode()).decode()


def read_number(cursor: str | None, kind: type[Number]) -> Number | None:
    """The only number in ``cursor``. Raises HTTPException 422 if it is something else, or too large for SQLite."""
    place = read_cursor(cursor)
    if place is None:
        return None
    if len(place) != 1 or not _is_usable(place[0], kind):
        raise _wrong_cursor()
    number: Number = place[0]
    return number


def read_place(cursor: str | None, kind: type[Key]) -> tuple[Key, str] | None:
    """A number or text, and an id, in ``cursor``. Raises HTTPException 422 if it contains something else, or what
    SQLite cannot hold."""
    place = read_cursor(cursor)
    if place is None:
        return None
    if len(place) != 2 or not _is_usable(place[0], kind) or not _is_usable(place[1], str):
        raise _wrong_cursor()
    return place[0], place[1]


def read_name(cursor: str | None) -> str | None:
    """The only text in ``cursor``. Raises HTTPException 422 if it contains something else."""
    place = read_cursor(cursor)
    if place is None:
        return None
    if len(place) != 1 or not _is_usable(place[0], str):
        raise _wrong_cursor()
    return str(place[0])


def _is_usable(value: Any, kind: type[Any]) -> bool:
    if kind is str:
        return isinstance(value, str) and readable(value) == value  # JSON can contain half a character
    return type(value) is kind and bool(abs(value) < LARGEST)


def read_cursor(cursor: str | None) -> list[Any] | None:
    """What ``write_cursor`` has written. Raises HTTPException 422 if it was something else."""
    if cursor is None:
        return None
    try:
        place = json.loads(base64.urlsafe_b64decode(cursor.encode()))
    except (binascii.Error, ValueError, RecursionError):
        raise _wrong_cursor() from None
    if not isinstance(place, list):
        raise _wrong_cursor()
    return place


def _wrong_cursor() -> HTTPException:
    return HTTPException(422, "cursor: use the field next of the page before, unchanged")


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    """An answer about an error (RFC 9457)."""
    content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    return WireResponse(content, status, dict(headers or {}), "application/problem+json")
