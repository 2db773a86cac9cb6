"""``rkface deploy``: install a bundle and the runtime on boards over ssh."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rkface.runtime.core.arguments import positive_integer
from rkface.runtime.core.errors import InputError

if TYPE_CHECKING:
    from rkface.boards.profile import BoardProfile
    from rkface.runtime.core.bundle import Bundle

    from .deploy_board import DeployOutcome, DeployPlan

SOC = "rk3588"
KEEP = 3
PARALLEL_BOARDS = 16


def deploy(parser: ArgumentParser) -> None:
    """Install a bundle and the runtime on boards over ssh; if a step fails, the previous release keeps running.

    Steps for each board: run doctor; copy runtime, wheels and bundle into a new folder below /opt/rkface/releases;
    create a virtual environment from these wheels, so the board needs no internet; run `rkface verify` and
    `rkface selftest` there; then point /opt/rkface/current to the new release in one step, and restart the service if
    there is one. A failure before that changes nothing. If the service does not stay up, the previous release becomes
    current again.

    deploy uses the system's ssh (and rsync, if both sides have it) with your keys and ~/.ssh/config. It never asks for
    a password, so `ssh USER@BOARD true` must work without a question. The board needs Python 3.10 to 3.14.

    Exit code: 0 all boards succeeded, 1 a board failed, 2 wrong use.

    examples:
      rkface deploy --prepare radxa@rock-5b.local     # the first time: shows its sudo commands, and asks
      rkface deploy --bundle build/rk3588 radxa@rock-5b.local radxa@door.local
      rkface deploy --prepare --librknnrt ~/librknnrt.so radxa@rock-5b.local
      rkface deploy --service --config rkface.toml radxa@rock-5b.local
      rkface deploy --rollback radxa@rock-5b.local
      rkface deploy --json --bundle build/rk3588 radxa@rock-5b.local     # for programs
    """
    add = parser.add_argument
    add("hosts", nargs="+", metavar="USER@BOARD", help="boards, as you would name them to ssh")
    add(
        "--bundle",
        type=Path,
        metavar="DIR",
        help=f"bundle from `rkface convert` (default: build/CHIP, with the chip of --board, or {SOC})",
    )
    add("--board", metavar="NAME", help="fail if a board is not of this kind, such as rock-5b (docs/boards.md)")
    add("--prepare", action="store_true", help="first create /opt/rkface and the user rkface with sudo (asks first)")
    add("--librknnrt", type=Path, metavar="FILE", help="with --prepare: also install this copy of Rockchip's library")
    add("--yes", action="store_true", help="with --prepare: do not ask")
    add("--rollback", action="store_true", help="return to the previous release, after running its selftest")
    add(
        "--config",
        type=Path,
        metavar="FILE",
        help="settings for `rkface run`, as part of the release (default: those of the previous release)",
    )
    add("--service", action="store_true", help="also install and start the systemd unit, which runs `rkface run`")
    add(
        "--backend",
        default="",
        choices=("npu", "reference"),
        metavar="B",
        help="for the selftest: npu or reference (default: npu on a board)",
    )
    add("--no-doctor", action="store_true", help="skip doctor's checks")
    add("--keep", type=positive_integer, default=KEEP, metavar="N", help="releases to keep (default: %(default)s)")
    add("--root", default="/", metavar="DIR", help="use this folder on the board as / (to try deploy out)")
    add("--json", action="store_true", help="print the result for each board as JSON")
    parser.set_defaults(run=_run)


def _run(options: Namespace) -> int:
    from rkface.boards.profile import find_profile

    from .deploy_board import DeployPlan
    from .release_pack import ReleasePacker

    _check_options(options)
    profile = find_profile(options.board) if options.board else None
    if profile and not profile.cores:
        raise InputError(f"{profile.title} can only be converted for: rknn-toolkit-lite2 does not run on it")
    if options.rollback:
        return _deploy_to_all(DeployPlan(options, None, profile, None, ""))
    bundle = _read_bundle(options.bundle, profile)
    if options.config:
        from rkface.runtime.service.config import read_settings

        read_settings(options.config)  # an error in it is reported here, not by a service that does not start
    if options.prepare:
        from rkface.boards.doctor.remote import bundle_needs

        from .provision import provision

        provision(options.hosts, options.root, options.librknnrt, bundle_needs(bundle.manifest), ask=not options.yes)
    packer = ReleasePacker(bundle, reference=options.backend == "reference", config=options.config)
    try:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        return _deploy_to_all(DeployPlan(options, bundle, profile, packer, stamp))
    finally:
        packer.close()


def _check_options(options: Namespace) -> None:
    from .session import check_root

    if (options.librknnrt or options.yes) and not options.prepare:
        raise InputError("--librknnrt and --yes only work with --prepare")
    if options.json and options.prepare:
        raise InputError("--prepare asks questions and --json is for programs: prepare the board first, without --json")
    check_root(options.root)
    repeated = next((host for host in options.hosts if options.hosts.count(host) > 1), None)
    if repeated:
        raise InputError(f"{repeated} is named twice")
    if options.rollback and (options.prepare or options.bundle or options.service or options.config):
        raise InputError(
            "--rollback uses a release that is on the board: leave out --prepare, --bundle, --config and --service"
        )


def _read_bundle(folder: Path | None, profile: BoardProfile | None) -> Bundle:
    from rkface.runtime.core.bundle import read_bundle

    bundle = read_bundle(folder or Path("build") / (profile.soc if profile else SOC))
    if profile and profile.soc != bundle.manifest.target:
        raise InputError(
            f"{bundle.folder} was made for {bundle.manifest.target}, {profile.name} is {profile.soc}: "
            f"convert again with --target {profile.soc}"
        )
    return bundle


def _deploy_to_all(plan: DeployPlan) -> int:
    from concurrent.futures import ThreadPoolExecutor

    from .deploy_board import deploy_to_board

    hosts: Sequence[str] = plan.options.hosts
    with ThreadPoolExecutor(min(len(hosts), PARALLEL_BOARDS)) as pool:
        outcomes = list(pool.map(lambda host: deploy_to_board(plan, host), hosts))
    print(outcomes_to_json(outcomes) if plan.options.json else render_outcomes(outcomes))
    return 1 if any(outcome.problem for outcome in outcomes) else 0


def outcomes_to_json(outcomes: Sequence[DeployOutcome]) -> str:
    """One JSON object: the verdict, and for each board its host, release, seconds and problem (empty if it is ok)."""
    verdict = "fail" if any(outcome.problem for outcome in outcomes) else "ok"
    return json.dumps({"verdict": verdict, "boards": [asdict(outcome) for outcome in outcomes]}, ensure_ascii=False)


def render_outcomes(outcomes: Sequence[DeployOutcome]) -> str:
    """A row for each board: the release that is current now, or what failed and why."""
    width = max(len(outcome.host) for outcome in outcomes)
    rows = []
    for one in outcomes:
        verdict = "FAILED" if one.problem else "ok"
        rows.append(f"  {verdict:6}  {one.host:{width}}  {one.seconds:5.0f} s  {one.problem or one.release}")
    failed = sum(bool(one.problem) for one in outcomes)
    done = len(outcomes) - failed
    summary = f"{done} of {len(outcomes)} boards succeeded" if len(outcomes) > 1 else "done" if done else "failed"
    note = "; a board that failed still runs its previous release, unless its row says otherwise" if failed else ""
    return "\n".join([*rows, summary + note])
