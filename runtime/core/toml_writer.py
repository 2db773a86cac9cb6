"""Frozen data classes as TOML files (toml.py reads them), with the meaning of every key as comments."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any, Literal, get_args, get_origin

from .text import in_a_line
from .toml import FieldInfo, describe_fields, describe_type

NAME = "NAME"  # of an example of a table that has a name, such as [camera.NAME]
TEXT = "…"  # an example of a text


def dump(value: Any, *, explain: bool = False, notes: Mapping[str, str] | None = None) -> str:
    """The data class ``value`` as TOML that ``load_table`` reads back. ``notes``: comments behind the values, by key as
    ``list_keys`` writes it.

    With ``explain``, the help texts as comments, and everything that ``value`` does not contain: a line that starts
    with "#" and no space is a key or a table that counts without its "#".
    """
    writer = _Writer(explain, notes or {})
    return "\n".join(writer.write_fields(value, "")).strip() + "\n"


@dataclass(frozen=True)
class _Writer:
    """Writes lines of TOML. ``where`` is the beginning of the keys of a table: "camera.door."."""

    explain: bool
    notes: Mapping[str, str]

    def write_fields(self, value: Any, where: str) -> Iterator[str]:
        """The fields of the data class ``value``; its tables follow the other values, as TOML requires."""
        tables = []
        for name, info in describe_fields(type(value)).items():
            content = getattr(value, name)
            if is_dataclass(info.type) or get_origin(info.type) is dict:
                tables.append((info, content))
            elif content is not None or self.explain:
                yield from self._explain(info.help)
                yield f"#{name} = {dump_value(_example(info))}" if content is None else self._line(where, name, content)
        for info, content in tables:
            yield from self._write_table(info, content, f"{where}{info.name}")

    def _write_example(self, kind: Any, header: str, help: str) -> Iterator[str]:
        """The table ``header`` with all keys of the data class ``kind``, in lines that do not count."""
        yield ""
        yield from self._explain(help or first_sentence(kind))
        yield f"#[{header}]"
        tables = []
        for name, info in describe_fields(kind).items():
            if is_dataclass(info.type) or get_origin(info.type) is dict:
                tables.append(info)
                continue
            yield from self._explain(f"{info.help} (required)" if info.required else info.help)
            yield f"#{name} = {dump_value(_example(info) if info.default is None else info.default)}"
        for info in tables:
            yield from self._write_table(info, None, f"{header}.{info.name}")

    def _write_table(self, info: FieldInfo, content: Any, header: str) -> Iterator[str]:
        if get_origin(info.type) is dict:
            kind, limits = describe_type(get_args(info.type)[1])
            if is_dataclass(kind):
                for key, one in (content or {}).items():
                    yield from self._write_one(kind, one, f"{header}.{dump_key(key)}", info.help)
                if not content and self.explain:
                    yield from self._write_example(kind, f"{header}.{NAME}", info.help)
                return
            if content or self.explain:
                yield ""
                yield from self._explain(info.help)
                yield f"[{header}]" if content else f"#[{header}]"
                if not content:
                    yield f"#{NAME} = {dump_value(_example(FieldInfo(NAME, kind, '', limits, True)))}"
                yield from (self._line(f"{header}.", key, one) for key, one in (content or {}).items())
        elif content is not None:
            yield from self._write_one(info.type, content, header, info.help)
        elif self.explain:
            yield from self._write_example(info.type, header, info.help)

    def _write_one(self, kind: Any, content: Any, header: str, help: str) -> Iterator[str]:
        yield ""
        yield from self._explain(help or first_sentence(kind))
        yield f"[{header}]"
        yield from self.write_fields(content, f"{header}.")

    def _explain(self, help: str) -> Iterator[str]:
        if self.explain and help:
            yield f"# {help}"

    def _line(self, where: str, name: str, content: Any) -> str:
        key = dump_key(name)
        note = self.notes.get(f"{where}{key}")
        return f"{key} = {dump_value(content)}" + (f"  # {in_a_line(note)}" if note else "")


def _example(info: FieldInfo) -> Any:
    """A valid value of a field that is not a table."""
    origin = get_origin(info.type)
    if origin is tuple:
        return ()
    if origin is Literal:
        return get_args(info.type)[0]
    if info.type is bool:
        return False
    if info.type in (int, float):
        return info.type(info.limits.least) if info.limits else info.type(0)
    return TEXT


def first_sentence(kind: Any) -> str:
    """What the data class ``kind`` says of itself; "" if it says nothing (``dataclass`` then writes its signature)."""
    text = " ".join((kind.__doc__ or "").partition("\n\n")[0].split())
    return "" if text.startswith(f"{kind.__name__}(") else text


def list_keys(table: Mapping[str, Any], where: str = "") -> Iterator[str]:
    """The keys of all values in ``table`` and the tables in it, with the keys of these tables: "camera.door.rate"."""
    for key, value in table.items():
        name = f"{where}{dump_key(key)}"
        if isinstance(value, Mapping):
            yield from list_keys(value, f"{name}.")
        else:
            yield name


def dump_key(key: str) -> str:
    """``key`` as TOML, in quotes if it needs them."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else dump_value(key)


def dump_value(value: Any) -> str:
    """``value`` as TOML: a boolean, a number, a tuple, a data class (an inline table), or anything else as text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(dump_value, value))}]"
    if is_dataclass(value):
        given = ((name, content) for name, content in vars(value).items() if content is not None)
        return f"{{ {', '.join(f'{dump_key(name)} = {dump_value(content)}' for name, content in given)} }}"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda found: f"\\u{ord(found[0]):04x}", text) + '"'
