"""``rkface doctor``: check a board and suggest fixes."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rkface.runtime.core.errors import BundleError, InputError
from rkface.runtime.core.stdout import stdout_columns
from rkface.runtime.core.text import in_a_line

from .report import FAIL, CheckResult

if TYPE_CHECKING:
    from .checks_software import BundleNeeds
    from .report import DoctorReport


def doctor(parser: ArgumentParser) -> None:
    """Check a board, from its kernel and NPU driver to its cameras, and suggest a fix for each problem.

    Doctor changes nothing. With --fix it offers to set the governors to performance, to add you to the groups of the
    devices, and to write udev rules if they have no group; it shows the exact commands and asks before it runs them.
    With --host it checks a board from the workstation over ssh; nothing has to be installed on that board except Python
    3.8 or newer. With --report it also writes one file for a report: the checks, versions, what the kernel logged about
    the NPU, and with --bundle, on the board itself, the selftest and the latencies of `rkface bench`. The file contains
    no photo, embedding, address, host name, user name or setting.

    Exit code: 0 no check failed (warnings are allowed), 1 a check failed, 2 wrong use.

    examples:
      rkface doctor                                                    # on the board
      rkface doctor --bundle build/rk3588                              # does this bundle fit the board?
      rkface doctor --host radxa@rock-5b.local --bundle build/rk3588   # from the workstation, over ssh
      rkface doctor --fix                                              # governors, groups, udev rules; asks first
      rkface doctor --bundle build/rk3588 --report rock-5b.md          # one file to attach to a report
      rkface doctor --json | python3 -m json.tool                      # for programs
    """
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="also check that this bundle fits the board")
    parser.add_argument("--host", metavar="USER@BOARD", help="check this board over ssh instead of this machine")
    parser.add_argument("--fix", action="store_true", help="offer to fix governors, groups, udev rules (asks first)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write a Markdown file to attach to a report")
    parser.add_argument("--json", action="store_true", help="print checks, verdict, facts and fix commands as JSON")
    parser.set_defaults(run=_run)


def _run(options: Namespace) -> int:
    from rkface.boards.board_answers import clean_report
    from rkface.boards.ssh import ssh_command
    from rkface.runtime.core.progress import stage

    from .apply_fixes import apply_fixes
    from .attachment import check_place
    from .checks_software import BundleNeeds
    from .probe import Probe
    from .remote import run_checks_over
    from .run_checks import run_checks

    if options.bundle and not options.bundle.is_dir():
        raise InputError(f"{options.bundle}: no such bundle folder: `rkface convert` makes one")
    if options.fix and options.json:
        raise InputError("--fix asks questions and --json is for programs: use only one of them")
    if options.report:
        check_place(options.report)
    transport = ssh_command(options.host) if options.host is not None else []
    needs, bundle_problem = _read_needs(options.bundle) if options.bundle else (BundleNeeds(), None)
    with stage(f"checking {options.host or 'this machine'}"):
        report = (
            run_checks_over(transport, needs, options.host) if transport else clean_report(run_checks(Probe(), needs))
        )
    if bundle_problem:
        report = replace(report, checks=(*report.checks, bundle_problem))
    if options.json:
        print(report.to_json())
    else:
        _print(report, options.host)
    if options.report:
        _write_report(options, report)
        print(in_a_line(f"written: {options.report}"), file=sys.stderr if options.json else sys.stdout)
    if options.fix and not report.fixes:
        print("--fix has nothing to change: it fixes governors, groups and udev rules only")
    elif options.fix and apply_fixes(report.fixes, ssh_command(options.host, "-t") if options.host else []):
        print("done; run `rkface doctor` again (you are in new groups after the next login)")
    return 1 if report.verdict == FAIL else 0


def _read_needs(folder: Path) -> tuple[BundleNeeds, CheckResult | None]:
    """What the bundle in ``folder`` needs; a failed check instead if it cannot be read."""
    from rkface.runtime.core.bundle import read_bundle

    from .checks_software import BundleNeeds
    from .remote import bundle_needs

    try:
        return bundle_needs(read_bundle(folder).manifest), None
    except BundleError as error:
        return BundleNeeds(), CheckResult("bundle", FAIL, str(error))


def _write_report(options: Namespace, report: DoctorReport) -> None:
    """Write the file, and again after the measurement, which a broken driver or library may crash or hang."""
    from .attachment import write_attachment

    if not options.bundle or options.host:
        needed = "Not measured: this needs `--bundle DIR` on the board itself, without `--host`."
        write_attachment(options.report, report, needed)
        return
    write_attachment(options.report, report, "Not measured: the measurement ended this process.")
    write_attachment(options.report, report, _bench(options.bundle))


def _bench(bundle: Path) -> str:
    """The selftest and what `rkface bench` measures, in Markdown; or why it could not be measured."""
    from rkface.runtime.cli.bench import RUNS, format_table, time_detections
    from rkface.runtime.cli.selftest import format_result, run_selftest

    # The report is about a machine on which something does not work, so any exception belongs into it.
    try:
        result = run_selftest(bundle, None, RUNS)
    except Exception as error:
        return f"Not measured: {_describe(error)}"
    rows, failed = list(result.latencies), ""
    if not result.problems:
        try:
            rows += time_detections(bundle, None, RUNS)
        except Exception as error:
            failed = f"\nWhole detections were not measured: {_describe(error)}\n"
    return f"```\n{format_result(result)}\n```\n\n{format_table(result, rows)}{failed}"


def _describe(error: Exception) -> str:
    from rkface.runtime.core.errors import RkfaceError

    return str(error) if isinstance(error, RkfaceError) else f"{type(error).__name__}: {error}"


def _print(report: DoctorReport, host: str | None) -> None:
    from .report import render_report

    print(render_report(report, width=min(stdout_columns(100), 120), color=sys.stdout.isatty()))
    if host and report.facts["compatible"]:
        from rkface.boards.profile import match_profile

        profile = match_profile(report.facts["compatible"])
        if profile:
            models = f"{profile.chip.detector} at {profile.chip.size} with {profile.chip.recognizer}"
            print(f"board profile {profile.name}: we recommend {models} (docs/boards.md)")
