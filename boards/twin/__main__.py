"""``python -m rkface.boards.twin``: build a twin and run a program on it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rkface.boards.profile import find_profile
from rkface.runtime.core.bundle import read_bundle
from rkface.runtime.core.errors import RkfaceError
from rkface.runtime.core.npu_binding import CHOICE
from rkface.runtime.core.versions import TOOLKIT

from .board import FAULTS, build_twin, install_runtime
from .ingredients import gather_ingredients

DESCRIPTION = """Build a twin of a board: the real rknn-toolkit-lite2 under emulation, over a stand-in for librknnrt
that answers the golden inputs of a bundle with its golden outputs. It tests the binding, layouts, types and errors; it
measures no speed, and it cannot tell what a real NPU computes.

Arguments after -- are given to the board's Python:
  python -m rkface.boards.twin --bundle build/rk3588 -- -m rkface.runtime.cli.main selftest --bundle build/rk3588

RKFACE_TWIN_FAULTS makes calls of the library fail (boards/twin/librknnrt.c lists the faults):
  RKFACE_TWIN_FAULTS=run=-2@5 python -m rkface.boards.twin --bundle build/rk3588 -- …
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Build a twin and run a program on it; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m rkface.boards.twin",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--cache", type=Path, default=Path("build/twin"), help="folder of the twin (default: %(default)s)"
    )
    parser.add_argument("--board", default="rock-5b", help="a name from boards/profiles (default: %(default)s)")
    parser.add_argument(
        "--python", default="", metavar="3.N", help="the board's Python (default: 3.11, or another one that apt has)"
    )
    parser.add_argument(
        "--toolkit",
        default=TOOLKIT,
        metavar="2.N.N",
        help="version of rknn-toolkit-lite2 and of the library (default: %(default)s)",
    )
    parser.add_argument(
        "--bundle",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="a bundle whose golden inputs it answers",
    )
    parser.add_argument("run", nargs="*", help="arguments for the board's Python")
    options = parser.parse_args(arguments)
    try:
        profile = find_profile(options.board)
        bundles = [read_bundle(folder) for folder in options.bundle]
        packages = install_runtime(options.cache.resolve() / "packages")
        folder = options.cache / "boards" / f"{options.board}{options.python}"
        ingredients = gather_ingredients(options.cache, options.python, options.toolkit)
        twin = build_twin(ingredients, folder, profile, bundles, packages)
    except RkfaceError as error:
        print(f"twin: {error}", file=sys.stderr)
        return error.exit_code
    if options.run:
        command = twin.command(options.run)
        faults, binding = (os.environ.get(name, "") for name in (FAULTS, CHOICE))
        os.execve(command[0], command, twin.environment(faults, binding))
    print(f"the twin of {profile.title} is in {twin.prefix}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
