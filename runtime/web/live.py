"""Live data for the page: pictures and the people in them over a WebSocket, events as server-sent events."""

from __future__ import annotations

import asyncio
import json
import queue
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any

import cv2
import numpy as np
from fastapi import APIRouter, HTTPException, Query, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from numpy.typing import NDArray
from starlette.types import Receive, Scope, Send

from ..service.console_protocol import CameraService
from ..service.states import WatchedFrame
from ..tracking.watcher import VisibleFace
from ..vision.draw import black_out
from .access import Access
from .api import find_camera
from .connections import TRY_AGAIN
from .dependencies import NOT_FOUND, ServiceDependency
from .wire import LARGEST

MAX_WIDTH = 1280  # pixels of a picture on the page
JPEG_QUALITY = 80
PICTURE_POLL = 0.03  # seconds between two looks for a new picture
EVENT_POLL = 0.2  # and for an event
STALE_AFTER = 2.0  # seconds without a picture after which the page shows that the camera sends nothing
PING_AFTER = 15.0  # seconds of silence after which the event stream sends a comment, so that proxies keep it open
UNSUPPORTED = 1003  # why a WebSocket is closed (RFC 6455, 7.4.1)
MAX_STREAMS = 8  # live views at a time, and as many listeners to events

JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}}
EVENT_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {}}},
    503: {"description": "too many listeners"},
}

router = APIRouter(prefix="/v1")


class JpegCache:
    """The newest picture of each camera as JPEG, encoded once for all viewers. Masks that must be hidden are black."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._encoded: dict[str, tuple[WatchedFrame, bytes]] = {}

    def jpeg(self, watched: WatchedFrame) -> bytes:
        source = watched.frame.source
        with self._lock:
            cached = self._encoded.get(source)
            if cached is None or cached[0] is not watched:
                cached = self._encoded[source] = (watched, _encode_jpeg(black_out(watched.frame.image, watched.hidden)))
            return cached[1]


def _encode_jpeg(image: NDArray[np.uint8]) -> bytes:
    height, width = image.shape[:2]
    size = (MAX_WIDTH, max(1, round(height * MAX_WIDTH / width)))
    # For less than half the size, pixels must be averaged; else this takes four times as long and looks the same.
    how = cv2.INTER_AREA if width > 2 * MAX_WIDTH else cv2.INTER_LINEAR
    shown = image if width <= MAX_WIDTH else cv2.resize(image, size, interpolation=how)
    return cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


@router.get("/cameras/{name}/picture", tags=["cameras"], responses=JPEG | NOT_FOUND, response_class=Response)
def get_picture(request: Request, service: ServiceDependency, name: str) -> Response:
    """The newest picture as JPEG, at most 1280 pixels wide."""
    find_camera(service, name)
    latest = service.latest(name)
    if latest is None:
        on = service.cameras[name].on
        raise HTTPException(404, f"{name}: no picture yet" if on else f"{name}: this camera is switched off")
    return Response(request.app.state.jpegs.jpeg(latest), media_type="image/jpeg")


@router.get(
    "/alert-pictures/{id}",
    tags=["alerts"],
    responses=JPEG | {404: {"description": "the link is wrong or has expired, or the picture was deleted"}},
    response_class=Response,
)
def get_alert_picture(
    service: ServiceDependency,
    id: str,
    expires: Annotated[int, Query(ge=0, le=LARGEST)],
    signature: Annotated[str, Query(max_length=100)],
) -> Response:
    """The picture of an alert, as JPEG. The whole link comes from the alert. It works without signing in, until it
    expires."""
    image = service.appearances.alert_picture(id, expires, signature)
    if image is None:
        raise HTTPException(404, "this link is wrong or has expired, or its picture was deleted")
    return Response(image, media_type="image/jpeg")


@router.websocket("/cameras/{name}/live")
async def stream_pictures(socket: WebSocket, name: str) -> None:
    """For each text that the client sends, send the next picture: JSON with the people in it, then its JPEG.

    If there is no new picture for two seconds, send JSON only, with ``fresh`` false, and ``on`` false if the camera is
    switched off. A slow page therefore gets fewer
    pictures, never older ones.
    """
    state = socket.app.state
    service: CameraService = state.service
    access: Access = state.access
    if name not in service.cameras or state.viewers >= MAX_STREAMS:
        await socket.close(1008 if service and name not in service.cameras else TRY_AGAIN)
        return
    state.viewers += 1
    try:
        await socket.accept()
        shown: WatchedFrame | None = None
        while not state.stopping:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if message.get("text") is None:
                await socket.close(UNSUPPORTED, "send a text for each picture")
                return
            if access.caller(socket.headers) is None:
                await socket.close(1008, "signed out")
                return
            until = time.monotonic() + STALE_AFTER
            latest = service.latest(name)
            while (latest is None or latest is shown) and time.monotonic() < until and not state.stopping:
                await asyncio.sleep(PICTURE_POLL)
                latest = service.latest(name)
            fresh = None if latest is shown else latest
            people = [asdict(face) for face in (fresh.faces if fresh else ()) if _is_visible(face)]
            await socket.send_text(
                json.dumps({"fresh": fresh is not None, "present": people, "on": service.cameras[name].on})
            )
            if fresh is not None:
                shown = fresh
                await socket.send_bytes(await run_in_threadpool(state.jpegs.jpeg, fresh))
        await socket.close(1001)
    except WebSocketDisconnect:
        pass
    finally:
        state.viewers -= 1


def _is_visible(face: VisibleFace) -> bool:
    """False if the face has left the picture: it is tracked for a moment more, and its box, cut at the edge, is
    empty."""
    x1, y1, x2, y2 = face.box
    return x1 < x2 and y1 < y2


@router.get("/events", tags=["appearances"], response_class=StreamingResponse, responses=EVENT_STREAM)
async def stream_events(request: Request, service: ServiceDependency) -> StreamingResponse:
    """Server-sent events, ``event: appearance``: each stage of each appearance from now on, as in docs/events.md."""
    state = request.app.state
    if state.listeners >= MAX_STREAMS:
        raise HTTPException(503, "too many listeners already")

    async def stream() -> AsyncIterator[str]:
        with service.subscribe() as events:
            yield ": listening\n\n"
            sent = time.monotonic()
            while not state.stopping and state.access.caller(request.headers) is not None:
                try:
                    yield f"event: appearance\ndata: {json.dumps(events.get_nowait().as_event())}\n\n"
                    sent = time.monotonic()
                except queue.Empty:
                    if time.monotonic() - sent > PING_AFTER:
                        yield ": still here\n\n"
                        sent = time.monotonic()
                    await asyncio.sleep(EVENT_POLL)

    # All requests are served in one thread, and nothing is awaited between the check and this line.
    state.listeners += 1
    return ListenerResponse(stream(), media_type="text/event-stream")


class ListenerResponse(StreamingResponse):
    """Gives its place among the listeners back when it ends, also if the client disconnects before the stream
    starts."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            scope["app"].state.listeners -= 1
