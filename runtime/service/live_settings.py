"""The settings that can be changed while the service runs, and the file with the changes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from ..core.atomic import write_atomically
from ..core.errors import InputError
from ..core.toml import Range, describe_fields, dump, load_table
from .config import check_settings
from .console_protocol import Setting
from .settings import Keep, Recognition, Settings

FILE = "changed.toml"  # in the folder of the gallery
TABLES: dict[str, type[Any]] = {"recognition": Recognition, "keep": Keep}
LABELS = {
    "recognition.match": "Match threshold (cosine)",
    "recognition.hysteresis": "Hysteresis (cosine)",
    "recognition.window": "Gone after (seconds)",
    "keep.appearances": "Keep appearances (days)",
    "keep.unknown_faces": "Keep unknown faces (days)",
}


def list_settings(settings: Settings) -> list[Setting]:
    """Return the settings that can be changed, with their current values."""
    return [
        _setting(f"{table}.{field.name}", kind, field.name, getattr(getattr(settings, table), field.name))
        for table, kind in TABLES.items()
        for field in fields(kind)
    ]


def _setting(key: str, kind: type[Any], name: str, value: Any) -> Setting:
    info = describe_fields(kind)[name]
    limits = info.limits or Range(-math.inf, math.inf)
    step = 0.01 if limits.most <= 1 else 0.5
    return Setting(key, LABELS[key], info.help, value, limits.least, limits.most, step)


def apply_changes(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """Return ``settings`` with ``values``, by their keys. Raises InputError that names all wrong ones."""
    problems: list[str] = []
    tables = {table: asdict(getattr(settings, table)) for table in TABLES}
    for key, value in values.items():
        table, _, name = key.partition(".")
        if name not in tables.get(table, ()):
            problems.append(f"{key} cannot be changed while the service runs")
        else:
            tables[table][name] = value
    loaded: dict[str, Any] = {
        table: load_table(kind, tables[table], problems, where=f"{table}.") for table, kind in TABLES.items()
    }
    if problems:
        raise InputError("; ".join(problems))
    return replace(settings, **loaded)


def save_changes(settings: Settings) -> None:
    """Write the settings that can be changed, for the next start. Raises WorkError if the file cannot be written."""
    path = settings.beside(FILE)
    text = "# Written by the console; takes precedence over the configuration file.\n"
    text += "\n".join(f"[{table}]\n{dump(getattr(settings, table))}" for table in TABLES)
    write_atomically(path, text.encode())


def load_changes(settings: Settings) -> Settings:
    """Return ``settings`` with the changes made in the console. Raises InputError if their file is damaged."""
    path = settings.beside(FILE)
    if not path.exists():
        return settings
    found, problems = check_settings(path)
    if found is None:
        raise InputError(f"{problems[0]}: fix or delete this file")
    return replace(settings, recognition=found.recognition, keep=found.keep)
