"""The physical limit: what an NPU core would take for the models at hand, what others measured on boards, and what
follows for several cores. Predictions and other people's figures; nothing here is measured by us.

    python tests/bench/npu_limit.py [DETECTOR.onnx RECOGNIZER.onnx]
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rkface.convert.cost import estimate_cost
from rkface.convert.npu_layers import read_layers
from rkface.convert.simplify import fix_input, simplify
from rkface.convert.targets import TARGETS

CHIPS = ("rk3588", "rk3576", "rk3568", "rk3562", "rv1126b", "rv1106")
# One context a core against a single one, as users reported it; RK3588 with two contexts: 1.78 (jaylfc/taOS #59).
SCALING = {"rk3588": 2.51, "rk3576": 1.58}
SLOWER = 1.6  # boards were seen to take 1.2 to 1.6 times the bound (docs/cost-model.md)
CROWDS = (1, 5)
PUBLISHED = (
    ("w600k_r50 INT8, one inference", "RK3588", "11.2 ms", "Nyan-SouthKorea/insightface-orangepi-rknn"),
    ("det_2.5g INT8 640×640 with Python post-processing", "RK3588", "27.7 ms", "same"),
    ("det_2.5g and w600k_r50 INT8, one face, one after the other", "RK3588", "46.4 ms, 21.6 frames a second", "same"),
    ("SCRFD-2.5G 640×640 INT8, end to end on one core", "RK3588", "42 ms", "FastDeploy"),
    (
        "ResNet-50 v2 224×224 INT8, one core",
        "RK3588, RK3576, RK3566, RK3562",
        "110, 99, 38, 55 a second",
        "airockchip/rknn_model_zoo",
    ),
)
# Their detector's 27.7 ms and recognizer's 11.2 ms, as a pool of three contexts would run them, if the processor keeps
# up with the post-processing that is part of the former.
FROM_PUBLISHED = 1000 * SCALING["rk3588"] / (27.7 + 11.2)


@dataclass(frozen=True)
class Bound:
    """One inference on one core in INT8: milliseconds predicted, thousand millions of MACs, megabytes moved."""

    model: str
    chip: str
    milliseconds: float
    gmacs: float
    megabytes: float


@dataclass(frozen=True)
class Prediction:
    """Frames a second of detector and ``faces`` recognitions a frame on all ``cores``: at the bound, and where a board
    takes SLOWER times as long."""

    detector: str
    recognizer: str
    chip: str
    cores: int
    faces: int
    at_bound: float
    expected: float


@dataclass(frozen=True)
class Limits:
    bounds: tuple[Bound, ...]
    predictions: tuple[Prediction, ...]


def limits(detector: Path, recognizer: Path, *, large: bool) -> Limits:
    """For both models and, if ``large``, an IResNet-50 of w600k_r50's size."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recognizers = [recognizer]
        if large:
            from rkface.convert.demo.models import export_iresnet50

            recognizers.append(folder / "IResNet-50.onnx")
            export_iresnet50(recognizers[-1], seed=0)
        found = bounds(detector, "detector", folder)
        by_model = {path.stem: bounds(path, "recognizer", folder) for path in recognizers}
    predictions = tuple(
        _predict(finder, one, faces)
        for bound in by_model.values()
        for finder, one in zip(found, bound, strict=True)
        for faces in CROWDS
    )
    return Limits((*found, *(one for bound in by_model.values() for one in bound)), predictions)


def bounds(path: Path, role: Any, folder: Path, size: tuple[int, int] | None = None) -> list[Bound]:
    """Of the ONNX at ``path`` on each chip; ``size`` is a detector's (width, height), None for its own."""
    model = simplify(fix_input(path, role, size), folder / f"simple-{path.name}")
    graph = read_layers(model.path)
    costs = ((chip, estimate_cost(graph, TARGETS[chip])) for chip in CHIPS)
    return [Bound(path.stem, chip, cost.milliseconds, cost.macs / 1e9, cost.bytes / 1e6) for chip, cost in costs]


def _predict(detector: Bound, recognizer: Bound, faces: int) -> Prediction:
    rate = 1000 * SCALING.get(detector.chip, 1.0) / (detector.milliseconds + faces * recognizer.milliseconds)
    cores = TARGETS[detector.chip].cores
    return Prediction(detector.model, recognizer.model, detector.chip, cores, faces, rate, rate / SLOWER)


def markdown(found: dict[str, Any]) -> str:
    """``found``: Limits as a dictionary."""
    models = {one["model"]: one for one in found["bounds"]}
    at = {(one["model"], one["chip"]): one["milliseconds"] for one in found["bounds"]}
    lines = ["| INT8, one core: predicted ms | GMAC | MB moved | " + " | ".join(map(str.upper, CHIPS)) + " |"]
    lines.append("|---" * (3 + len(CHIPS)) + "|")
    for name, one in models.items():
        cells = " | ".join(f"{at[name, chip]:.2f}" for chip in CHIPS)
        lines.append(f"| {name} | {one['gmacs']:.2f} | {one['megabytes']:.1f} | {cells} |")
    lines += [
        "",
        f"| **prediction**: frames a second on all cores, at the bound → {SLOWER:g} times slower | faces a "
        "frame | " + " | ".join(f"{chip.upper()} ({TARGETS[chip].cores})" for chip in CHIPS) + " |",
        "|---" * (2 + len(CHIPS)) + "|",
    ]
    rates = {(one["recognizer"], one["faces"], one["chip"]): one for one in found["predictions"]}
    for name, faces in dict.fromkeys((one["recognizer"], one["faces"]) for one in found["predictions"]):
        detector = rates[name, faces, CHIPS[0]]["detector"]
        cells = " | ".join(
            f"{rates[name, faces, chip]['at_bound']:.0f} → {rates[name, faces, chip]['expected']:.0f}" for chip in CHIPS
        )
        lines.append(f"| {detector} + {name} | {faces} | {cells} |")
    lines += ["", "| published by others, not measured by us | chip | figure | source |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in PUBLISHED]
    lines += [
        "",
        "**Prediction** from the published figures: RK3588's three cores (reported: "
        f"{SCALING['rk3588']:g} times one) at 27.7 + 11.2 ms a frame of one face give at most "
        f"{FROM_PUBLISHED:.0f} frames a second.",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    from scenes import material

    given = [Path(name) for name in sys.argv[1:]]
    if len(given) not in (0, 2):
        print(__doc__, file=sys.stderr)
        return 2
    models = material(None, None, None)
    detector, recognizer = given or (models.detector, models.recognizer)
    print(markdown(asdict(limits(detector, recognizer, large=True))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
