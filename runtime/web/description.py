"""``/v1/openapi.json``: FastAPI's description, with what it cannot know."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from ..events import picture_links
from .access import SESSION_PATH, TOKEN_HEADER
from .scopes import SAFE_METHODS, needed_scope
from .wire import TIMES, Problem

SCHEMES = {
    "token": {"type": "http", "scheme": "bearer", "description": "a token of `rkface access create-token`"},
    "session": {"type": "apiKey", "in": "cookie", "name": "rkface", "description": "`__Host-rkface` over TLS"},
    "csrf": {"type": "apiKey", "in": "header", "name": TOKEN_HEADER, "description": f"from GET {SESSION_PATH}"},
}
# What FastAPI describes for wrong requests, which are answered as Problem.
REPLACED = ("HTTPValidationError", "ValidationError")
TIME_TEXT = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}


def describe_api(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI 3.1 description of ``app``."""
    if app.openapi_schema is None:
        text = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, servers=[{"url": "/"}]
        )
        schemas = text["components"]["schemas"]
        for name in REPLACED:
            schemas.pop(name, None)
        schemas["Problem"] = Problem.model_json_schema()
        for schema in schemas.values():
            _add_times(schema)
        text["components"]["securitySchemes"] = SCHEMES
        for path, methods in text["paths"].items():
            for method, operation in methods.items():
                _add_security(path, method.upper(), operation)
                _describe_errors(operation)
        app.openapi_schema = text
    return app.openapi_schema


def _add_times(schema: dict[str, Any]) -> None:
    """The times that ``wire.add_times`` adds."""
    properties = schema.get("properties", {})
    for name in [name for name in properties if name in TIMES and _is_number(properties[name])]:
        title = properties[name].get("title", name)
        properties[name] = {"anyOf": [{"type": "number"}, {"type": "null"}], "title": title}
        properties[f"{name}_at"] = {**TIME_TEXT, "title": f"{title} At"}
        required = schema.setdefault("required", [])
        required += [one for one in (name, f"{name}_at") if one not in required]


def _is_number(schema: dict[str, Any]) -> bool:
    kinds = [schema, *schema.get("anyOf", [])]
    return any(kind.get("type") == "number" for kind in kinds)


def _add_security(path: str, method: str, operation: dict[str, Any]) -> None:
    if path == SESSION_PATH:
        operation["security"] = [] if method in ("GET", "POST") else [{"session": [], "csrf": []}]
        return
    if path.startswith(picture_links.PATH):
        operation["security"] = []  # the signature in the link is enough
        return
    session: dict[str, Any] = {"session": []} if method in SAFE_METHODS else {"session": [], "csrf": []}
    operation["security"] = [{"token": [needed_scope(method, path)]}, session]


def _describe_errors(operation: dict[str, Any]) -> None:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for status, answer in operation["responses"].items():
        if status >= "4":
            answer["content"] = content
    operation["responses"]["default"] = {"description": "another error", "content": content}
