"""Access control: what every request must pass before its body is read."""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..events import picture_links
from . import scopes
from .accounts import Accounts
from .clients import client_of
from .listening import LOOPBACK
from .password import PasswordCheck
from .scopes import ENROLLMENT_PHOTO_PATHS, PHOTO_PATHS, ROLES, SAFE_METHODS, granted, needed_scope
from .session import KnownBrowsers, Sessions, SignInAttempts
from .wire import problem

DECIMAL = re.compile(r"[0-9]{1,18}")
TOKEN_HEADER = "x-csrf-token"
SESSION_PATH = "/v1/session"
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


OWNER = "owner"  # who knows the password of the password file, or sits at this machine


@dataclass(frozen=True)
class ApiClient:
    """Who sends a request, and what they may do.

    who         a user, "owner", or "token NAME"
    scopes      what they may do
    csrf_token  what a page must send with a change; None for a program with a token, which no page can send
    """

    who: str
    scopes: frozenset[scopes.Scope]
    csrf_token: str | None


class Access:
    """Who may use the console.

    password       None: everybody on this machine may use it, but only through pages that the console served itself
    secure         whether the console is served over TLS
    metrics_token  programs that send it may read metrics and health; "" for no such access
    accounts       tokens of programs and other users; None for none
    """

    def __init__(
        self,
        password: PasswordCheck | None,
        secure: bool,
        metrics_token: str = "",
        accounts: Accounts | None = None,
    ) -> None:
        self.password, self.secure, self.accounts = password, secure, accounts
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

    def signing_in(self, headers: Headers, host: str, user: str) -> str:
        """Whose wrong passwords count together: the browser in which ``user`` signed in before, otherwise the client at
        ``host``."""
        browser = self.browsers.find(_cookie(headers, self.browser_cookie_name), user)
        return f"browser {browser}" if browser else client_of(host)

    def caller(self, headers: Headers) -> ApiClient | None:
        """Who sends a request with these ``headers``; None if nobody is signed in and there is no valid token."""
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":  # a wrong token never counts as no token
            return self._program(secret.strip())
        if self.password is None:
            return ApiClient(OWNER, ROLES["admin"], self._token)
        session = self.sessions.find(self.session_secret(headers))
        if session is None:
            return None
        if not session.user:
            return ApiClient(OWNER, ROLES["admin"], session.token)
        found = self.accounts.find_user(session.user) if self.accounts else None
        if found is None or found.password != session.password:
            return None
        return ApiClient(found.user.name, ROLES[found.user.role], session.token)

    def _program(self, secret: str) -> ApiClient | None:
        """The program that sends this secret (RFC 6750, 2.1)."""
        if self._metrics_token and hmac.compare_digest(secret.encode(), self._metrics_token):
            return ApiClient("token for metrics", frozenset({"metrics"}), None)
        token = self.accounts.find_token(secret) if self.accounts else None
        return None if token is None else ApiClient(f"token {token.name}", granted(frozenset(token.scopes)), None)


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
                if _is_link(scope.get("method", ""), scope["path"]):  # dashboards of other sites show it
                    headers["cross-origin-resource-policy"] = "cross-origin"
                headers["cache-control"] = "no-store" if scope["path"].startswith("/v1") else "no-cache"
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send_with_headers)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refusal[1]})  # before it is open: HTTP 403
        else:
            status, detail = refusal
            challenge = {"www-authenticate": "Bearer"} if status == 401 else {}
            await problem(status, detail, challenge)(scope, receive, send_with_headers)

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
        method = "GET" if scope["type"] == "websocket" else scope["method"]
        caller = self._access.caller(headers)
        scope.setdefault("state", {})["caller"] = caller
        refusal = _scope_refusal(caller, method, path, headers)
        if refusal is not None or not unsafe or scope["type"] == "websocket":
            return refusal
        signing_in = path == SESSION_PATH and method == "POST"
        if not signing_in and not _has_csrf_token(caller, headers):
            return 403, f"the header {TOKEN_HEADER} must hold the token from GET {SESSION_PATH}; reload the page"
        photo = path in PHOTO_PATHS or path in ENROLLMENT_PHOTO_PATHS
        return _body_refusal(headers, MAX_PHOTO_BODY if photo else MAX_BODY)


def _scope_refusal(caller: ApiClient | None, method: str, path: str, headers: Headers) -> tuple[int, str] | None:
    """HTTP status and reason if ``caller`` may not send this request."""
    if path == SESSION_PATH or not path.startswith(("/v1", "/metrics")) or _is_link(method, path):
        return None
    if caller is None:
        wrong = headers.get("authorization", "").lower().startswith("bearer ")
        return (
            401,
            "this token is wrong, or was revoked"
            if wrong
            else 'sign in first, or send a token: "Authorization: Bearer …"',
        )
    needed = needed_scope(method, path)
    return None if needed in caller.scopes else (403, f"{caller.who} may not do this: it needs the scope {needed!r}")


def _is_link(method: str, path: str) -> bool:
    """Whether the request is for a picture of an alert, which checks the signature in the link itself."""
    return method in SAFE_METHODS and path.startswith(picture_links.PATH)


def _has_csrf_token(caller: ApiClient | None, headers: Headers) -> bool:
    """Whether the request proves that it comes from a page of the console, or from a program with a token."""
    expected = caller.csrf_token if caller else ""
    return expected is None or hmac.compare_digest(headers.get(TOKEN_HEADER, "").encode(), expected.encode())


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
