"""``rkface selftest``: does this machine compute with a bundle what was computed when the bundle was made?"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.arguments import positive_integer
from ..core.errors import InputError
from ..core.messages import show_message
from .layers_report import format_layers, next_steps
from .options import add_backend, add_bundle, add_json, print_json

if TYPE_CHECKING:
    from ..core.bundle import Bundle
    from ..core.debug_build import DebugBuild
    from ..inference.core_checks import CoreChecks
    from ..inference.golden import Agreement
    from ..inference.latency import Latency
    from ..inference.layer_checks import LayerResult
    from ..inference.machine import Clocks, Machine

RUNS = 30  # inferences on each core


def selftest(parser: ArgumentParser) -> None:
    """Test whether this machine runs a bundle correctly: golden vectors, latency, one verdict.

    A bundle contains golden inputs, and the results of the NPU simulator and of FP32 for them. The inputs are run on
    each core of the NPU; scores, boxes, landmarks and embeddings must each reach a cosine of 0.98 to the simulator for
    every input. Latency is measured on each core and on all cores together. A core that fails is a warning if others
    work, since the service leaves it out; cores that work apart but not together are a failure. With --backend
    reference, ONNX Runtime runs the inputs and must reproduce the results of FP32.

    If the NPU computes something else, --layers says which layer is wrong first, on each core, and what to do. It needs
    the debug build of the bundle, which `rkface convert --debug-outputs` writes beside it; copy it to the board.

    With --json, prints one object: {"verdict", "backend", "agreements", "latencies", "machine", "clocks", "problems",
    "warnings", …}; verdict is ok or fail. With --layers also {"layers", "next"}.

    Exit code: 0 healthy, 1 not healthy, 2 the bundle or an option cannot be used.

    examples:
      rkface selftest --bundle build/rk3588
      rkface selftest --bundle build/rk3588 --json | python3 -m json.tool
      rkface selftest --bundle /opt/rkface/current/bundle --layers ~/rk3588.debug
    """
    add_measurement_options(parser, RUNS)
    parser.add_argument(
        "--layers",
        nargs="?",
        const="",
        metavar="DIR",
        help="also compare inner tensors, by the debug build in DIR (default: the folder of the bundle with .debug)",
    )
    add_json(parser, "one object")
    parser.set_defaults(run=_run)


def add_measurement_options(parser: ArgumentParser, runs: int) -> None:
    add_bundle(parser)
    add_backend(parser)
    parser.add_argument(
        "--runs",
        type=positive_integer,
        default=runs,
        metavar="N",
        help="inferences to measure on each core (default: %(default)s)",
    )


@dataclass(frozen=True)
class SelftestResult:
    """What a self-test found. ``problems`` says why the verdict is "fail"; if it is empty, the verdict is "ok".
    ``warnings`` do not change the verdict: a core that the service leaves out, or an older librknnrt.
    ``binding`` says what opens models on the NPU; "" for the reference backend. ``layers`` is what --layers found, None
    without it, and ``next`` what to do about it."""

    bundle: str
    target: str
    synthetic: bool
    backend: str
    binding: str
    librknnrt: str
    agreements: tuple[Agreement, ...]
    latencies: tuple[Latency, ...]
    machine: Machine
    clocks: Clocks
    problems: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    layers: tuple[LayerResult, ...] | None = None
    next: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        return "fail" if self.problems else "ok"

    def to_json(self) -> dict[str, Any]:
        raw = {"verdict": self.verdict, **asdict(self)}
        if self.layers is None:
            del raw["layers"], raw["next"]
        return raw


def run_selftest(folder: Path, backend: str | None, runs: int, layers: Path | None = None) -> SelftestResult:
    """Test the bundle in ``folder``, and its debug build in the folder ``layers`` if there is one. What fails is in the
    result.

    BundleError or InputError if the bundle, its debug build or the backend cannot be used at all.
    """
    from ..backends.bindings import find_binding
    from ..core.bundle import read_bundle
    from ..core.soc import read_cores, read_soc
    from ..inference.core_checks import check_cores
    from ..inference.machine import read_clocks, read_machine
    from ..inference.open_bundle import choose_backend

    chosen, soc = choose_backend(backend), read_soc()
    bundle = read_bundle(folder, soc if chosen == "npu" else None)
    cores = read_cores() if chosen == "npu" else 0
    debug = None if layers is None else _open_debug_build(bundle, layers, chosen)
    checks, manifest = check_cores(bundle, chosen, cores, runs), bundle.manifest
    result = SelftestResult(
        bundle=manifest.name,
        target=manifest.target,
        synthetic=manifest.synthetic,
        backend=chosen,
        binding=str(find_binding()) if chosen == "npu" else "",
        librknnrt=checks.librknnrt,
        agreements=tuple(checks.agreements),
        latencies=tuple(checks.latencies),
        machine=read_machine(),
        clocks=read_clocks(),
        problems=tuple(checks.problems),
        warnings=tuple(_warnings(checks, manifest.toolkit)),
    )
    return result if debug is None else _with_layers(result, debug, checks.usable)


def _open_debug_build(bundle: Bundle, folder: Path, backend: str) -> DebugBuild:
    from ..core.debug_build import read_debug_build

    if backend != "npu":
        raise InputError(
            "--layers compares what the NPU computes, and this is the reference backend: run it on a board"
        )
    return read_debug_build(folder, bundle)


def _with_layers(result: SelftestResult, debug: DebugBuild, cores: list[int]) -> SelftestResult:
    """``result`` with what ``cores`` compute of ``debug``."""
    from ..inference.layer_checks import check_layers

    layers = tuple(check_layers(debug, cores))
    wrong = dict.fromkeys(f"{one.role}: {one.first.tensor} is wrong" for one in layers if one.first)
    failed = dict.fromkeys(f"the debug build does not run: {one.error}" for one in layers if one.error)
    problems = (*result.problems, *wrong, *failed)
    steps = next_steps(layers, len(cores), result.problems, _only_shapes(result.agreements, debug))
    return replace(result, problems=problems, layers=layers, next=tuple(steps))


def _only_shapes(agreements: Sequence[Agreement], debug: DebugBuild) -> list[str]:
    """The models that compute something else, if none of them is in ``debug``."""
    wrong = [one.role for one in agreements if one.problem]
    return [] if any(name in debug.models for name in wrong) else wrong


def _warnings(checks: CoreChecks, toolkit: str) -> Iterator[str]:
    from ..core.versions import older_library

    for core, problem in checks.failures.items():
        yield f"NPU core {core} cannot be used, the others work without it: {problem}"
    if checks.librknnrt and (remark := older_library(checks.librknnrt, toolkit)):
        yield remark


def _run(options: Namespace) -> int:
    from ..core.debug_build import default_folder

    layers = None
    if options.layers is not None:
        layers = Path(options.layers) if options.layers else default_folder(options.bundle)
    result = run_selftest(options.bundle, options.backend, options.runs, layers)
    if options.json:
        print_json(result.to_json(), indent=2)
    else:
        print(format_result(result))
    sys.stdout.flush()
    if risk := _opencv_risk():
        show_message(f"warning: {risk}")
    return 1 if result.problems else 0


def _opencv_risk() -> str:
    import cv2

    from ..core.versions import opencv_risk

    return opencv_risk(cv2.__version__)


def format_result(result: SelftestResult) -> str:
    """The result as text for people, on one screen."""
    runs_on = (
        f"the NPU of {result.machine.board or result.machine.soc}"
        if result.backend == "npu"
        else f"ONNX Runtime on {result.machine.processor}: the reference path, not the NPU"
    )
    lines = [f"{result.bundle}{' (synthetic)' if result.synthetic else ''} for {result.target}, on {runs_on}"]
    lines += [
        f"  {'fail' if one.problem else 'ok':4}  {one.role:16}  {one.inputs} golden inputs, lowest cosine: simulator "
        f"{one.simulator:.4f}, FP32 {one.reference:.4f} (simulator to FP32: {one.expected:.4f}); worst: {one.output}"
        for one in result.agreements
    ]
    lines += [
        f"        {row.what:16}  {row.where:17}  p50 {row.p50:.1f} ms, p90 {row.p90:.1f}, p99 {row.p99:.1f}; "
        f"{row.rate:.0f} per second"
        for row in result.latencies
    ]
    lines += [f"        {line}" for line in clock_lines(result.clocks)] if result.backend == "npu" else []
    lines += [f"        binding: {result.binding}"] if result.binding else []
    lines += format_layers(result.layers) if result.layers else []
    lines += [f"  warn  {warning}" for warning in result.warnings]
    lines += [f"  fail  {problem}" for problem in result.problems]
    lines += [f"  next  {step}" for step in result.next]
    return "\n".join([*lines, "healthy" if not result.problems else "NOT healthy"])


def clock_lines(clocks: Clocks) -> list[str]:
    """Frequencies with their governors, NPU load and the highest temperature as text, as far as they are known."""
    lines = [
        f"{name} {clocks.megahertz.get(name, '?')} MHz ({governor})" for name, governor in clocks.governors.items()
    ]
    lines += [f"NPU load: {clocks.load}"] if clocks.load else []
    hottest = max(clocks.celsius.items(), key=lambda zone: zone[1], default=None)
    lines += [f"{hottest[1]:.0f} °C ({hottest[0]}, the warmest zone)"] if hottest else []
    return lines
