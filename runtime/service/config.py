"""The service's settings from a TOML file: every mistake is reported, and nothing is used in part."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import InputError
from ..core.toml import load_file, load_table, read_toml
from .settings import Settings


def read_settings(path: Path) -> Settings:
    """The settings in the file ``path``; relative paths in it are below its folder.

    Raises InputError with all mistakes, one per line.
    """
    return load_file(Settings, path)


def check_settings(path: Path) -> tuple[Settings | None, list[str]]:
    """The settings in ``path``, or None and all mistakes in the file, each with the file's name and the key."""
    try:
        table = read_toml(path)
    except InputError as error:
        return None, [str(error)]
    problems: list[str] = []
    settings = load_table(Settings, table, problems, folder=path.parent)
    return settings, [f"{path}: {problem}" for problem in problems]
