"""Read the body of an upload within a time limit."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import HTTPException, Request

STALLED = 15.0  # seconds without a byte after which an upload ends
GRACE = 10.0  # seconds that every upload may take
MAX_PIXELS = 50_000_000  # of an uploaded photo: 150 MB while it is decoded, one at a time
UPLOAD: dict[int | str, dict[str, Any]] = {
    408: {"description": "the photo arrives too slowly"},
    413: {"description": "the photo is too large"},
}
MIN_RATE = 64 * 1024  # bytes per second that it must have on average, beyond the grace


async def read_upload(request: Request) -> bytes:
    """The whole body of ``request``. Its length was checked by ``access``.

    Raises HTTPException 408 if it arrives too slowly, and 400 if the client ends before its end.
    """
    clock = asyncio.get_running_loop().time
    length = int(request.headers.get("content-length", "0"))
    until, body, complete = clock() + GRACE + length / MIN_RATE, bytearray(), False
    while not complete:
        try:
            message = await asyncio.wait_for(request.receive(), min(STALLED, until - clock()))
        except asyncio.TimeoutError:
            raise HTTPException(
                408, "the photo arrived too slowly: try again with a better connection", {"connection": "close"}
            ) from None
        if message["type"] == "http.disconnect":
            raise HTTPException(400, "the connection ended before the end of the photo")
        body += message.get("body", b"")
        complete = not message.get("more_body", False)
    return bytes(body)
