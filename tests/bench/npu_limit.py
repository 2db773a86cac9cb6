"""The limit of the NPU: the predicted time of each model on one core, and the frame rate that follows for all cores.

    python tests/bench/npu_limit.py                              models of $RKFACE_SHARED, ../shared or the demo pack
    python tests/bench/npu_limit.py det.onnx rec.onnx            your own models

It also lists what others measured on boards. Everything here is predicted or published by others. Nothing was measured
by rkface's authors.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from program import create_parser, format_table
from scenes import choose_material

from rkface.convert.cost import estimate_cost
from rkface.convert.detector_shapes import other_sizes
from rkface.convert.npu_layers import read_layers
from rkface.convert.simplify import fix_input, simplify
from rkface.convert.targets import TARGETS

CHIPS = ("rk3588", "rk3576", "rk3568", "rk3562", "rv1126b", "rv1106")
# How many times as fast one context on each core is as a single context, as users report (RK3588 with two contexts:
# 1.78, jaylfc/taOS #59).
SCALING = {"rk3588": 2.51, "rk3576": 1.58}
SLOWER = 1.6  # boards take 1.2 to 1.6 times as long as the bound (docs/cost-model.md)
FACES = (1, 5)  # per frame
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
# Frames per second of three contexts with the published 27.7 ms of the detector and 11.2 ms of the recognizer. The 27.7
# ms include post-processing, so this assumes that the CPU keeps up.
FROM_PUBLISHED = 1000 * SCALING["rk3588"] / (27.7 + 11.2)


@dataclass(frozen=True)
class Bound:
    """One INT8 inference on one core: predicted milliseconds, billions of MACs, megabytes moved."""

    model: str
    chip: str
    milliseconds: float
    gmacs: float
    megabytes: float


@dataclass(frozen=True)
class Prediction:
    """Frames per second on all ``cores``, with one detection and ``faces`` recognitions per frame of a 16:9 camera.

    ``at_bound``: if inferences take the predicted time; ``expected``: if they take SLOWER times as long.
    """

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


def predict_limits(detector: Path, recognizer: Path, *, large: bool) -> Limits:
    """Predictions for both models and, if ``large``, for an IResNet-50 of the size of w600k_r50."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recognizers = [recognizer]
        if large:
            from rkface.convert.demo.models import export_iresnet50

            recognizers.append(folder / "IResNet-50.onnx")
            export_iresnet50(recognizers[-1], seed=0)
        input = fix_input(detector, "detector").input
        main = (input.width, input.height)
        # A 16:9 frame gets the shape for it, if the detector has several.
        main_bounds, *wide_bounds = (
            predict_bounds(detector, "detector", folder, size) for size in (main, *other_sizes(main)[:1])
        )
        detector_bounds = wide_bounds[0] if wide_bounds else main_bounds
        recognizer_bounds = [predict_bounds(path, "recognizer", folder) for path in recognizers]
    predictions = tuple(
        _predict_rate(*pair, faces)
        for bounds in recognizer_bounds
        for pair in zip(detector_bounds, bounds, strict=True)
        for faces in FACES
    )
    return Limits(
        (*main_bounds, *chain.from_iterable(wide_bounds), *chain.from_iterable(recognizer_bounds)), predictions
    )


def predict_bounds(path: Path, role: Any, folder: Path, size: tuple[int, int] | None = None) -> list[Bound]:
    """The bound of the ONNX model at ``path`` on each chip. ``size``: another (width, height) for a detector's input.
    The simplified model is written to ``folder``."""
    model = simplify(fix_input(path, role, size), folder / f"simple-{path.name}")
    graph = read_layers(model.path)
    costs = ((chip, estimate_cost(graph, TARGETS[chip])) for chip in CHIPS)
    name = f"{path.stem} {size[0]}×{size[1]}" if size else path.stem
    return [Bound(name, chip, cost.milliseconds, cost.macs / 1e9, cost.bytes / 1e6) for chip, cost in costs]


def _predict_rate(detector: Bound, recognizer: Bound, faces: int) -> Prediction:
    rate = 1000 * SCALING.get(detector.chip, 1.0) / (detector.milliseconds + faces * recognizer.milliseconds)
    cores = TARGETS[detector.chip].cores
    return Prediction(detector.model, recognizer.model, detector.chip, cores, faces, rate, rate / SLOWER)


def to_markdown(limits: dict[str, Any]) -> str:
    """``limits``: Limits as a dictionary."""
    lines = [
        *_tabulate_bounds(limits["bounds"]),
        "",
        *_tabulate_predictions(limits["predictions"]),
        "",
        *format_table(["published by others, not measured by us", "chip", "figure", "source"], PUBLISHED),
        "",
        "**Prediction** from the published figures: RK3588's three cores (reported: "
        f"{SCALING['rk3588']:g} times one) at 27.7 + 11.2 ms per frame with one face give at most "
        f"{FROM_PUBLISHED:.0f} frames a second.",
    ]
    return "\n".join(lines) + "\n"


def _tabulate_bounds(bounds: list[dict[str, Any]]) -> list[str]:
    models = {one["model"]: one for one in bounds}
    milliseconds = {(one["model"], one["chip"]): one["milliseconds"] for one in bounds}
    rows = [
        [name, f"{one['gmacs']:.2f}", f"{one['megabytes']:.1f}", *(f"{milliseconds[name, chip]:.2f}" for chip in CHIPS)]
        for name, one in models.items()
    ]
    return format_table(["INT8, one core: predicted ms", "GMAC", "MB moved", *map(str.upper, CHIPS)], rows)


def _tabulate_predictions(predictions: list[dict[str, Any]]) -> list[str]:
    rates = {(one["recognizer"], one["faces"], one["chip"]): one for one in predictions}
    rows = []
    for recognizer, faces in dict.fromkeys((one["recognizer"], one["faces"]) for one in predictions):
        of_chips = [rates[recognizer, faces, chip] for chip in CHIPS]
        cells = [f"{one['at_bound']:.0f} → {one['expected']:.0f}" for one in of_chips]
        rows.append([f"{of_chips[0]['detector']} + {recognizer}", faces, *cells])
    title = f"**prediction**: frames a second on all cores, at the bound → {SLOWER:g} times slower"
    return format_table([title, "faces a frame", *(f"{chip.upper()} ({TARGETS[chip].cores})" for chip in CHIPS)], rows)


def main() -> int:
    parser = create_parser(__doc__)
    parser.add_argument("detector", type=Path, nargs="?", help="face detector")
    parser.add_argument("recognizer", type=Path, nargs="?", help="face recognition model")
    options = parser.parse_args()
    if options.detector and not options.recognizer:
        parser.error("name a detector and a recognizer, or neither")
    models = choose_material()
    limits = predict_limits(options.detector or models.detector, options.recognizer or models.recognizer, large=True)
    print(to_markdown(asdict(limits)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
