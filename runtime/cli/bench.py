"""``rkface bench``: latency and throughput of a bundle on this machine, in files to attach to a report."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.atomic import write_atomically
from ..core.errors import WorkError
from .selftest import add_options

if TYPE_CHECKING:
    from ..inference.latency import Latency
    from .selftest import SelftestResult

RUNS = 200


def bench(parser: ArgumentParser) -> None:
    """Time a bundle on this machine: each model on each NPU core and on all, and detection with its post-processing.

    Writes OUT.json and OUT.md, with board, chip, versions, governors and frequencies, but no photo and no embedding: a
    table to attach to a bug report. On a workstation it times ONNX Runtime, and says so. The golden vectors are checked
    first: the exit code is 1 where the NPU computes something else, and then nothing is written.

    examples:
      rkface bench --bundle build/rk3588
      rkface bench --bundle build/rk3588 --runs 1000 --out rock-5b
    """
    add_options(parser, RUNS)
    parser.add_argument("--out", type=Path, default=Path("bench"), metavar="OUT", help="(default: %(default)s)")
    parser.set_defaults(run=_run)


def _run(options: Namespace) -> int:
    from .selftest import examine

    json_path, table_path = (Path(f"{options.out}{suffix}") for suffix in (".json", ".md"))
    if not json_path.parent.is_dir():
        from ..core.errors import InputError

        raise InputError(f"--out {options.out}: there is no folder {json_path.parent}")
    result = examine(options.bundle, options.backend, options.runs)
    if result.problems:
        raise WorkError(f"not timed, as it is not healthy: {result.problems[0]}")
    rows = [*result.latencies, _detection(options)]
    table = markdown(result, rows)
    document = json.dumps(to_json(result, rows), indent=2, ensure_ascii=False) + "\n"
    write_atomically(json_path, document.encode(), mode=0o666)
    write_atomically(table_path, table.encode(), mode=0o666)
    print(f"{table}\nwritten: {json_path}, {table_path}")
    return 0


def _detection(options: Namespace) -> Latency:
    """Detection as a user calls it, on the golden inputs: letterbox, model, decoding and suppression."""
    from ..core.bundle import read_bundle
    from ..core.progress import stage
    from ..inference.golden import read_golden
    from ..inference.latency import time_calls
    from ..inference.pipeline import open_bundle

    golden = read_golden(read_bundle(options.bundle), "detector")
    pictures = golden.inputs[..., ::-1].copy()  # RGB → BGR, as OpenCV reads them
    with stage("detection, whole"), open_bundle(options.bundle, options.backend) as pipeline:
        return time_calls("detection", "whole, one thread", pipeline.detect, pictures, options.runs)


def to_json(result: SelftestResult, rows: list[Latency]) -> dict[str, Any]:
    from dataclasses import asdict

    return {**result.to_json(), "latencies": [asdict(row) for row in rows]}


def markdown(result: SelftestResult, rows: list[Latency]) -> str:
    from .selftest import clock_lines

    machine = result.machine
    npu = result.backend == "npu"
    versions = ", ".join(f"{name} {number}" for name, number in machine.versions.items() if number)
    facts = {
        "runs on": "the NPU" if npu else "ONNX Runtime on the processor: the reference path, not the NPU",
        "board": f"{machine.board or 'none'} ({machine.soc or machine.processor})",
        "bundle": f"{result.bundle}{' (synthetic)' if result.synthetic else ''} for {result.target}",
        "versions": versions + (f", librknnrt {result.librknnrt}" if result.librknnrt else ""),
        "state": ", ".join(clock_lines(result.clocks)) or "unknown",
    }
    lines = [f"- {name}: {value}" for name, value in facts.items()]
    lines += ["", "| what | where | p50 ms | p90 ms | p99 ms | a second | runs |", "|---|---|---|---|---|---|---|"]
    lines += [
        f"| {row.what} | {row.where} | {row.p50:.1f} | {row.p90:.1f} | {row.p99:.1f} | {row.rate:.1f} | {row.runs} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"
