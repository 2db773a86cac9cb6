"""Doctor's report: one result per check, with a verdict and a fix, printed as text or as JSON.

This file is sent to boards (remote.py): standard library only, syntax of Python 3.8.
"""

from __future__ import annotations

import json
import shlex
import textwrap
from dataclasses import asdict, dataclass, field
from typing import Any

OK, WARN, FAIL = "ok", "warn", "fail"
VERDICTS = (OK, WARN, FAIL)  # from best to worst
COLORS = {OK: "\x1b[32m", WARN: "\x1b[33m", FAIL: "\x1b[31m"}
PLAIN = "\x1b[0m"
NAME_WIDTH = 12


@dataclass(frozen=True)
class CheckResult:
    """The result of one check: name, verdict (OK, WARN or FAIL), what was found, and a fix (empty if OK)."""

    name: str
    verdict: str
    found: str
    fix: str = ""


@dataclass(frozen=True)
class FixCommand:
    """A command that ``--fix`` offers to run, and why."""

    why: str
    argv: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join(shlex.quote(word) for word in self.argv)


@dataclass(frozen=True)
class DoctorReport:
    """All results of one run, and the fix commands for them.

    ``facts`` describe the board for programs: soc, cores, model, compatible, machine, system, kernel, driver,
    driver_log (lines of the kernel's log), python, rknnlite, librknnrt, librknnrt_version, user; "" if unknown.
    """

    checks: tuple[CheckResult, ...]
    facts: dict[str, str] = field(default_factory=dict)
    fixes: tuple[FixCommand, ...] = ()

    @property
    def verdict(self) -> str:
        """The worst verdict of all checks."""
        return max((check.verdict for check in self.checks), key=VERDICTS.index, default=OK)

    def to_json(self) -> str:
        """The report as one JSON object. Programs read it, so its keys stay: lines, facts, repairs, verdict."""
        raw = {
            "lines": [asdict(check) for check in self.checks],
            "facts": self.facts,
            "repairs": [asdict(command) for command in self.fixes],
            "verdict": self.verdict,
        }
        return json.dumps(raw, ensure_ascii=False)


def report_from_json(raw: Any) -> DoctorReport:
    """The report that ``to_json`` wrote, from its parsed JSON. Raises ValueError for any other value."""
    try:
        return DoctorReport(
            tuple(CheckResult(**check) for check in raw["lines"]),
            raw["facts"],
            tuple(FixCommand(command["why"], tuple(command["argv"])) for command in raw["repairs"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"this is not a report of rkface doctor: {error}") from error


def render_report(report: DoctorReport, *, width: int, color: bool) -> str:
    """The report as text, at most ``width`` columns: one line per check, its fix below it, a summary at the end."""
    margin = " " * (8 + NAME_WIDTH + 1)
    rows = []
    for check in report.checks:
        verdict = f"{COLORS[check.verdict]}{check.verdict:4}{PLAIN}" if color else f"{check.verdict:4}"
        found = textwrap.wrap(check.found, max(20, width - len(margin))) or [""]
        rows += [f"  {verdict}  {check.name:{NAME_WIDTH}} {found[0]}", *(margin + more for more in found[1:])]
        fix = [part for line in check.fix.splitlines() for part in _wrap_fix(line, max(20, width - len(margin) - 2))]
        rows += [f"{margin}{'  ' if number else '→ '}{part}" for number, part in enumerate(fix)]
    return "\n".join([*rows, summarize(report)])


def _wrap_fix(line: str, width: int) -> list[str]:
    return textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False)


def summarize(report: DoctorReport) -> str:
    """The number of failed checks and warnings, in one sentence."""
    count = {verdict: sum(check.verdict == verdict for check in report.checks) for verdict in VERDICTS}
    if count[FAIL]:
        return f"{count[FAIL]} of {len(report.checks)} checks failed: fix these first, then run doctor again"
    if count[WARN]:
        return f"no check failed; {count[WARN]} of {len(report.checks)} checks have a warning"
    return f"all {len(report.checks)} checks passed"
