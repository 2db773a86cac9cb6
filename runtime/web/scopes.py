"""What a client may do, and what each request needs. Of requests that are not listed, those that
only read need "read", and changes need "admin"."""

from __future__ import annotations

import json
import re
from typing import Literal, get_args

Scope = Literal["metrics", "read", "identify", "enroll", "admin"]
Role = Literal["viewer", "operator", "admin"]

SCOPES: tuple[Scope, ...] = get_args(Scope)
EXPLAINED: dict[Scope, str] = {
    "metrics": "read /metrics and /v1/health, which contain neither names nor pictures",
    "read": "see people, appearances, pictures, health and settings",
    "identify": "detect, compare and identify the faces in photos",
    "enroll": "enroll, rename, merge and split people, remove samples, and say who an appearance was",
    "admin": "everything: also forget people, change settings, and manage users and tokens",
}
ROLES: dict[Role, frozenset[Scope]] = {
    "viewer": frozenset({"metrics", "read"}),
    "operator": frozenset({"metrics", "read", "identify", "enroll"}),
    "admin": frozenset(SCOPES),
}

SAFE_METHODS = frozenset({"GET", "HEAD"})
METRICS_PATHS = frozenset({"/metrics", "/v1/health"})
PHOTO_PATHS = frozenset({"/v1/detect", "/v1/compare", "/v1/identify", "/v1/search"})  # the last one at the hub
# They only read, but have a body: names must not be in addresses, which proxies log, and a rule is too long for one.
SEARCH_PATHS = frozenset({"/v1/people/search", "/v1/rules/dry-run"})
# The second is the path of rkface 0.1.
ENROLLMENT_PHOTO_PATHS = frozenset({"/v1/enrollments/photo", "/v1/enrolments/photo"})
ADMIN_PREFIXES = ("/v1/tokens", "/v1/users", "/v1/audit")
_ENROLL = re.compile(
    r"(POST) /v1/enrol(l?)ments/.*|(PATCH) /v1/people/[^/]+|(POST) /v1/people/[^/]+/(merge|split)|"
    r"(DELETE) /v1/people/[^/]+/samples/[^/]+|(PUT) /v1/people/[^/]+/(threshold|groups)|"
    r"(PUT|DELETE) /v1/appearances/[^/]+/review|(POST) /v1/strangers/[^/]+/(enroll|ignore)|"
    r"(POST) /v1/renamings|(DELETE) /v1/(renamings|ignored)/[^/]+"
)


def needed_scope(method: str, path: str) -> Scope:
    """The scope that a request needs. ``method`` of a WebSocket is "GET"."""
    # By the beginning: a route also matches a path with a line feed at its end ("$" in Python).
    if path.startswith(ADMIN_PREFIXES):
        return "admin"
    if method in SAFE_METHODS:
        return "metrics" if path in METRICS_PATHS else "read"
    if method == "POST" and path in PHOTO_PATHS:
        return "identify"
    if method == "POST" and path in SEARCH_PATHS:
        return "read"
    return "enroll" if _ENROLL.fullmatch(f"{method} {path}") else "admin"


def granted(scopes: frozenset[Scope]) -> frozenset[Scope]:
    """``scopes`` with what they include: everything for "admin", and "metrics" for "read"."""
    if "admin" in scopes:
        return frozenset(SCOPES)
    return scopes | {"metrics"} if "read" in scopes else scopes


def write_module() -> bytes:
    """The JavaScript module that tells the page what each scope allows."""
    return f"export const SCOPES = {json.dumps(EXPLAINED)};\n".encode()
