"""Modules of rkface as one Python program, which runs on a board where rkface is not installed.

The program carries the source of the modules and imports them from memory, so nothing is written to the board. Each
module must use the standard library only, and syntax of Python 3.8.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

PROGRAM = """
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.util import spec_from_loader

SOURCES = {sources}


class SourceImporter(MetaPathFinder, Loader):
    def find_spec(self, name, path=None, target=None):
        return spec_from_loader(name, self, is_package=SOURCES[name] == "") if name in SOURCES else None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        exec(compile(SOURCES[module.__name__], module.__name__, "exec"), module.__dict__)


sys.meta_path.insert(0, SourceImporter())
from {entry} import main

sys.exit(main(sys.argv[1:]))
"""


def build_program(modules: Sequence[str], entry: str) -> str:
    """A program that holds ``modules`` ("rkface.boards.doctor.probe") and runs ``main(sys.argv[1:])`` of ``entry``.

    The packages that contain the modules are empty in it. The text is ASCII, so that no locale can change it.
    """
    sources: dict[str, str] = {}
    for module in modules:
        parts = module.split(".")
        sources.update({".".join(parts[:depth]): "" for depth in range(1, len(parts))})
    sources.update({module: source_path(module).read_text(encoding="utf-8") for module in modules})
    return PROGRAM.format(sources=ascii(sources), entry=entry)


def source_path(module: str) -> Path:
    """The file of a module of rkface, found by its name, without importing it."""
    return Path(__file__).parents[1].joinpath(*module.split(".")[1:]).with_suffix(".py")
