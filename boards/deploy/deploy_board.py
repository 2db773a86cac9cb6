"""The steps of a deploy to one board."""

from __future__ import annotations

import getpass
import io
import platform
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rkface.boards.board_answers import (
    RELEASE,
    BoardFacts,
    check_path,
    check_type,
    check_word,
    clean_text,
    parse_facts,
    wrong_answer,
)
from rkface.boards.doctor.remote import bundle_needs, run_checks_over
from rkface.boards.doctor.report import FAIL, summarize
from rkface.boards.profile import BoardProfile, match_profile
from rkface.boards.ssh import UNATTENDED, ssh_command
from rkface.runtime.core.bundle import Bundle
from rkface.runtime.core.errors import RkfaceError, WorkError
from rkface.runtime.core.progress import stage

from .release_pack import ReleasePacker, release_name
from .session import AgentSession, ConnectionLostError
from .transfer import copy_files

HEALTHY_SECONDS = 10  # that a restarted service must stay up


@dataclass(frozen=True)
class DeployPlan:
    """What to do with every board: the command's ``options``, and for all but a rollback a ``bundle`` and a ``packer``.

    ``stamp`` starts the name of the release, ``who`` is recorded in the board's lock and in release.json.
    """

    options: Namespace
    bundle: Bundle | None
    profile: BoardProfile | None
    packer: ReleasePacker | None
    stamp: str
    who: str = field(default_factory=lambda: f"{getpass.getuser()} on {platform.node()}")


@dataclass(frozen=True)
class DeployOutcome:
    """The result for one board: its current ``release``, or the ``problem`` (empty if the deploy succeeded)."""

    host: str
    release: str
    seconds: float
    problem: str = ""


class _LineStream(io.TextIOBase):
    """Standard error, but not a terminal: several boards cannot redraw the same line."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def deploy_to_board(plan: DeployPlan, host: str) -> DeployOutcome:
    """Deploy to one board, or roll it back. Errors end up in the outcome, so that other boards continue."""
    start = time.monotonic()
    try:
        with AgentSession(host, plan.options.root) as board:
            release = _roll_back(plan, board) if plan.options.rollback else _deploy(plan, board)
        return DeployOutcome(host, release, time.monotonic() - start)
    except (RkfaceError, OSError) as error:  # OSError: the disk of this machine is full, for example
        return DeployOutcome(host, "", time.monotonic() - start, problem=clean_text(error, 10_000))


@contextmanager
def _step(plan: DeployPlan, host: str, name: str) -> Iterator[Any]:
    """Show the progress of one step; an error inside names the step."""
    several = len(plan.options.hosts) > 1
    with stage(f"{host}: {name}" if several else name, _LineStream() if several else None) as shown:  # type: ignore[arg-type]
        try:
            yield shown
        except RkfaceError as error:
            raise WorkError(f"{name}: {error}") from error


def _deploy(plan: DeployPlan, board: AgentSession) -> str:
    """The name of the release that is current now."""
    options, host = plan.options, board.host
    assert plan.bundle and plan.packer
    with _step(plan, host, "connect"):
        facts = parse_facts(board.request("describe"))
        python, version = _usable_python(facts)
    with _step(plan, host, "doctor") as shown:
        shown.note = _run_doctor(plan, board, python)
    with _step(plan, host, "wheels"):
        pack = plan.packer.pack_for(facts.machine, ".".join(version.split(".")[:2]))
    name = release_name(plan.bundle, plan.stamp)
    with _step(plan, host, "copy") as shown:
        begun = board.request("begin", name=name, folders=pack.folders, size=pack.size, who=plan.who)
        folder = check_path(begun, f"/releases/{name}")
        shown.note = copy_files(host, pack.folder, folder, rsync=facts.rsync, like=facts.current, say=shown.say)
    with _step(plan, host, "install"):
        board.request("install", python=python)
    with _step(plan, host, "selftest") as shown:
        board.request("verify")
        shown.note = summarize_selftest(board.request("selftest", backend=options.backend))
    with _step(plan, host, "switch") as shown:
        about = {"bundle": plan.bundle.manifest.name, "deployed": plan.stamp, "by": plan.who}
        try:
            board.request("activate", service=options.service, healthy=HEALTHY_SECONDS, about=about)
        except ConnectionLostError as error:
            raise WorkError(
                f"{error}. The board finishes this step without a connection, so it may have switched: "
                "deploy again when it can be reached"
            ) from error
        try:
            board.request("prune", keep=options.keep)
        except RkfaceError as error:  # the new release is running anyway
            shown.note = f"old releases were not removed: {error}"
    return name


def _usable_python(facts: BoardFacts) -> tuple[str, str]:
    """(path, version) of the Python to use on the board. Raises WorkError if it cannot be deployed to."""
    if not facts.writable:
        raise WorkError(f"{facts.user} may not write to /opt/rkface on the board: run this once with --prepare")
    if not facts.pythons:
        raise WorkError(
            "the board has no Python 3.10 to 3.14, which rkface needs: Debian 12 and 13, and Ubuntu from 22.04 have "
            "one (sudo apt install python3); elsewhere: uv python install 3.11"
        )
    return facts.pythons[0]


def _roll_back(plan: DeployPlan, board: AgentSession) -> str:
    with _step(plan, board.host, "roll back") as shown:
        done = board.request("rollback", backend=plan.options.backend, healthy=HEALTHY_SECONDS, who=plan.who)
        done = check_type(done, dict, "the release")
        before = check_word(done.get("from"), RELEASE, "its release")
        shown.note = f"from {before}; {summarize_selftest(done.get('selftest'))}"
    return check_word(done.get("release"), RELEASE, "its release")


def _run_doctor(plan: DeployPlan, board: AgentSession, python: str) -> str:
    """Check the board before anything is copied; doctor's summary. Raises WorkError with the checks that failed."""
    if plan.options.no_doctor:
        return "skipped"
    assert plan.bundle
    needs = bundle_needs(plan.bundle.manifest)
    report = run_checks_over(ssh_command(board.host, *UNATTENDED), needs, board.host, python)
    failed = [check for check in report.checks if check.verdict == FAIL]
    if failed:
        details = "".join(f"\n      {check.name}: {check.found}\n        → {check.fix}" for check in failed)
        raise WorkError(f"{summarize(report)}{details}")
    found = match_profile(report.facts.get("compatible", ""))
    if plan.profile and found and found.name != plan.profile.name:
        raise WorkError(f"this is {found.title}, not {plan.profile.title}")
    return summarize(report)


def summarize_selftest(result: Any) -> str:
    """Agreement and latency from the result of `rkface selftest --json`, in one line. Raises WorkError for another
    result."""
    try:
        agreements = [f"{clean_text(one['role'], 40)} {one['simulator']:.4f}" for one in result.get("agreements", ())]
        first = {row["what"]: row for row in reversed(result.get("latencies", ()))}  # on one core; the cores are alike
        latencies = [f"{clean_text(what, 40)} {row['p50']:.1f} ms" for what, row in sorted(first.items())]
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise wrong_answer("the result of its selftest", result) from error
    if not agreements:
        return "passed"
    return f"lowest cosine to the simulator: {', '.join(agreements[:8])}; {', '.join(latencies[:8])}"
