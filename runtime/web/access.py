"""Access control: what every request must pass before its body is read."""

from __future__ import annotations

import hmac
import re
import secrets
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .clients import client_of
from .password import PasswordCheck
from .session import KnownBrowsers, Sessions, SignInAttempts

DECIMAL = re.compile(r"[0-9]{1,18}")
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
SAFE_METHODS = frozenset({"GET", "HEAD"})
TOKEN_HEADER = "x-csrf-token"
SESSION_PATH = "/v1/session"
PHOTO_PATHS = frozenset({"/v1/enrollments/photo", "/v1/enrolments/photo"})  # the second is the path of rkface 0.1
METRICS_PATHS = frozenset({"/metrics", "/v1/health"})  # neither contains names or pictures
MAX_BODY = 64 * 1024  # bytes of a request's body
MAX_PHOTO_BODY = 24 * 1024 * 1024  # bytes: the largest JPEG of a phone; as PNG, about 8 megapixels

SECURITY_HEADERS = {
    # Only our own files: no inline script or style, no frames, no other sites. blob: is for the live picture.
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
    """Who may use the console.

    password       None: everybody on this machine may use it, but only through pages that the console served itself
    secure         whether the console is served over TLS
    metrics_token  programs that send it may read ``METRICS_PATHS``; "" for no such access
    """

    def __init__(self, password: PasswordCheck | None, secure: bool, metrics_token: str = "") -> None:
        self.password, self.secure = password, secure
        self.sessions, self.attempts = Sessions(), SignInAttempts()
        self.browsers = KnownBrowsers(password.browser_key if password else b"")
        self._metrics_token = metrics_token.encode()
        self._token = secrets.token_urlsafe(32)

    @property
    def cookie_name(self) -> str:
        # __Host- restricts the cookie to this host and to TLS (RFC 6265bis, 4.1.3).
        return "__Host-rkface" if self.secure else "rkface"

    @property
    def browser_cookie_name(self) -> str:
        return f"{self.cookie_name}-browser"

    def session_secret(self, headers: Headers) -> str:
        """The value of the session cookie; "" if there is no such cookie."""
        return _cookie(headers, self.cookie_name)

    def signing_in(self, headers: Headers, host: str) -> str:
        """Whose wrong passwords count together: the browser that signed in before, otherwise the client at ``host``."""
        browser = self.browsers.find(_cookie(headers, self.browser_cookie_name))
        return f"browser {browser}" if browser else client_of(host)

    def change_token(self, headers: Headers) -> str | None:
        """The token that this session must send to change something; None if nobody is signed in."""
        if self.password is None:
            return self._token
        session = self.sessions.find(self.session_secret(headers))
        return session.token if session else None

    def may_read_metrics(self, method: str, path: str, headers: Headers) -> bool:
        """Whether this is a request for ``METRICS_PATHS`` with the right token (RFC 6750, 2.1)."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(token.strip().encode(), self._metrics_token)
        allowed = method in SAFE_METHODS and path in METRICS_PATHS
        return bool(self._metrics_token) and right and scheme.lower() == "bearer" and allowed


class AccessMiddleware:
    """Passes a request on to ``app`` or refuses it, and adds the security headers to every response."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
                # No cache may store the API's answers. Our own files may be stored, but must be checked each time.
                headers["cache-control"] = "no-store" if scope["path"].startswith("/v1") else "no-cache"
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send_with_headers)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refusal[1]})  # before it is open: HTTP 403
        else:
            status, detail = refusal
            await JSONResponse({"detail": detail}, status)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """HTTP status and reason; None if the request may pass."""
        headers, path = Headers(scope=scope), scope["path"]
        host = headers.get("host", "")
        if self._access.password is None and _host_name(host) not in LOOPBACK:
            # The name of another site may point to this machine (DNS rebinding); its pages could then read everything.
            return 421, f"without a password, this console answers only to localhost, not to {_host_name(host)!r}"
        origin = headers.get("origin")
        unsafe = scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS
        if unsafe and origin is not None and _netloc(origin) not in {host} - {""}:
            return 403, "pages of other sites may not do this"
        token = self._access.change_token(headers)
        protected = path.startswith(("/v1", "/metrics")) and path != SESSION_PATH
        if protected and token is None and not self._access.may_read_metrics(scope.get("method", ""), path, headers):
            return 401, "sign in first"
        if scope["type"] == "websocket" or not unsafe:
            return None
        signing_in = path == SESSION_PATH and scope["method"] == "POST"
        if not signing_in and not hmac.compare_digest(headers.get(TOKEN_HEADER, "").encode(), (token or "").encode()):
            return 403, f"the header {TOKEN_HEADER} must hold the token from GET {SESSION_PATH}; reload the page"
        return _body_refusal(headers, MAX_PHOTO_BODY if path in PHOTO_PATHS else MAX_BODY)


def _cookie(headers: Headers, name: str) -> str:
    # http.cookies stops at the first cookie that it cannot parse, and other programs on this host set cookies too.
    return cookie_parser(headers.get("cookie", "")).get(name, "")


def _body_refusal(headers: Headers, limit: int) -> tuple[int, str] | None:
    """HTTP status and reason if the body is longer than ``limit`` bytes or of unknown length, else None."""
    if "transfer-encoding" in headers:  # it takes precedence over content-length, and hides the length until the end
        return 411, "the request must have a content-length header"
    length = headers.get("content-length", "0")
    if not DECIMAL.fullmatch(length):  # also for several of them, and for numbers that take long to convert
        return 400, "the header content-length must be a whole number"
    return (413, f"the body has {int(length):,} bytes; the limit is {limit:,}") if int(length) > limit else None


def _netloc(address: str) -> str:
    """Host and port of an address; "" if it has none or is invalid."""
    try:
        return urlsplit(address).netloc
    except ValueError:
        return ""


def _host_name(host: str) -> str:
    """The name in a Host header, without the port; "" if the header is invalid."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
