"""``rkface twin``. Imports nothing heavy before it runs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from rkface.runtime.cli.parser import add_actions
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.npu_binding import CHOICE
from rkface.runtime.core.versions import TOOLKIT

EMULATED = "an emulated board: the simulator's numbers, no speed, no silicon"


def twin(parser: ArgumentParser) -> None:
    """Run programs on an emulated board: aarch64 Python and the real rknn-toolkit-lite2, with the simulator as its NPU.

    It tests the software of a board without one. It measures no speed, and it cannot tell what silicon computes
    (docs/twin.md).

    examples:
      rkface twin run --bundle build/rk3588 -- rkface selftest --bundle build/rk3588
    """
    add_actions(parser, (run, serve))


def run(parser: ArgumentParser) -> None:
    """Build the emulated board, and run the command after -- on it; without one, only build it.

    For the command, python and rkface are those of the board. The library in place of librknnrt answers the golden
    inputs of the bundles. For other pictures, it needs the toolkit's simulator: with --simulate, for as long as the
    command runs, or that of a running `rkface twin serve`.

    RKFACE_TWIN_FAULTS makes calls of the library fail (docs/twin.md), and RKFACE_NPU_BINDING chooses the binding.

    examples:
      rkface twin run --bundle build/rk3588 -- rkface selftest --bundle build/rk3588
      rkface twin run --simulate --bundle build/rk3588 -- rkface detect --bundle build/rk3588 party.jpg
      RKFACE_TWIN_FAULTS=run=-2@5 rkface twin run --bundle build/rk3588 -- rkface selftest --bundle build/rk3588
      rkface twin run --board rock-4d -- python -c 'from rknnlite.api import RKNNLite'
    """
    parser.add_argument("command", nargs="*", metavar="-- COMMAND", help="what to run on the board")
    _add_bundle(parser, "a bundle that it has the answers of; may be given several times")
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
        "--cache",
        type=Path,
        default=Path("build/twin"),
        metavar="DIR",
        help="folder of the twin (default: %(default)s)",
    )
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--simulate", action="store_true", help="answer any picture: build the models again, first")
    either.add_argument(
        "--sockets", type=Path, metavar="DIR", help="answer any picture, from the `rkface twin serve` with this folder"
    )
    _add_calibration(parser)
    parser.set_defaults(run=_run)


def serve(parser: ArgumentParser) -> None:
    """Keep the simulator of bundles running, for many `rkface twin run --sockets DIR`, until it is interrupted.

    rknn-toolkit2 simulates a model only in the process that built it. So the models are built again, with the
    calibration set that `rkface convert` left in its work folder, and used only if they give the bundle's golden
    outputs bit for bit.

    examples:
      rkface twin serve --bundle build/rk3588 --sockets /tmp/twin
    """
    _add_bundle(parser, "a bundle whose models to simulate; may be given several times", required=True)
    parser.add_argument(
        "--sockets", type=Path, required=True, metavar="DIR", help="folder for the Unix sockets, with a short path"
    )
    _add_calibration(parser)
    parser.set_defaults(run=_serve)


def _add_bundle(parser: ArgumentParser, text: str, *, required: bool = False) -> None:
    parser.add_argument("--bundle", type=Path, action="append", default=[], required=required, metavar="DIR", help=text)


def _add_calibration(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="DIR",
        help="the bundle's calibration set (default: the one in a .work folder next to the bundle)",
    )


def _run(options: Namespace) -> int:
    from rkface.boards.profile import find_profile
    from rkface.boards.twin.board import FAULTS, build_twin, install_runtime
    from rkface.boards.twin.ingredients import gather_ingredients
    from rkface.runtime.core.bundle import read_bundle

    if options.simulate and not options.bundle:
        raise InputError("--simulate needs a --bundle to simulate")
    profile = find_profile(options.board)
    bundles = [read_bundle(folder) for folder in options.bundle]
    packages = install_runtime(options.cache.resolve() / "packages")
    folder = options.cache / "boards" / f"{options.board}{options.python}"
    ingredients = gather_ingredients(options.cache, options.python, options.toolkit)
    board = build_twin(ingredients, folder, profile, bundles, packages)
    if not options.command:
        print(f"the twin of {profile.title} is in {board.prefix}", file=sys.stderr)
        return 0
    faults, binding = (os.environ.get(name, "") for name in (FAULTS, CHOICE))
    if not options.simulate:
        sockets = options.sockets.resolve() if options.sockets else None
        return _run_child(options.command, board.environment(faults, binding, sockets))
    from .twin_simulators import run_simulators

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # remove the sockets, as after Ctrl-C
    with run_simulators(bundles, calibration=options.calibration) as sockets:
        print(f"{profile.title}: {EMULATED}", file=sys.stderr)
        return _run_child(options.command, board.environment(faults, binding, sockets))


def _run_child(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run ``command`` on this terminal; its exit code. An interrupt or a SIGTERM ends the command, and then us."""
    program = shutil.which(command[0], path=environment["PATH"])
    if program is None:
        raise InputError(f"{command[0]}: no such program: the board has python and rkface")
    sys.stdout.flush()
    # Children of rkface have its stderr as their stdout (reserve_stdout), unless they get stdout itself.
    child = subprocess.Popen([program, *command[1:]], env=environment, stdout=sys.stdout)
    before = [
        signal.signal(signal.SIGINT, signal.SIG_IGN),  # the terminal sends it to the child, too
        signal.signal(signal.SIGTERM, lambda *_: child.terminate()),
    ]
    try:
        code = child.wait()
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])
    return code if code >= 0 else 128 - code


def _serve(options: Namespace) -> int:
    from rkface.runtime.core.bundle import read_bundle

    from .twin_simulators import run_simulators

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # remove the sockets, as after Ctrl-C
    bundles = [read_bundle(folder) for folder in options.bundle]
    with run_simulators(bundles, options.sockets, options.calibration) as sockets:
        print(f"the simulator answers in {sockets}, until Ctrl-C", file=sys.stderr)
        signal.pause()
    return 0
