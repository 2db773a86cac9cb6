"""``python -m rkface.boards.twin``: build a twin and run something on it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rkface.boards.profile import find_profile
from rkface.runtime.core.bundle import read_bundle
from rkface.runtime.core.errors import RkfaceError

from .board import build, install_runtime
from .ingredients import gather

EXPLAIN = """Build a twin of a board: the genuine rknn-toolkit-lite2 under emulation, over a librknnrt of our own that
answers a bundle's golden inputs with its golden outputs. It tests bindings, layouts, types and errors; it says nothing
of speed, nor of what silicon computes.

With arguments behind --, run the board's Python with them:
  python -m rkface.boards.twin --bundle build/rk3588 -- -m rkface.runtime.cli.main selftest --bundle build/rk3588

RKFACE_TWIN_FAULTS makes it fail on demand (boards/twin/librknnrt.c explains):
  RKFACE_TWIN_FAULTS=run=-2@5 python -m rkface.boards.twin --bundle build/rk3588 -- …
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m rkface.boards.twin", description=EXPLAIN, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cache", type=Path, default=Path("build/twin"), help="where it lies (default: %(default)s)")
    parser.add_argument("--board", default="rock-5b", help="a name out of boards/profiles (default: %(default)s)")
    parser.add_argument("--bundle", type=Path, action="append", default=[], metavar="DIR", help="what it can answer to")
    parser.add_argument("run", nargs="*", help="arguments of the board's Python")
    options = parser.parse_args(arguments)
    try:
        profile = find_profile(options.board)
        bundles = [read_bundle(folder) for folder in options.bundle]
        packages = install_runtime(options.cache.resolve() / "packages")
        twin = build(gather(options.cache), options.cache / "boards" / options.board, profile, bundles, packages)
    except RkfaceError as error:
        print(f"twin: {error}", file=sys.stderr)
        return error.exit_code
    if options.run:
        command = twin.command(options.run)
        os.execve(command[0], command, twin.environment(os.environ.get("RKFACE_TWIN_FAULTS", "")))
    print(f"a twin of {profile.title} in {twin.prefix}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
