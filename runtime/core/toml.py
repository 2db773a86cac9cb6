"""TOML files as frozen data classes (toml_writer.py writes them back, json_schema.py describes them to editors).

The data class is the only list of what a file may contain. The type of each field says what is valid, and
``Annotated`` adds its range and its help text, and ``Below`` to a text that may name a path::

    @dataclass(frozen=True)
    class Camera:
        source: Annotated[str, "a device, a URL or a file"]
        rate: Annotated[float, Range(0.1, 1000), "frames per second"] = 15.0

Valid types: str, int, float, bool, Path, Literal, tuple[T, ...] (a list), dict[str, T] and data classes (tables), each
also with ``| None`` for what may be left out. A whole number is accepted for a float.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from .addresses import mask_secrets
from .errors import InputError
from .files import read_text
from .text import in_a_line, nearest, show_value

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")
LARGEST = 10**300  # what a float can hold
MAX_BYTES = 1_000_000  # of a TOML file
MOST_PROBLEMS = 30  # that a message lists
TYPE_NAMES: dict[Any, str] = {
    str: "text in quotes",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Path: "a path in quotes",
}


@dataclass(frozen=True)
class Range:
    """The valid numbers of a field; both ends are included."""

    least: float
    most: float


@dataclass(frozen=True)
class Below:
    """A text that may name a path, such as "file:PATH". ``place(text, folder)`` returns it with a relative path in it
    below ``folder``, and every other text as it is."""

    place: Callable[[str, Path], str]


@dataclass(frozen=True)
class FieldInfo:
    """A field of a data class: its type without ``| None``, its help text ("" without one), its valid range, and how a
    path in its text is taken.

    ``default``: None also for a required field, and if a function makes it: such a default may depend on the machine.
    """

    name: str
    type: Any
    help: str
    limits: Range | None
    required: bool
    default: Any = None
    below: Below | None = None


def describe_fields(kind: type) -> dict[str, FieldInfo]:
    """The fields of the data class ``kind``, by name, in their order."""
    hints = get_type_hints(kind, include_extras=True)
    infos = {}
    for field in fields(kind):
        hint, extras = _split_annotated(_without_none(hints[field.name]))
        help = next((extra for extra in extras if isinstance(extra, str)), "")
        limits = next((extra for extra in extras if isinstance(extra, Range)), None)
        below = next((extra for extra in extras if isinstance(extra, Below)), None)
        required = field.default is MISSING and field.default_factory is MISSING
        default = None if field.default is MISSING else field.default
        infos[field.name] = FieldInfo(field.name, hint, help, limits, required, default, below)
    return infos


def describe_type(hint: Any) -> tuple[Any, Range | None]:
    """The type of the entries of a list or a table, such as the T of dict[str, T], and its valid range. The type is
    without Annotated and ``| None``."""
    inner, extras = _split_annotated(_without_none(hint))
    return inner, next((extra for extra in extras if isinstance(extra, Range)), None)


def _split_annotated(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    if get_origin(hint) is not Annotated:
        return hint, ()
    inner, *extras = get_args(hint)
    return _without_none(inner), tuple(extras)


def _without_none(hint: Any) -> Any:
    """X for ``X | None``: TOML has no null, so a value that is given must be an X."""
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (one for one in get_args(hint) if one is not NoneType)
    return hint


def read_toml(path: Path) -> dict[str, Any]:
    """The table in the file ``path``. Raises InputError if it cannot be read, is not UTF-8, or is not valid TOML."""
    try:
        table: dict[str, Any] = tomllib.loads(read_text(path, MAX_BYTES))
        return table
    except RecursionError:
        raise InputError(f"{path}: not valid TOML: it is nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError, a number of thousands of digits, an impossible date
        reason = in_a_line(str(error).partition(";")[0][:200])
        raise InputError(f"{path}: not valid TOML: {reason}") from error


def load_table(
    kind: type[T],
    table: Mapping[str, Any],
    problems: list[str],
    *,
    folder: Path = Path(),
    where: str = "",
    given: Mapping[str, Any] | None = None,
) -> T | None:
    """``table`` as the data class ``kind``.

    Relative paths, also those in texts (``Below``), are below ``folder``. ``given`` has the values of fields that the
    table may not contain. Every mistake adds one entry to ``problems``, with its key, which starts with ``where``
    ("camera.door."); then the result is None.
    """
    if not isinstance(table, Mapping):  # a value where a file should have a table
        problems.append(f"{where.rstrip('.')} must be a table")
        return None
    given = given or {}
    known = {name: info for name, info in describe_fields(kind).items() if name not in given}
    before = len(problems)
    for key in sorted(table.keys() - known.keys()):
        problems.append(f"unknown key {where}{_show_key(key)}: {_suggest(key, known)}")
    loader = _ValueLoader(problems, folder)
    values = {
        key: loader.load_field(known[key], value, f"{where}{key}") for key, value in table.items() if key in known
    }
    problems += [f"{where}{name} is missing" for name, info in known.items() if info.required and name not in values]
    return kind(**values, **given) if len(problems) == before else None


def load_file(kind: type[T], path: Path) -> T:
    """The file ``path`` as the data class ``kind``. Raises InputError with all mistakes, one per line."""
    problems: list[str] = []
    loaded = load_table(kind, read_toml(path), problems, folder=path.parent)
    if loaded is None:
        raise InputError(list_problems(path, problems))
    return loaded


def list_problems(path: Path, problems: list[str]) -> str:
    """One problem on the line of the file's name, several on lines of their own."""
    if len(problems) > MOST_PROBLEMS:
        problems = [*problems[:MOST_PROBLEMS], f"… and {len(problems) - MOST_PROBLEMS} more"]
    return f"{path}: {problems[0]}" if len(problems) == 1 else "\n  ".join([f"{path}:", *problems])


@dataclass(frozen=True)
class _ValueLoader:
    """Values of a TOML file as the types of fields. ``where`` is the key of a value ("camera.door.rate")."""

    problems: list[str]
    folder: Path

    def load_field(self, info: FieldInfo, value: Any, where: str) -> Any:
        """``value`` as the type of the field ``info``, with its path below the folder."""
        loaded = self.load(info.type, value, where, info.limits)
        return info.below.place(loaded, self.folder) if info.below and isinstance(loaded, str) else loaded

    def load(self, hint: Any, value: Any, where: str, limits: Range | None = None) -> Any:
        """``value`` as the type ``hint``, which is not Annotated; a mistake adds an entry to ``problems``."""
        origin = get_origin(hint)
        if origin is dict or is_dataclass(hint):
            return self._load_table(hint, value, where)
        if origin is tuple:
            if isinstance(value, list):
                return tuple(self._load_entry(hint, 0, one, f"{where}[{i}]") for i, one in enumerate(value))
            self.problems.append(f"{where} is {_show(value)}, but must be a list")
        elif origin is Literal:
            if not any(value == one and type(value) is type(one) for one in get_args(hint)):  # false is not 0
                self.problems.append(f"{where} is {_show(value)}, but must be one of {_list(get_args(hint))}")
        else:
            return self._load_plain(hint, value, where, limits)
        return value

    def _load_table(self, hint: Any, value: Any, where: str) -> Any:
        if not isinstance(value, Mapping):
            self.problems.append(f"{where} is {_show(value)}, but must be a table: [{where}]")
            return None
        if is_dataclass(hint):
            return load_table(cast("type[Any]", hint), value, self.problems, folder=self.folder, where=f"{where}.")
        return {key: self._load_entry(hint, 1, one, f"{where}.{_show_key(key)}") for key, one in value.items()}

    def _load_entry(self, hint: Any, place: int, value: Any, where: str) -> Any:
        """An entry of a list or a table, whose type is the argument of ``hint`` at ``place``."""
        inner, limits = describe_type(get_args(hint)[place])
        return self.load(inner, value, where, limits)

    def _load_plain(self, hint: Any, value: Any, where: str, limits: Range | None) -> Any:
        if hint is float and type(value) is int:
            value = float(value) if abs(value) < LARGEST else math.inf
        if type(value) is not (str if hint is Path else hint):
            self.problems.append(f"{where} is {_show(value)}, but must be {TYPE_NAMES[hint]}")
        elif hint is Path and not value:
            self.problems.append(f"{where} is empty: write a path, or leave it out")
        elif hint is Path and "\0" in str(value):
            self.problems.append(f"{where} contains a NUL character, which no path can have")
        elif limits and not limits.least <= cast("float", value) <= limits.most:
            self.problems.append(f"{where} is {_show(value)}, but must be from {limits.least:g} to {limits.most:g}")
        elif type(value) is float and not math.isfinite(value):
            self.problems.append(f"{where} is too large a number, or not a number")
        return self.folder / value if hint is Path and isinstance(value, str) else value


def _show(value: Any) -> str:
    return mask_secrets(show_value(value))


def _show_key(key: str) -> str:
    return in_a_line(key if len(key) <= 60 else f"{key[:60]}…")


def _suggest(word: str, known: Collection[str]) -> str:
    near = nearest(word, known)
    return f"did you mean {near}?" if near else f"valid keys are {_list(known)}"


def _list(words: Collection[Any]) -> str:
    return ", ".join(repr(word) if not word else str(word) for word in words)
