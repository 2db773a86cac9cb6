"""What the page sees happen: pictures with who is in them over a WebSocket, events as server-sent events."""

from __future__ import annotations

import asyncio
import json
import queue
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

import cv2
from fastapi import APIRouter, HTTPException, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from ..inference.frames import Frame
from ..service.console_protocol import CameraService
from ..tracking.watcher import VisibleFace
from .access import Access
from .api import ABSENT, Served, camera_of

WIDEST = 1280  # pixels of a picture on the page
QUALITY = 80  # of its JPEG
POLL = 0.03  # seconds between looks for a new picture, and POLL_EVENTS for an event
POLL_EVENTS = 0.2
STALE = 2.0  # seconds without a picture after which the page is told so
PING = 15.0  # seconds after which a silent stream says something, so that proxies leave it open
VIEWERS = 8  # streams at a time, of each kind

JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}}
STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {}}},
    503: {"description": "too many listen"},
}

router = APIRouter(prefix="/v1")


class Pictures:
    """The newest picture of each camera as JPEG, made once however many look at it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[str, tuple[Frame, bytes]] = {}

    def of(self, frame: Frame) -> bytes:
        with self._lock:
            made = self._made.get(frame.source)
            if made is None or made[0] is not frame:
                made = self._made[frame.source] = (frame, _jpeg(frame))
            return made[1]


def _jpeg(frame: Frame) -> bytes:
    height, width = frame.image.shape[:2]
    size = (WIDEST, max(1, round(height * WIDEST / width)))
    image = frame.image if width <= WIDEST else cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


@router.get("/cameras/{name}/picture", tags=["cameras"], responses=JPEG | ABSENT, response_class=Response)
def picture(request: Request, service: Served, name: str) -> Response:
    """The newest picture, as JPEG, at most 1280 pixels wide."""
    camera_of(service, name)
    frame, _ = service.latest(name)
    if frame is None:
        raise HTTPException(404, f"{name}: no picture yet")
    return Response(request.app.state.pictures.of(frame), media_type="image/jpeg")


@router.websocket("/cameras/{name}/live")
async def live(socket: WebSocket, name: str) -> None:
    """For each text that comes, the next picture: JSON with who is in it, then its JPEG. When none comes for two
    seconds, JSON alone, with ``fresh`` false. So a slow page gets fewer pictures, never older ones."""
    state = socket.app.state
    service: CameraService = state.service
    access: Access = state.access
    if name not in service.cameras or state.viewers >= VIEWERS:
        await socket.close(1013 if name in service.cameras else 1008)
        return
    state.viewers += 1
    try:
        await socket.accept()
        shown: Frame | None = None
        while not state.stopping:
            await socket.receive_text()
            if access.token(socket.headers) is None:
                await socket.close(1008, "signed out")
                return
            until = time.monotonic() + STALE
            frame, present = service.latest(name)
            while (frame is None or frame is shown) and time.monotonic() < until and not state.stopping:
                await asyncio.sleep(POLL)
                frame, present = service.latest(name)
            fresh = frame is not None and frame is not shown
            said = {"fresh": fresh, "present": [asdict(one) for one in present if fresh and _inside(one)]}
            await socket.send_text(json.dumps(said))
            if frame is not None and fresh:
                shown = frame
                await socket.send_bytes(await run_in_threadpool(state.pictures.of, frame))
        await socket.close(1001)
    except WebSocketDisconnect:
        pass
    finally:
        state.viewers -= 1


def _inside(one: VisibleFace) -> bool:
    """A face that walked out of the picture is followed for a moment: its box, cut at the edge, is empty."""
    x1, y1, x2, y2 = one.box
    return x1 < x2 and y1 < y2


@router.get("/events", tags=["appearances"], response_class=StreamingResponse, responses=STREAM)
async def events(request: Request, service: Served) -> StreamingResponse:
    """Server-sent events, ``event: appearance``: each stage of each appearance from now on, as docs/events.md says."""
    state = request.app.state
    if state.listeners >= VIEWERS:
        raise HTTPException(503, "too many listen already")

    async def stream() -> AsyncIterator[str]:
        with service.subscribe() as news:
            yield ": listening\n\n"
            said = time.monotonic()
            while not state.stopping and state.access.token(request.headers) is not None:
                try:
                    yield f"event: appearance\ndata: {json.dumps(news.get_nowait())}\n\n"
                    said = time.monotonic()
                except queue.Empty:
                    if time.monotonic() - said > PING:
                        yield ": still here\n\n"
                        said = time.monotonic()
                    await asyncio.sleep(POLL_EVENTS)

    state.listeners += 1  # one thread serves all, and nobody else's turn comes between looking and counting
    return Listening(stream(), media_type="text/event-stream")


class Listening(StreamingResponse):
    """Counted from before its first byte until it is over, also where the listener goes before the stream began."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            scope["app"].state.listeners -= 1
