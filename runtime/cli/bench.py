"""``rkface bench``: latency and throughput of a bundle on this machine, in files to attach to a bug report."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.atomic import write_atomically
from ..core.errors import WorkError
from ..core.paths import require_folder
from ..core.text import in_a_line
from .options import add_json
from .selftest import add_measurement_options

if TYPE_CHECKING:
    from ..inference.latency import Latency
    from .selftest import SelftestResult

RUNS = 200  # inferences on each core


def bench(parser: ArgumentParser) -> None:
    """Measure the speed of a bundle on this machine: each model on each NPU core and on all, and whole detections.

    Writes OUT.json and OUT.md with board, chip, versions, governors and frequencies: a table to attach to a bug report.
    They contain no photo and no embedding. On a workstation, ONNX Runtime is measured, and the table says so. The
    golden vectors are checked first: if the NPU computes wrong results, the exit code is 1 and nothing is written.
    `rkface doctor --bundle DIR --report FILE` writes one file with this table, also if the NPU computes wrong results,
    and with doctor's checks: attach that one to a report.

    With --json, prints the content of OUT.json instead of the table.

    examples:
      rkface bench --bundle build/rk3588
      rkface bench --bundle build/rk3588 --runs 1000 --out rock-5b
    """
    add_measurement_options(parser, RUNS)
    parser.add_argument(
        "--out", type=Path, default=Path("bench"), metavar="OUT", help="name of the files (default: %(default)s)"
    )
    add_json(parser, "one object")
    parser.set_defaults(run=_run)


def _run(options: Namespace) -> int:
    from .selftest import run_selftest

    json_path, table_path = (Path(f"{options.out}{suffix}") for suffix in (".json", ".md"))
    require_folder(json_path, f"--out {options.out}")
    result = run_selftest(options.bundle, options.backend, options.runs)
    if result.problems:
        raise WorkError(f"nothing was measured, because this machine is not healthy: {result.problems[0]}")
    rows = [*result.latencies, *time_detections(options.bundle, options.backend, options.runs)]
    table = format_table(result, rows)
    document = json.dumps(to_json(result, rows), indent=2, ensure_ascii=False) + "\n"
    write_atomically(json_path, document.encode(), mode=0o666)
    write_atomically(table_path, table.encode(), mode=0o666)
    print(document if options.json else f"{table}\n", end="", flush=True)
    print(in_a_line(f"written: {json_path}, {table_path}"), file=sys.stderr if options.json else sys.stdout)
    return 0


def time_detections(folder: Path, backend: str | None, runs: int) -> list[Latency]:
    """A detection as a program calls it, on the golden inputs of each shape of the detector: letterbox, model, decoding
    and suppression."""
    from ..core.bundle import read_bundle
    from ..core.progress import stage
    from ..inference.golden import read_golden
    from ..inference.latency import time_calls
    from ..inference.open_bundle import open_bundle

    bundle, rows = read_bundle(folder), []
    with stage("whole detection"), open_bundle(folder, backend) as pipeline:
        for name in bundle.manifest.detectors:
            images = read_golden(bundle, name).inputs[..., ::-1].copy()  # RGB → BGR, as OpenCV reads them
            what = name.replace("detector", "detection")
            rows.append(time_calls(what, "whole, one thread", pipeline.detect, images, runs))
    return rows


def to_json(result: SelftestResult, rows: list[Latency]) -> dict[str, Any]:
    from dataclasses import asdict

    return {**result.to_json(), "latencies": [asdict(row) for row in rows]}


def format_table(result: SelftestResult, rows: list[Latency]) -> str:
    """Machine, bundle and latencies in Markdown."""
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
    lines += ["", "| what | where | p50 ms | p90 ms | p99 ms | per second | runs |", "|---|---|---|---|---|---|---|"]
    lines += [
        f"| {row.what} | {row.where} | {row.p50:.1f} | {row.p90:.1f} | {row.p99:.1f} | {row.rate:.1f} | {row.runs} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"
