"""The door: what every request has to pass before anything of it is read."""

from __future__ import annotations

import hmac
import secrets
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .password import Passwords
from .session import Attempts, Sessions

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
SAFE = frozenset({"GET", "HEAD"})
TOKEN = "x-csrf-token"
SIGN_IN = "/v1/session"
PHOTOS = frozenset({"/v1/enrollments/photo", "/v1/enrolments/photo"})  # the second is the path of rkface 0.1
FOR_PROGRAMS = frozenset({"/metrics", "/v1/health"})  # that say of nobody who they are
MOST_BYTES = 64 * 1024  # of a request's body
MOST_PHOTO_BYTES = 24 * 1024 * 1024  # a phone's largest JPEG; as PNG, about 8 megapixels

HEADERS = {
    # Nothing but our own files: no inline script or style, no frames, no other site. blob: is the live picture.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; manifest-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Access:
    """Who may do what. Without ``passwords`` the console is open to whoever sits at this machine, and to pages that it
    served itself; ``secure`` says that it is served over TLS. Programs with ``token`` may read ``FOR_PROGRAMS``."""

    def __init__(self, passwords: Passwords | None, secure: bool, token: str = "") -> None:
        self.passwords, self.secure = passwords, secure
        self._program = token.encode()
        self.sessions, self.attempts = Sessions(), Attempts()
        self._token = secrets.token_urlsafe(32)

    @property
    def cookie(self) -> str:
        # __Host- binds it to this host and to TLS (RFC 6265bis, 4.1.3).
        return "__Host-rkface" if self.secure else "rkface"

    def secret(self, headers: Headers) -> str:
        """What the session cookie says, "" for none."""
        # Not http.cookies: it gives up at the first cookie it dislikes, and other programs of this host set some, too.
        return cookie_parser(headers.get("cookie", "")).get(self.cookie, "")

    def token(self, headers: Headers) -> str | None:
        """The token with which this session may change things; None for who is not signed in."""
        if self.passwords is None:
            return self._token
        session = self.sessions.find(self.secret(headers))
        return session.token if session else None

    def reads(self, method: str, path: str, headers: Headers) -> bool:
        """Whether this is a program with the token (RFC 6750, 2.1), and asks for what is for programs."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(given.strip().encode(), self._program)
        return bool(self._program) and right and scheme.lower() == "bearer" and method in SAFE and path in FOR_PROGRAMS


class Guard:
    """Lets a request through to ``app`` or refuses it, and puts the security headers on every answer."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                # What is behind the door is nobody's to keep; our own files may be, but must be asked about.
                headers["cache-control"] = "no-store" if scope["path"].startswith("/v1") else "no-cache"
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, sending)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refusal[1]})  # HTTP 403 before it is open
        else:
            status, detail = refusal
            await JSONResponse({"detail": detail}, status)(scope, receive, sending)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers, path = Headers(scope=scope), scope["path"]
        host = headers.get("host", "")
        if self._access.passwords is None and _name(host) not in LOOPBACK:
            # Another site's name may have been pointed at this machine (DNS rebinding): its pages could read all.
            return 421, f"without a password this console answers to localhost only, not to {_name(host)!r}"
        origin = headers.get("origin")
        unsafe = scope["type"] == "websocket" or scope["method"] not in SAFE
        if unsafe and origin is not None and urlsplit(origin).netloc != host:
            return 403, "another site's page may not do that"
        token = self._access.token(headers)
        locked = path.startswith(("/v1", "/metrics")) and path != SIGN_IN and token is None
        if locked and not self._access.reads(scope.get("method", ""), path, headers):
            return 401, "sign in first"
        if scope["type"] == "websocket" or not unsafe:
            return None
        signing_in = path == SIGN_IN and scope["method"] == "POST"
        if not signing_in and not hmac.compare_digest(headers.get(TOKEN, "").encode(), (token or "").encode()):
            return 403, f"the header {TOKEN} must say what GET {SIGN_IN} says: load the page again"
        return _too_long(headers, MOST_PHOTO_BYTES if path in PHOTOS else MOST_BYTES)


def _too_long(headers: Headers, most: int) -> tuple[int, str] | None:
    if "transfer-encoding" in headers:  # it outranks content-length, and the length would be known too late
        return 411, "the request must say its content-length"
    length = headers.get("content-length", "")
    if not length.isdigit():
        return None
    return (413, f"{int(length):,} bytes are too many: at most {most:,}") if int(length) > most else None


def _name(host: str) -> str:
    """Of a Host header, without the port. Empty where it is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
