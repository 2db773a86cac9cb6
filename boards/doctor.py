"""``rkface doctor``: is this board fit to run rkface, and if not, what mends it?"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rkface.runtime.core.errors import BundleError, InputError, WorkError

from .report import FAIL, Line, Repair, Report

if TYPE_CHECKING:
    from .checks_npu import Need


def doctor(parser: ArgumentParser) -> None:
    """Examine a board, from its kernel and NPU driver to its cameras; each line has its fix.

    It changes nothing. --fix offers to set governors to performance and to add you to the devices' groups, shows the
    exact commands, and asks first. --host examines a board from the workstation over ssh; nothing has to be installed
    there. The exit code is 1 when a line fails, else 0.

    examples:
      rkface doctor --bundle build/rk3588
      rkface doctor --host radxa@rock-5b.local --bundle build/rk3588
      rkface doctor --json | python3 -m json.tool
    """
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="also check that this bundle fits the board")
    parser.add_argument("--host", metavar="USER@BOARD", help="examine this board instead, over ssh")
    parser.add_argument("--fix", action="store_true", help="offer to mend governors and groups (asks first)")
    parser.add_argument("--json", action="store_true", help="lines, verdict, facts and repairs, for programs")
    parser.set_defaults(run=_run)


def _run(options: Namespace) -> int:
    from rkface.runtime.core.progress import stage

    from .checks_npu import Need
    from .examine import examine
    from .probe import Probe
    from .remote import examine_there, ssh

    if options.fix and options.json:
        raise InputError("--fix asks questions, --json is for programs: use one of them")
    transport = ssh(options.host) if options.host else []
    need, broken = _need(options.bundle) if options.bundle else (Need(), None)
    with stage(f"examining {options.host or 'this machine'}"):
        report = examine_there(transport, need, options.host) if transport else examine(Probe(), need)
    if broken:
        report = Report((*report.lines, broken), report.facts, report.repairs)
    if options.json:
        print(report.to_json())
    else:
        _print(report, options.host)
    if options.fix and not report.repairs:
        print("nothing that --fix mends: it changes governors and groups only")
    elif options.fix and mend(report.repairs, ssh(options.host, "-t") if options.host else []):
        print("done; run `rkface doctor` again (new groups count from the next login)")
    return 1 if report.verdict == FAIL else 0


def _need(folder: Path) -> tuple[Need, Line | None]:
    """What a bundle asks of the board, and a line for a bundle that nothing can be asked of."""
    from rkface.runtime.core.bundle import read_bundle

    from .checks_npu import Need

    try:
        manifest = read_bundle(folder).manifest
    except BundleError as error:
        return Need(), Line("bundle", FAIL, str(error))
    return Need(manifest.target, manifest.toolkit), None


def _print(report: Report, host: str | None) -> None:
    from .report import render

    width = min(shutil.get_terminal_size((100, 40)).columns, 120)
    print(render(report, width=width, color=sys.stdout.isatty()))
    if host and report.facts["compatible"]:
        from .profile import match_profile

        profile = match_profile(report.facts["compatible"])
        if profile:
            advice = f"{profile.chip.detector} at {profile.chip.size} with {profile.chip.recognizer}"
            print(f"board profile {profile.name}: {advice} is recommended (docs/boards.md)")


def mend(repairs: Sequence[Repair], transport: Sequence[str], ask: Callable[[str], str] = input) -> bool:
    """Show the commands, ask, run them: here, or through ``transport``. False where nobody agreed; WorkError for one
    that fails."""
    print("\nto be run:")
    for repair in repairs:
        print(f"  {repair}\n      {repair.why}")
    if ask is input and not sys.stdin.isatty():
        print("nobody is there to be asked (no terminal), so nothing was changed")
        return False
    try:
        agreed = ask("run them? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        agreed = False
    if not agreed:
        print("nothing was changed")
        return False
    for repair in repairs:
        argv = [*transport, shlex.join(repair.argv)] if transport else list(repair.argv)
        try:
            code = subprocess.run(argv, check=False).returncode
        except OSError as error:
            raise WorkError(f"{argv[0]}: {error.strerror}; run it yourself: {repair}") from error
        if code:
            raise WorkError(f"exit code {code} from: {repair}; commands after it were not run")
    return True
