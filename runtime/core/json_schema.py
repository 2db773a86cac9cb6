"""What a TOML file may contain, as JSON Schema, for editors that complete and check it (taplo, VS Code).

Draft 7, the newest that taplo reads (https://taplo.tamasfe.dev/configuration/using-schemas.html).
"""

from __future__ import annotations

from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from .toml import FieldInfo, Range, describe_fields, describe_type
from .toml_writer import first_sentence

DRAFT = "http://json-schema.org/draft-07/schema#"
TYPES = {str: "string", Path: "string", int: "integer", float: "number", bool: "boolean"}


def make_schema(kind: type, title: str) -> dict[str, Any]:
    """The JSON Schema of a file that ``load_file(kind, …)`` accepts. It has no default that depends on the machine.

    A file that the schema accepts may still be refused: for a number that is not finite, or an address that is wrong.
    """
    return {"$schema": DRAFT, "title": title, **_describe_table(kind)}


def _describe_table(kind: Any) -> dict[str, Any]:
    infos = describe_fields(kind)
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: _describe_field(info) for name, info in infos.items()},
        "additionalProperties": False,
    }
    if text := first_sentence(kind):
        schema["description"] = text
    if required := [name for name, info in infos.items() if info.required]:
        schema["required"] = required
    return schema


def _describe_field(info: FieldInfo) -> dict[str, Any]:
    schema = _describe_type(info.type, info.limits)
    if info.help:
        schema["description"] = info.help
    if isinstance(info.default, str | int | float | bool):
        schema["default"] = info.default
    elif isinstance(info.default, tuple) and all(isinstance(one, str | int | float) for one in info.default):
        schema["default"] = list(info.default)
    return schema


def _describe_type(hint: Any, limits: Range | None) -> dict[str, Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if is_dataclass(hint):
        return _describe_table(hint)
    if origin is dict:
        return {"type": "object", "additionalProperties": _describe_type(*describe_type(arguments[1]))}
    if origin is tuple:
        return {"type": "array", "items": _describe_type(*describe_type(arguments[0]))}
    if origin is Literal:
        return {"enum": list(arguments)}
    schema: dict[str, Any] = {"type": TYPES[hint]}
    if hint is Path:
        schema["minLength"] = 1
    if limits:
        schema |= {"minimum": limits.least, "maximum": limits.most}
    return schema
