"""The files of the page, from memory: no request reads the disk or needs a thread."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from .wire import problem

MANIFEST = "application/manifest+json"  # W3C, Web Application Manifest; not every system knows the ending
PIECE = 64 * 1024  # bytes that are written at a time, so that a client that does not read is noticed


@dataclass(frozen=True)
class PageFile:
    """``tag`` changes with the content (RFC 9110, 8.8.3)."""

    content: bytes
    kind: str
    tag: str


class PageFiles:
    """An ASGI application with the files of ``folder`` and those of ``made`` (name → content). It answers GET and
    HEAD."""

    def __init__(self, folder: Path, made: Mapping[str, bytes] | None = None) -> None:
        contents = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        self._files = {name: _file(name, content) for name, content in {**contents, **(made or {})}.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = scope["path"].removeprefix(scope.get("root_path", "")).removeprefix("/")
        file = self._files.get(name) or self._files.get(f"{name or 'index'}.html")  # "/docs" is docs.html
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["method"] not in ("GET", "HEAD"):
            await problem(405, "Method Not Allowed", {"allow": "GET, HEAD"})(scope, receive, send)
        elif file is None:
            await problem(404, "Not Found")(scope, receive, send)
        else:
            await _send_file(file, scope, send)


async def _send_file(file: PageFile, scope: Scope, send: Send) -> None:
    known = file.tag in (tag.strip() for tag in Headers(scope=scope).get("if-none-match", "").split(","))
    headers = [(b"etag", file.tag.encode()), (b"content-type", file.kind.encode())]
    content = b"" if known else file.content
    if not known:
        headers.append((b"content-length", str(len(content)).encode()))
    await send({"type": "http.response.start", "status": 304 if known else 200, "headers": headers})
    if scope["method"] == "HEAD":
        content = b""
    for at in range(0, len(content) or 1, PIECE):
        more = at + PIECE < len(content)
        await send({"type": "http.response.body", "body": content[at : at + PIECE], "more_body": more})


def _file(name: str, content: bytes) -> PageFile:
    kind = MANIFEST if name.endswith(".webmanifest") else mimetypes.guess_type(name)[0] or "application/octet-stream"
    text = kind.startswith("text/")
    return PageFile(
        content, f"{kind}; charset=utf-8" if text else kind, f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    )
