"""The steps of a deploy to one board."""

from __future__ import annotations

import getpass
import platform
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

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

from .board_lines import BoardLines, Shown
from .board_status import ask_status
from .release_pack import ReleasePack, ReleasePacker
from .session import AgentSession, ConnectionLostError
from .target_board import TargetBoard
from .transfer import copy_files

State = Literal["ok", "unchanged", "failed", "untouched"]
VERDICTS: dict[State, str] = {"ok": "ok", "unchanged": "same", "failed": "FAILED", "untouched": "-"}
NOT_CHECKED = "not checked: this board takes any release (--prepare --allowed-signers FILE changes that)"


@dataclass(frozen=True)
class DeployPlan:
    """What to do with every board: the command's ``options``, and for all but a rollback a ``bundle`` and a ``packer``.

    ``stamp`` starts the name of the release, ``who`` is recorded in the board's lock and in release.json. ``lines``
    show the progress of several boards; a single one has a line for each step. When ``stop`` is set, no board begins
    another step.
    """

    options: Namespace
    bundle: Bundle | None
    profile: BoardProfile | None
    packer: ReleasePacker | None
    stamp: str
    lines: BoardLines | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    who: str = field(default_factory=lambda: f"{getpass.getuser()} on {platform.node()}")


@dataclass(frozen=True)
class DeployOutcome:
    """The result for one board.

    state    "ok"; "unchanged" if its release has the same files; "failed"; "untouched" if nothing was done
    release  that is current now; "" if that is not known
    signer   who signed it, as the board found; "" if the board does not check that
    problem  what failed and why; "" otherwise
    wave     in which it was reached, from 1; 0 if it was not
    """

    name: str
    host: str
    state: State
    release: str = ""
    seconds: float = 0.0
    problem: str = ""
    signer: str = ""
    wave: int = 0


def deploy_to_board(plan: DeployPlan, target: TargetBoard, wave: int = 1) -> DeployOutcome:
    """Deploy to one board, or roll it back. Errors end up in the outcome, so that other boards continue."""
    start = time.monotonic()

    def outcome(state: State, release: str = "", problem: str = "", signer: str = "") -> DeployOutcome:
        return DeployOutcome(target.name, target.host, state, release, time.monotonic() - start, problem, signer, wave)

    try:
        with AgentSession(target.host, plan.options.root, target.options) as board:
            try:
                work = _roll_back if plan.options.rollback else _deploy
                done = outcome(*work(plan, board, target))
            except (RkfaceError, OSError) as error:  # OSError: the disk of this machine is full, for example
                done = outcome("failed", _release_after_failure(board), clean_text(error, 10_000))
    except (RkfaceError, OSError) as error:
        done = outcome("failed", problem=clean_text(error, 10_000))
    if plan.lines:
        plan.lines.finish(target.name, f"{VERDICTS[done.state]:6}  {describe_outcome(done)}")
    return done


def describe_outcome(outcome: DeployOutcome) -> str:
    """How long it took, and which release the board runs, or what failed and why."""
    if outcome.state == "untouched":
        return f"{'':5}    untouched"
    runs = f" (it runs {outcome.release})" if outcome.problem and outcome.release else ""
    return f"{outcome.seconds:5.0f} s  {outcome.problem or outcome.release}{runs}"


def _release_after_failure(board: AgentSession) -> str:
    """The release that the board runs after a deploy failed; "" if it does not say."""
    try:
        return parse_facts(board.request("describe")).current or ""
    except RkfaceError:
        return ""


@contextmanager
def _step(plan: DeployPlan, target: TargetBoard, name: str) -> Iterator[Shown]:
    """Show the progress of one step; an error inside names the step."""
    if plan.stop.is_set():
        raise WorkError(f"interrupted before {name}; this board was not changed")
    with plan.lines.step(target.name, name) if plan.lines else stage(name) as shown:
        try:
            yield shown
        except RkfaceError as error:
            raise WorkError(f"{name}: {error}") from error


def _deploy(plan: DeployPlan, board: AgentSession, target: TargetBoard) -> tuple[State, str, str, str]:
    """State, the release that is current now, no problem, and who signed it."""
    options = plan.options
    assert plan.bundle and plan.packer
    with _step(plan, target, "connect"):
        facts = parse_facts(board.request("describe"))
        python, version = _usable_python(facts)
    with _step(plan, target, "doctor") as shown:
        shown.note = _run_doctor(plan, target, python)
    with _step(plan, target, "wheels"):
        pack = plan.packer.pack_for(facts.machine, ".".join(version.split(".")[:2]))
        running = ask_status(board) if options.if_changed else None
        if running and running.contents == pack.contents and (running.service or not options.service):
            return "unchanged", running.release, "", running.signer
    name = plan.packer.name
    with _step(plan, target, "copy") as shown:
        begun = board.request("begin", name=name, folders=pack.folders, size=pack.size, who=plan.who)
        folder = check_path(begun, f"/releases/{name}")
        shown.note = copy_files(target, pack.folder, folder, rsync=facts.rsync, like=facts.current, say=shown.say)
    with _step(plan, target, "signature") as shown:
        signer = board.request("check_signature")
        signer = "" if signer is None else clean_text(check_type(signer, str, "who signed the release"), 200)
        shown.note = signer or (NOT_CHECKED if options.sign else "")
    with _step(plan, target, "install"):
        board.request("install", python=python)
    with _step(plan, target, "selftest") as shown:
        board.request("verify")
        shown.note = summarize_selftest(board.request("selftest", backend=options.backend))
    with _step(plan, target, "switch") as shown:
        shown.note = _switch(plan, board, pack)
    return "ok", name, "", signer


def _switch(plan: DeployPlan, board: AgentSession, pack: ReleasePack) -> str:
    """Make the release of ``board`` current; a note about old releases that could not be removed."""
    assert plan.bundle
    about = {
        "bundle": plan.bundle.manifest.name,
        "deployed": plan.stamp,
        "by": plan.who,
        "contents": pack.contents,
    }
    try:
        board.request("activate", service=plan.options.service, healthy=plan.options.healthy, about=about)
    except ConnectionLostError as error:
        raise WorkError(
            f"{error}. The board finishes this step without a connection, so it may have switched: "
            "`rkface deploy --status` says so when it can be reached"
        ) from error
    try:
        board.request("prune", keep=plan.options.keep)
    except RkfaceError as error:  # the new release is running anyway
        return f"old releases were not removed: {error}"
    return ""


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


def _roll_back(plan: DeployPlan, board: AgentSession, target: TargetBoard) -> tuple[State, str]:
    with _step(plan, target, "roll back") as shown:
        done = board.request("rollback", backend=plan.options.backend, healthy=plan.options.healthy, who=plan.who)
        done = check_type(done, dict, "the release")
        before = check_word(done.get("from"), RELEASE, "its release")
        shown.note = f"from {before}; {summarize_selftest(done.get('selftest'))}"
    return "ok", check_word(done.get("release"), RELEASE, "its release")


def _run_doctor(plan: DeployPlan, target: TargetBoard, python: str) -> str:
    """Check the board before anything is copied; doctor's summary. Raises WorkError with the checks that failed."""
    if plan.options.no_doctor:
        return "skipped"
    assert plan.bundle
    needs = bundle_needs(plan.bundle.manifest)
    report = run_checks_over(ssh_command(target.host, *UNATTENDED, *target.options), needs, target.host, python)
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
