"""``rkface selftest``: does this machine compute with this bundle what was computed when it was made?"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .options import BUNDLE

if TYPE_CHECKING:
    from ..core.bundle import Bundle
    from ..inference.golden import Agreement
    from ..inference.latency import Latency
    from ..inference.machine import Clocks, Machine

RUNS = 30  # inferences for each core


def count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def selftest(parser: ArgumentParser) -> None:
    """Prove that this machine runs a bundle as it should: golden vectors, latency, one verdict.

    The bundle brings inputs with what the NPU's simulator and FP32 made of them. They run on the NPU here; scores,
    boxes, landmarks and embeddings must each come to a cosine of 0.98 to the simulator, for every input. Latency is
    timed on each core and on all together. With --backend reference the same goes for ONNX Runtime, which must give
    FP32's results again.

    Exit code: 0 healthy, 1 not, 2 a bundle or setting that cannot be used.

    examples:
      rkface selftest --bundle build/rk3588
      rkface selftest --bundle build/rk3588 --json | python3 -m json.tool
    """
    add_options(parser, RUNS)
    parser.add_argument("--json", action="store_true", help="agreement, latency, machine and verdict, for programs")
    parser.set_defaults(run=_run)


def add_options(parser: ArgumentParser, runs: int) -> None:
    parser.add_argument(
        "--bundle",
        type=Path,
        default=Path(BUNDLE),
        metavar="DIR",
        help="what `rkface convert` wrote (default: %(default)s)",
    )
    parser.add_argument("--backend", metavar="B", help="npu or reference (default: what this machine has)")
    parser.add_argument(
        "--runs", type=count, default=runs, metavar="N", help="inferences timed on each core (default: %(default)s)"
    )


@dataclass(frozen=True)
class SelftestResult:
    """``problems``: why the verdict is "fail"; empty: it is "ok"."""

    bundle: str
    target: str
    synthetic: bool
    backend: str
    librknnrt: str
    agreements: tuple[Agreement, ...]
    latencies: tuple[Latency, ...]
    machine: Machine
    clocks: Clocks
    problems: tuple[str, ...]

    @property
    def verdict(self) -> str:
        return "fail" if self.problems else "ok"

    def to_json(self) -> dict[str, Any]:
        return {"verdict": self.verdict, **asdict(self)}


def examine(folder: Path, backend: str | None, runs: int) -> SelftestResult:
    """Run all of it. BundleError and InputError for what cannot be tried; what fails is in the result."""
    from ..core.bundle import read_bundle
    from ..core.soc import CORES, read_soc
    from ..inference.machine import read_clocks, read_machine
    from ..inference.pipeline import choose_backend

    chosen, soc = choose_backend(backend), read_soc()
    bundle = read_bundle(folder, soc if chosen == "npu" else None)
    cores = CORES.get(soc or "", 0) if chosen == "npu" else 0
    agreements, latencies, librknnrt, problems = _measure(bundle, chosen, cores, runs)
    manifest = bundle.manifest
    return SelftestResult(
        manifest.name, manifest.target, manifest.synthetic, chosen, librknnrt, tuple(agreements), tuple(latencies),
        read_machine(), read_clocks(), (*(one.problem for one in agreements if one.problem), *problems),
    )  # fmt: skip


def _measure(
    bundle: Bundle, backend: str, cores: int, runs: int
) -> tuple[list[Agreement], list[Latency], str, list[str]]:
    from ..core.errors import DeviceError
    from ..core.progress import stage
    from ..inference.golden import compare_golden, read_golden
    from ..inference.latency import time_model
    from ..inference.pipeline import open_model

    agreements: list[Agreement] = []
    latencies: list[Latency] = []
    problems, librknnrt = [], ""
    for role in bundle.manifest.roles:
        golden = read_golden(bundle, role)
        try:
            with stage(role) as shown:
                one = open_model(bundle, role, backend)
                try:
                    librknnrt = getattr(one, "runtime", "")
                    agreements.append(compare_golden(bundle, role, golden, one))
                finally:
                    one.close()
                if agreements[-1].problem:
                    continue  # how fast it goes wrong is of no interest
                shown.say("latency")
                opener = partial(open_model, bundle, role, backend)
                latencies += time_model(role, opener, golden.inputs, cores, runs)
        except DeviceError as error:
            problems.append(str(error))
    return agreements, latencies, librknnrt, problems


def _run(options: Namespace) -> int:
    result = examine(options.bundle, options.backend, options.runs)
    if options.json:
        print(json.dumps(result.to_json(), indent=2, ensure_ascii=False))
    else:
        print(render(result))
    sys.stdout.flush()
    return 1 if result.problems else 0


def render(result: SelftestResult) -> str:
    """For people: one screen."""
    runs_on = (
        f"the NPU of {result.machine.board or result.machine.soc}"
        if result.backend == "npu"
        else (f"ONNX Runtime on {result.machine.processor}: the reference path, not the NPU")
    )
    lines = [f"{result.bundle}{' (synthetic)' if result.synthetic else ''} for {result.target}, on {runs_on}"]
    lines += [
        f"  {'fail' if one.problem else 'ok':4}  {one.role:10}  {one.inputs} golden inputs, least cosine: simulator "
        f"{one.simulator:.4f}, FP32 {one.reference:.4f} (the simulator {one.expected:.4f}); worst: {one.output}"
        for one in result.agreements
    ]
    lines += [
        f"        {row.what:10}  {row.where:17}  p50 {row.p50:.1f} ms, p90 {row.p90:.1f}, p99 {row.p99:.1f}; "
        f"{row.rate:.0f} a second"
        for row in result.latencies
    ]
    lines += [f"        {line}" for line in clock_lines(result.clocks)] if result.backend == "npu" else []
    lines += [f"  fail  {problem}" for problem in result.problems]
    return "\n".join([*lines, "healthy" if not result.problems else "NOT healthy"])


def clock_lines(clocks: Clocks) -> list[str]:
    said = [f"{name} {clocks.megahertz.get(name, '?')} MHz ({governor})" for name, governor in clocks.governors.items()]
    said += [f"NPU load: {' '.join(clocks.load.split())}"] if clocks.load else []
    hottest = max(clocks.celsius.items(), key=lambda one: one[1], default=None)
    said += [f"{hottest[1]:.0f} °C ({hottest[0]}, the warmest)"] if hottest else []
    return said
