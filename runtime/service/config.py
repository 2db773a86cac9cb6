"""A TOML file into data classes: every key known, every value of its kind and in its range, or a word on what is wrong.

The data classes are the only list of what there is: their annotations are checked, their docstrings explain.
"""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ..core.errors import InputError
from .settings import Range, Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")
NAMES: dict[Any, str] = {
    str: "text in quotes",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Path: "a path in quotes",
}
MISSED = object()


def read_settings(path: Path) -> Settings:
    """The settings in the file ``path``. InputError with all that is wrong, a line each, and nothing half taken."""
    settings, problems = examine(path)
    if settings is None:
        raise InputError(problems[0] if len(problems) == 1 else "\n  ".join([f"{path}:", *problems]))
    return settings


def examine(path: Path) -> tuple[Settings | None, list[str]]:
    """The settings in ``path``, or what is wrong with them."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        return None, [f"{path}: cannot be read: {error.strerror}"]
    except UnicodeDecodeError as error:
        return None, [f"{path}: no UTF-8 at byte {error.start}: save it as UTF-8"]
    except tomllib.TOMLDecodeError as error:
        return None, [f"{path}: no TOML: {error}"]
    problems: list[str] = []
    settings = load(Settings, table, path.parent, problems)
    return (None if problems else settings), [f"{path}: {problem}" for problem in problems]


def load(kind: type[T], table: Mapping[str, Any], folder: Path, problems: list[str], where: str = "") -> T | None:
    """``table`` as the data class ``kind``; relative paths are below ``folder``. None, and an entry in ``problems``
    for each thing that is wrong, where something is."""
    hints = get_type_hints(kind, include_extras=True)
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    before = len(problems)
    for key in table.keys() - known.keys():
        problems.append(f"{where}{key} is no setting: {_nearest(key, list(known))}")
    found = {
        key: _value(hints[key], value, folder, problems, f"{where}{key}")
        for key, value in table.items()
        if key in known
    }
    for name, field in known.items():
        if name not in found and field.default is MISSING and field.default_factory is MISSING:
            problems.append(f"{where}{name} is missing")
    return kind(**found) if len(problems) == before else None


def _value(hint: Any, value: Any, folder: Path, problems: list[str], where: str) -> Any:
    origin, limits = get_origin(hint), None
    if origin is Annotated:
        hint, limits = get_args(hint)
        origin = get_origin(hint)
    if origin in (Union, UnionType):  # X | None: TOML has no null, so that it is X where it is given
        (hint,) = (each for each in get_args(hint) if each is not NoneType)
        origin = get_origin(hint)
    if origin is Literal:
        if value not in get_args(hint):
            problems.append(f"{where} is {value!r}: it can be {_listed(get_args(hint))}")
        return value
    if is_dataclass(hint) or origin is dict:
        if not isinstance(value, Mapping):
            problems.append(f"{where} is {value!r}, but must be a table: [{where}]")
            return None
        if origin is dict:
            inner = get_args(hint)[1]
            return {key: _value(inner, each, folder, problems, f"{where}.{key}") for key, each in value.items()}
        return load(hint, value, folder, problems, f"{where}.")
    plain = str if hint is Path else hint
    if plain is float and type(value) is int:
        value = float(value)
    if type(value) is not plain:
        problems.append(f"{where} is {value!r}, but must be {NAMES[hint]}")
    elif isinstance(limits, Range) and not limits.least <= float(value) <= limits.most:
        problems.append(f"{where} is {value}, but must be from {limits.least:g} to {limits.most:g}")
    return folder / value if hint is Path and isinstance(value, str) else value


def _nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"there are {_listed(known)}"


def _listed(words: Any) -> str:
    return ", ".join(repr(word) if not word else str(word) for word in words)


def dump(settings: Any, *, explain: bool = False) -> str:
    """``settings`` as TOML that ``load`` reads back the same; with ``explain``, what each key means above it."""
    return "\n".join(_lines(settings, "", explain)).strip() + "\n"


def _lines(settings: Any, where: str, explain: bool) -> Iterator[str]:
    hints = get_type_hints(type(settings))
    means = meanings(type(settings)) if explain else {}
    tables = []
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value) or isinstance(value, dict):
            tables.append((field.name, value))
            continue
        if field.name in means:
            yield f"# {means[field.name]}"
        if value is not None:
            yield f"{field.name} = {_toml(value)}"
        elif explain:
            inner = next((each for each in get_args(hints[field.name]) if each is not NoneType), None)
            yield f"# {field.name} = …" if inner is Path else f"# [{where}{field.name}]"
    for name, value in tables:
        each = (
            [(f"{where}{name}.{_key(key)}", one) for key, one in value.items()]
            if isinstance(value, dict)
            else [(f"{where}{name}", value)]
        )
        for header, one in each:
            yield f"\n[{header}]"
            yield from _lines(one, f"{header}.", explain)


def meanings(kind: type) -> dict[str, str]:
    """What the docstring of a data class says of its fields: a name, two spaces or more, and the meaning."""
    rows = re.findall(r"^(\w+) {2,}(.+(?:\n {3,}.+)*)", inspect.getdoc(kind) or "", re.MULTILINE)
    return {name: re.sub(r"\s+", " ", meaning).replace("``", "") for name, meaning in rows}


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml(key)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda found: f"\\u{ord(found[0]):04x}", text) + '"'
