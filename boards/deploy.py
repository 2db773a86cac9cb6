"""``rkface deploy``: a bundle and the runtime onto boards, or nothing changed there."""

from __future__ import annotations

import getpass
import io
import platform
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rkface.runtime.core.errors import InputError, RkfaceError, WorkError

if TYPE_CHECKING:
    from rkface.runtime.core.bundle import Bundle

    from .cargo import Loader
    from .profile import Profile
    from .session import Session

SOC = "rk3588"
KEEP = 3
HEALTHY_SECONDS = 10  # that a restarted service has to stay up
AT_ONCE = 16  # boards


def number(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def deploy(parser: ArgumentParser) -> None:
    """Put a bundle and the runtime on boards, over ssh; what ran there before runs on if anything fails.

    For each board: doctor; runtime, wheels and bundle into a new folder below /opt/rkface/releases; a virtual
    environment out of those wheels, so that the board needs no internet; `rkface verify` and `rkface selftest` there;
    then the link /opt/rkface/current is switched in one step, and the service restarted where there is one. Whatever
    fails before that changes nothing; a service that does not stay up brings the release before back.

    Uses the system's ssh (and rsync where both ends have it) with your keys and ~/.ssh/config, and asks for no
    password: `ssh USER@BOARD true` has to work without a question. The board needs Python 3.10 to 3.12, nothing else.

    Exit code: 0 all boards are done, 1 one failed, 2 wrong use.

    examples:
      rkface deploy --prepare radxa@rock-5b.local            # the first time: shows what it runs with sudo, and asks
      rkface deploy --bundle build/rk3588 radxa@rock-5b.local radxa@door.local
      rkface deploy --prepare --librknnrt ~/librknnrt.so radxa@rock-5b.local
      rkface deploy --rollback radxa@rock-5b.local
    """
    add = parser.add_argument
    add("hosts", nargs="+", metavar="USER@BOARD", help="boards, as ssh knows them")
    add(
        "--bundle",
        type=Path,
        metavar="DIR",
        help=f"what `rkface convert` wrote (default: build/CHIP, {SOC} unless --board says otherwise)",
    )
    add("--board", metavar="NAME", help="which board they have to be, such as rock-5b (docs/boards.md)")
    add("--prepare", action="store_true", help="first make /opt/rkface and the user rkface, with sudo (asks first)")
    add("--librknnrt", type=Path, metavar="FILE", help="with --prepare: install this copy of Rockchip's library too")
    add("--yes", action="store_true", help="with --prepare: do not ask")
    add("--rollback", action="store_true", help="return to the release before, after a selftest of it")
    add(
        "--config",
        type=Path,
        metavar="FILE",
        help="settings for `rkface run`, part of the release (default: those of the release before)",
    )
    add("--service", action="store_true", help="also install and start the systemd unit, which runs `rkface run`")
    add("--backend", default="", metavar="B", help="for the selftest: npu or reference (default: what the board has)")
    add("--no-doctor", action="store_true", help="go on whatever doctor finds")
    add("--keep", type=number, default=KEEP, metavar="N", help="releases to keep on a board (default: %(default)s)")
    add("--root", default="/", metavar="DIR", help="a folder on the board to take for / (to try things out)")
    parser.set_defaults(run=_run)


@dataclass(frozen=True)
class Outcome:
    """What became of one board. ``problem`` is empty where all went well."""

    host: str
    release: str
    seconds: float
    problem: str = ""


@dataclass
class Plan:
    """What to do with every board."""

    options: Namespace
    bundle: Bundle | None
    profile: Profile | None
    loader: Loader | None
    stamp: str
    who: str = field(default_factory=lambda: f"{getpass.getuser()} on {platform.node()}")


class _Lines(io.TextIOBase):
    """Standard error without its terminal: several boards at a time cannot share a line."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def _run(options: Namespace) -> int:
    from rkface.runtime.core.bundle import read_bundle

    from .cargo import Loader
    from .profile import find_profile

    if (options.librknnrt or options.yes) and not options.prepare:
        raise InputError("--librknnrt and --yes go with --prepare")
    repeated = next((host for host in options.hosts if options.hosts.count(host) > 1), None)
    if repeated:
        raise InputError(f"{repeated} is named twice")
    profile = find_profile(options.board) if options.board else None
    if profile and not profile.cores:
        raise InputError(f"{profile.title} only takes part in converting: rknn-toolkit-lite2 does not run on it")
    if options.rollback:
        if options.prepare or options.bundle or options.service or options.config:
            raise InputError(
                "--rollback takes what is on the board: it goes without --prepare, --bundle, --config and --service"
            )
        return _all(Plan(options, None, profile, None, ""))
    bundle = read_bundle(options.bundle or Path("build") / (profile.soc if profile else SOC))
    if profile and profile.soc != bundle.manifest.target:
        raise InputError(
            f"{bundle.folder} was made for {bundle.manifest.target}, {profile.name} is {profile.soc}: "
            f"convert again with --target {profile.soc}"
        )
    if options.config:
        from rkface.runtime.service.config import read_settings

        read_settings(options.config)  # what is wrong with it is told here, not by a service that does not start
    if options.prepare:
        from .prepare import prepare

        prepare(options.hosts, options.root, options.librknnrt, bundle.manifest.toolkit, ask=not options.yes)
    loader = Loader(bundle, reference=options.backend == "reference", config=options.config)
    try:
        return _all(Plan(options, bundle, profile, loader, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())))
    finally:
        loader.close()


def _all(plan: Plan) -> int:
    from concurrent.futures import ThreadPoolExecutor

    hosts: Sequence[str] = plan.options.hosts
    with ThreadPoolExecutor(min(len(hosts), AT_ONCE)) as pool:
        outcomes = list(pool.map(lambda host: attempt(plan, host), hosts))
    print(render(outcomes))
    return 1 if any(outcome.problem for outcome in outcomes) else 0


def attempt(plan: Plan, host: str) -> Outcome:
    """Deploy to one board, or take it back; whatever happens, an outcome."""
    from .session import Session

    start = time.monotonic()
    try:
        with Session(host, plan.options.root) as board:
            release = _take_back(plan, board) if plan.options.rollback else _deliver(plan, board)
        return Outcome(host, release, time.monotonic() - start)
    except (RkfaceError, OSError) as error:  # of a full disk here, say: the other boards go on
        return Outcome(host, "", time.monotonic() - start, problem=str(error))


@contextmanager
def _step(plan: Plan, host: str, name: str) -> Iterator[Any]:
    """Progress of one step; an error inside names the step."""
    from rkface.runtime.core.progress import stage

    several = len(plan.options.hosts) > 1
    with stage(f"{host}: {name}" if several else name, _Lines() if several else None) as shown:  # type: ignore[arg-type]
        try:
            yield shown
        except RkfaceError as error:
            raise WorkError(f"{name}: {error}") from error


def _deliver(plan: Plan, board: Session) -> str:
    from .cargo import release_name
    from .session import LostError
    from .transfer import copy

    options, host = plan.options, board.host
    assert plan.bundle and plan.loader
    with _step(plan, host, "connect"):
        there = board.ask("look")
        if not there["writable"]:
            raise WorkError(f"{there['user']} may not write /opt/rkface there: run this once with --prepare")
        if not there["pythons"]:
            raise WorkError(
                "no Python 3.10, 3.11 or 3.12 there, which rkface and rknn-toolkit-lite2 need: Debian 12 and Ubuntu "
                "22.04 and 24.04 have one (sudo apt install python3); elsewhere: uv python install 3.11"
            )
        python, version = there["pythons"][0]
    with _step(plan, host, "doctor") as shown:
        shown.note = _preflight(plan, board, python)
    with _step(plan, host, "wheels"):
        cargo = plan.loader.load(there["machine"], ".".join(version.split(".")[:2]))
    name = release_name(plan.bundle, plan.stamp)
    with _step(plan, host, "copy") as shown:
        place = board.ask("begin", name=name, folders=cargo.folders, size=cargo.size, who=plan.who)
        shown.note = copy(host, cargo.folder, place, rsync=there["rsync"], like=there["current"], say=shown.say)
    with _step(plan, host, "install"):
        board.ask("install", python=python)
    with _step(plan, host, "selftest") as shown:
        board.ask("verify")
        shown.note = tested(board.ask("selftest", backend=options.backend))
    with _step(plan, host, "switch") as shown:
        about = {"bundle": plan.bundle.manifest.name, "deployed": plan.stamp, "by": plan.who}
        try:
            board.ask("activate", service=options.service, healthy=HEALTHY_SECONDS, about=about)
        except LostError as error:
            raise WorkError(
                f"{error}. The board ends this step by itself, so it may have switched: "
                "deploy again once it can be reached"
            ) from error
        try:
            board.ask("prune", keep=options.keep)
        except RkfaceError as error:  # the new release serves all the same
            shown.note = f"old releases stay there: {error}"
    return name


def _take_back(plan: Plan, board: Session) -> str:
    with _step(plan, board.host, "roll back") as shown:
        done = board.ask("rollback", backend=plan.options.backend, healthy=HEALTHY_SECONDS, who=plan.who)
        shown.note = f"from {done['from']}; {tested(done['selftest'])}"
    return str(done["release"])


def _preflight(plan: Plan, board: Session, python: str) -> str:
    """Doctor, before anything is copied: what it found in a word, or WorkError with the lines that fail."""
    from .checks_npu import Need
    from .profile import match_profile
    from .remote import examine_there, ssh
    from .report import FAIL, summary
    from .transfer import OPTIONS

    if plan.options.no_doctor:
        return "left out"
    assert plan.bundle
    manifest = plan.bundle.manifest
    need = Need(manifest.target, manifest.toolkit)
    report = examine_there(ssh(board.host, *OPTIONS), need, board.host, python)
    failed = [line for line in report.lines if line.verdict == FAIL]
    if failed:
        told = "".join(f"\n      {line.name}: {line.found}\n        → {line.fix}" for line in failed)
        raise WorkError(f"{summary(report)}{told}")
    found = match_profile(report.facts.get("compatible", ""))
    if plan.profile and found and found.name != plan.profile.name:
        raise WorkError(f"this is {found.title}, not {plan.profile.title}")
    return summary(report)


def tested(said: dict[str, Any]) -> str:
    """The selftest's agreement and latency in a line."""
    agreed = [f"{one['role']} {one['simulator']:.4f}" for one in said.get("agreements", ())]
    first = {row["what"]: row for row in reversed(said.get("latencies", ()))}  # a core alone, as all are alike
    timed = [f"{what} {row['p50']:.1f} ms" for what, row in sorted(first.items())]
    return f"least cosine to the simulator: {', '.join(agreed)}; {', '.join(timed)}" if agreed else "passed"


def render(outcomes: Sequence[Outcome]) -> str:
    """A row for each board: the release that is current now, or what failed and why."""
    width = max(len(outcome.host) for outcome in outcomes)
    rows = []
    for one in outcomes:
        verdict = "FAILED" if one.problem else "ok"
        rows.append(f"  {verdict:6}  {one.host:{width}}  {one.seconds:5.0f} s  {one.problem or one.release}")
    failed = sum(bool(one.problem) for one in outcomes)
    done = len(outcomes) - failed
    summary = f"{done} of {len(outcomes)} boards done" if len(outcomes) > 1 else "done" if done else "not done"
    told = "; unless its line says otherwise, a board that failed runs what it ran before" if failed else ""
    return "\n".join([*rows, summary + told])
