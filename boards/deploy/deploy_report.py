"""The result of a deploy to several boards: a table for people, and JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from .deploy_board import VERDICTS, DeployOutcome, describe_outcome
from .target_board import TargetBoard
from .waves import RolloutEnd


def all_outcomes(end: RolloutEnd[TargetBoard, DeployOutcome], left: Sequence[TargetBoard]) -> list[DeployOutcome]:
    """An outcome for each board: those of all waves, then boards that were not reached, and those in no wave."""
    untouched = [DeployOutcome(target.name, target.host, "untouched") for target in (*end.untouched, *left)]
    return [*(outcome for wave in end.waves for outcome in wave), *untouched]


def outcomes_to_json(outcomes: Sequence[DeployOutcome], stopped: bool) -> str:
    """One JSON object: the verdict, and the outcome of each board. ``stopped``: not all waves were reached."""
    verdict = "fail" if stopped or any(one.state == "failed" for one in outcomes) else "ok"
    return json.dumps({"verdict": verdict, "boards": [asdict(one) for one in outcomes]}, ensure_ascii=False)


def render_outcomes(outcomes: Sequence[DeployOutcome], stopped: str = "") -> str:
    """A row for each board: the release that is current now, or what failed and why. ``stopped`` says why boards were
    not reached."""
    width = max(len(outcome.name) for outcome in outcomes)
    several_waves = any(one.wave > 1 or one.state == "untouched" for one in outcomes)
    rows = []
    for one in outcomes:
        wave = (f"wave {one.wave}  " if one.wave else f"{'':6}  ") if several_waves else ""
        rows.append(f"  {VERDICTS[one.state]:6}  {wave}{one.name:{width}}  {describe_outcome(one)}")
    count = {state: sum(one.state == state for one in outcomes) for state in ("ok", "unchanged", "failed", "untouched")}
    done = count["ok"] + count["unchanged"]
    summary = f"{done} of {len(outcomes)} boards succeeded" if len(outcomes) > 1 else "done" if done else "failed"
    if count["unchanged"]:
        summary += f"; {count['unchanged']} had the same release already"
    if count["failed"]:
        summary += "; a board that failed still runs its previous release, unless its row says otherwise"
    if count["untouched"]:
        summary += f"; {count['untouched']} untouched" + (f": {stopped}" if stopped else ", because no wave has them")
    return "\n".join([*rows, summary])
