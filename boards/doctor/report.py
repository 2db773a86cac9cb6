"""What doctor says: lines with a verdict and a fix, printed for people or as JSON."""

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
class Line:
    """One thing looked at: what was found, and, unless all is well, what to do."""

    name: str
    verdict: str
    found: str
    fix: str = ""


@dataclass(frozen=True)
class Repair:
    """A command that ``--fix`` offers, and what it is for."""

    why: str
    argv: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join(shlex.quote(word) for word in self.argv)


@dataclass(frozen=True)
class Report:
    """``facts``: what programs want to know of the board (soc, model, compatible, machine, python, librknnrt)."""

    lines: tuple[Line, ...]
    facts: dict[str, str] = field(default_factory=dict)
    repairs: tuple[Repair, ...] = ()

    @property
    def verdict(self) -> str:
        """That of the worst line."""
        return max((line.verdict for line in self.lines), key=VERDICTS.index, default=OK)

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "verdict": self.verdict}, ensure_ascii=False)


def from_json(text: str) -> Report:
    """The report that ``to_json`` wrote. ValueError for anything else."""
    try:
        raw: dict[str, Any] = json.loads(text)
        return Report(
            tuple(Line(**line) for line in raw["lines"]),
            raw["facts"],
            tuple(Repair(repair["why"], tuple(repair["argv"])) for repair in raw["repairs"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"no report of doctor: {error}") from error


def render(report: Report, *, width: int, color: bool) -> str:
    """One screen: a line for each thing looked at, its fix below it."""
    margin = " " * (8 + NAME_WIDTH + 1)
    rows = []
    for line in report.lines:
        verdict = f"{COLORS[line.verdict]}{line.verdict:4}{PLAIN}" if color else f"{line.verdict:4}"
        found = textwrap.wrap(line.found, max(20, width - len(margin))) or [""]
        rows += [f"  {verdict}  {line.name:{NAME_WIDTH}} {found[0]}", *(margin + more for more in found[1:])]
        if line.fix:
            fix = textwrap.wrap(
                line.fix, max(20, width - len(margin) - 2), break_long_words=False, break_on_hyphens=False
            )
            rows += [f"{margin}→ {fix[0]}", *(f"{margin}  {more}" for more in fix[1:])]
    return "\n".join([*rows, summary(report)])


def summary(report: Report) -> str:
    count = {verdict: sum(line.verdict == verdict for line in report.lines) for verdict in VERDICTS}
    if count[FAIL]:
        return f"{count[FAIL]} of {len(report.lines)} checks failed: mend these first, then run doctor again"
    if count[WARN]:
        return f"nothing stands in the way; {count[WARN]} of {len(report.lines)} checks are worth a look"
    return f"all {len(report.lines)} checks are fine"
