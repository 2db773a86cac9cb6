"""``rkface deploy``: install a bundle and the runtime on boards over ssh."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from rkface.runtime.core.arguments import integer_from, positive_integer
from rkface.runtime.core.errors import InputError

from .waves import ONE_WAVE, parse_waves

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rkface.boards.profile import BoardProfile
    from rkface.runtime.core.bundle import Bundle

    from .deploy_board import DeployPlan
    from .target_board import TargetBoard

SOC = "rk3588"
KEEP = 3
PARALLEL_BOARDS = 16
MOST_PARALLEL = 100  # each needs an ssh, an rsync and a few threads
HEALTHY_SECONDS = 10
MOST_HEALTHY = 1200  # session.REQUEST_SECONDS is half an hour, for two restarts


def deploy(parser: ArgumentParser) -> None:
    """Install a bundle and the runtime on boards over ssh; if a step fails, the previous release keeps running.

    Steps for each board: run doctor; copy runtime, wheels and bundle into a new folder below /opt/rkface/releases;
    create a virtual environment from these wheels, so the board needs no internet; run `rkface verify` and
    `rkface selftest` there; then point /opt/rkface/current to the new release in one step, and restart the service if
    there is one. A failure before that changes nothing. If the service does not stay up, the previous release becomes
    current again.

    deploy uses the system's ssh (and rsync, if both sides have it) with your keys and ~/.ssh/config. It never asks for
    a password, so `ssh USER@BOARD true` must work without a question. The board needs Python 3.10 to 3.14.

    Many boards: --inventory names a boards.toml ([board.NAME] with host and groups), or an inventory of Ansible.
    --wave 1,5,rest deploys to one board, then to five, then to all others, and stops after a wave in which a board
    failed; the boards behind it are not touched. --sign signs the release, and boards that were prepared with
    --allowed-signers take no other.

    Exit code: 0 all boards succeeded, 1 a board failed or was not reached, 2 wrong use, 130 interrupted. Ctrl-C leaves
    each board with its old or with its new release.

    examples:
      rkface deploy --prepare radxa@rock-5b.local     # the first time: shows its sudo commands, and asks
      rkface deploy --bundle build/rk3588 radxa@rock-5b.local radxa@door.local
      rkface deploy --prepare --librknnrt ~/librknnrt.so radxa@rock-5b.local
      rkface deploy --service --config rkface.toml radxa@rock-5b.local
      rkface deploy --rollback radxa@rock-5b.local
      rkface deploy --inventory boards.toml --group doors --wave 1,5,rest --healthy 60
      rkface deploy --inventory boards.toml --status                     # which board runs what; changes nothing
      rkface deploy --sign ~/.ssh/release radxa@rock-5b.local
      rkface deploy --json --bundle build/rk3588 radxa@rock-5b.local     # for programs
    """
    add = parser.add_argument
    add(
        "hosts",
        nargs="*",
        metavar="USER@BOARD",
        help="boards, as you would name them to ssh; with --inventory, names of boards in it (default: all)",
    )
    add("--inventory", type=Path, metavar="FILE", help="boards.toml, or an inventory of Ansible (docs/rollout.md)")
    add("--group", action="append", default=[], metavar="NAME", help="the boards of this group; may be repeated")
    add("--inventory-schema", action="store_true", help="print the JSON Schema of boards.toml, and do nothing else")
    add(
        "--wave",
        type=parse_waves,
        default=ONE_WAVE,
        metavar="N,…,rest",
        help="boards in each wave; stop after a wave in which a board failed (default: all boards in one)",
    )
    add(
        "--parallel",
        type=integer_from(1, MOST_PARALLEL),
        default=PARALLEL_BOARDS,
        metavar="N",
        help="boards of a wave at the same time (default: %(default)s)",
    )
    add("--status", action="store_true", help="report what each board runs, and change nothing")
    add(
        "--bundle",
        type=Path,
        metavar="DIR",
        help=f"bundle from `rkface convert` (default: build/CHIP, with the chip of --board, or {SOC})",
    )
    add("--board", metavar="NAME", help="fail if a board is not of this kind, such as rock-5b (docs/boards.md)")
    add("--prepare", action="store_true", help="first create /opt/rkface and the user rkface with sudo (asks first)")
    add("--librknnrt", type=Path, metavar="FILE", help="with --prepare: also install this copy of Rockchip's library")
    add(
        "--allowed-signers",
        type=Path,
        metavar="FILE",
        help="with --prepare: from now on, the board takes only releases signed by a key in this file (ssh-keygen(1))",
    )
    add("--sign", type=Path, metavar="KEY", help="sign the release with this ssh key, or with its half in ssh-agent")
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
    add(
        "--healthy",
        type=integer_from(1, MOST_HEALTHY),
        default=HEALTHY_SECONDS,
        metavar="S",
        help="seconds that the service must stay up, or the previous release returns (default: %(default)s)",
    )
    add("--if-changed", action="store_true", help="skip boards whose current release has the same files")
    add("--no-doctor", action="store_true", help="skip doctor's checks")
    add("--keep", type=positive_integer, default=KEEP, metavar="N", help="releases to keep (default: %(default)s)")
    add("--root", default="/", metavar="DIR", help="use this folder on the board as / (to try deploy out)")
    add("--json", action="store_true", help="print the result for each board as JSON")
    parser.set_defaults(run=_run)


def _run(options: Namespace) -> int:
    if options.inventory_schema:
        return _print_schema()
    from rkface.boards.profile import find_profile

    from .inventory import read_targets

    _check_options(options)
    profile = find_profile(options.board) if options.board else None
    if profile and not profile.cores:
        raise InputError(f"{profile.title} can only be converted for: rknn-toolkit-lite2 does not run on it")
    targets = read_targets(options.inventory, options.hosts, options.group)
    if options.status:
        return _report_status(options, targets)
    if options.rollback:
        return _deploy_to_all(_make_plan(options, targets, None, profile), targets)
    bundle = _read_bundle(options.bundle, profile)
    if options.config:
        from rkface.runtime.service.config import read_settings

        read_settings(options.config)  # an error in it is reported here, not by a service that does not start
    if options.sign:
        from .sign_release import check_key

        check_key(options.sign)
    if options.prepare:
        from rkface.boards.doctor.remote import bundle_needs

        from .provision import provision
        from .sign_release import check_signers

        needs = bundle_needs(bundle.manifest)
        if options.allowed_signers:
            check_signers(options.allowed_signers, options.sign)
        provision(targets, options.root, options.librknnrt, options.allowed_signers, needs, ask=not options.yes)
    plan = _make_plan(options, targets, bundle, profile)
    try:
        return _deploy_to_all(plan, targets)
    finally:
        if plan.packer:
            plan.packer.close()


def _check_options(options: Namespace) -> None:
    from .session import check_root

    if (options.librknnrt or options.yes or options.allowed_signers) and not options.prepare:
        raise InputError("--librknnrt, --allowed-signers and --yes only work with --prepare")
    if options.allowed_signers and not options.sign:
        raise InputError("--allowed-signers: the boards then take only signed releases, so give --sign KEY too")
    if options.json and options.prepare:
        raise InputError("--prepare asks questions and --json is for programs: prepare the board first, without --json")
    check_root(options.root)
    given = options.prepare or options.bundle or options.service or options.config or options.sign or options.if_changed
    if options.rollback and given:
        raise InputError(
            "--rollback uses a release that is on the board: leave out --prepare, --bundle, --config, --service, "
            "--sign and --if-changed"
        )
    if options.status and (given or options.rollback or options.wave != ONE_WAVE):
        raise InputError("--status changes nothing: leave out what deploys, and --wave")


def _print_schema() -> int:
    from rkface.runtime.core.json_schema import make_schema

    from .inventory import Inventory

    print(json.dumps(make_schema(Inventory, "Boards of rkface deploy"), indent=2))
    return 0


def _read_bundle(folder: Path | None, profile: BoardProfile | None) -> Bundle:
    from rkface.runtime.core.bundle import read_bundle

    bundle = read_bundle(folder or Path("build") / (profile.soc if profile else SOC))
    if profile and profile.soc != bundle.manifest.target:
        raise InputError(
            f"{bundle.folder} was made for {bundle.manifest.target}, {profile.name} is {profile.soc}: "
            f"convert again with --target {profile.soc}"
        )
    return bundle


def _make_plan(
    options: Namespace, targets: Sequence[TargetBoard], bundle: Bundle | None, profile: BoardProfile | None
) -> DeployPlan:
    from .board_lines import BoardLines
    from .deploy_board import DeployPlan
    from .release_pack import ReleasePacker, release_name

    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    lines = BoardLines() if len(targets) > 1 else None
    if bundle is None:
        return DeployPlan(options, None, profile, None, stamp, lines)
    packer = ReleasePacker(
        bundle,
        release_name(bundle, stamp),
        reference=options.backend == "reference",
        config=options.config,
        sign=options.sign,
    )
    return DeployPlan(options, bundle, profile, packer, stamp, lines)


def _deploy_to_all(plan: DeployPlan, targets: Sequence[TargetBoard]) -> int:
    from .deploy_board import DeployOutcome, deploy_to_board
    from .deploy_report import all_outcomes, outcomes_to_json, render_outcomes
    from .waves import roll_out, set_on_interrupt, split_into_waves

    def work(target: TargetBoard, wave: int) -> DeployOutcome:
        return deploy_to_board(plan, target, wave)

    waves, left = split_into_waves(targets, plan.options.wave)
    with set_on_interrupt(plan.stop):
        end = roll_out(waves, work, lambda outcome: outcome.state == "failed", plan.options.parallel, plan.stop)
    outcomes = all_outcomes(end, left)
    stopped = ""
    if end.untouched:
        stopped = "interrupted" if end.interrupted else f"a board of wave {len(end.waves)} failed"
    print(outcomes_to_json(outcomes, bool(stopped)) if plan.options.json else render_outcomes(outcomes, stopped))
    if end.interrupted:
        raise KeyboardInterrupt
    return 1 if any(outcome.state == "failed" for outcome in outcomes) else 0


def _report_status(options: Namespace, targets: Sequence[TargetBoard]) -> int:
    from concurrent.futures import ThreadPoolExecutor
    from dataclasses import asdict

    from .board_status import board_status, render_status

    with ThreadPoolExecutor(min(len(targets), options.parallel)) as pool:
        boards = list(pool.map(lambda target: board_status(target, options.root), targets))
    failed = any(board.problem for board in boards)
    if options.json:
        print(json.dumps({"verdict": "fail" if failed else "ok", "boards": list(map(asdict, boards))}))
    else:
        print(render_status(boards))
    return 1 if failed else 0
