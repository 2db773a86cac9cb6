"""Sections of the report: what the recipes cost and keep, and where the quantized detector and liveness differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .cost import ASSUMPTIONS, Cost, by_kind
from .detection import LOST, MARGIN, SIZES, SPOKEN, DetectorEvidence, Scenes, own_steps
from .page import jpeg, soft, table
from .plot import Point, by_depth, scatter
from .prove import GOOD_LANDMARKS, LIVE_MEAN, DetectionParity, LivenessParity

if TYPE_CHECKING:
    from rkface.runtime.core.bundle import Role

    from .recipe import Bar
    from .report import Image, ModelFacts

PREDICTED = (
    "NPU bound: milliseconds of one inference on one NPU core, predicted from multiplications and bytes, never "
    "measured. It ranks recipes; a board is usually slower. It assumes: "
)


def recipes(models: Sequence[ModelFacts], bar: Bar) -> str:
    rows = [
        (
            facts.role,
            one.recipe.name,
            one.recipe.dtype,
            f"{one.cost.milliseconds:.2f} ms" if one.cost else "",
            one.grade.said if one.grade else one.error,
            f"{one.seconds:.0f} s",
            "taken" if one.chosen else "",
            one.recipe.about,
        )
        for facts in models
        for one in facts.tries
    ]
    head = ("model", "recipe", "type", "NPU bound", "against FP32", "time", "", "what it does")
    return (
        table(head, rows)
        + soft(PREDICTED + "; ".join(ASSUMPTIONS) + ".")
        + "".join(_cost(facts, bar) + _layers(facts) for facts in models)
    )


def _cost(facts: ModelFacts, bar: Bar) -> str:
    """Cost against accuracy, and where the cost comes from."""
    points = [
        Point(one.recipe.name, one.cost.milliseconds, one.grade.accuracy, one.chosen)
        for one in facts.tries
        if one.cost and one.grade
    ]
    wanted: dict[Role, tuple[str, str, float]] = {
        "detector": ("landmark error: lower is better", ".2%", GOOD_LANDMARKS),
        "recognizer": ("mean cosine with FP32: higher is better", ".4f", bar.mean),
        "liveness": ("mean difference of the probability: lower is better", ".3f", LIVE_MEAN),
    }
    plot = scatter(points, "NPU bound, ms (predicted)", *wanted[facts.role])
    chosen = [one.cost for one in facts.tries if one.cost and one.chosen]
    return f"<h3>{facts.role}: cost against accuracy</h3>" + plot + "".join(_where(cost) for cost in chosen)


def _layers(facts: ModelFacts) -> str:
    """Where in the model the error arises."""
    if not facts.layers:
        return ""
    series = {
        "up to and with the layer": [1 - layer.cumulative for layer in facts.layers],
        "the layer alone": [1 - layer.single for layer in facts.layers],
    }
    worst = sorted(facts.layers, key=lambda layer: layer.single)[:3]
    named = ", ".join(f"{layer.kind} {layer.name} ({layer.single:.4f})" for layer in worst)
    return (
        f"<h3>{facts.role}: error by layer</h3>"
        + by_depth(series, "layer, in the order of computing", "1 − cosine with FP32")
        + soft(
            "The recipe taken, on one calibration image, by rknn-toolkit2's accuracy analysis. "
            f"The layers that alone lose the most, with their cosine: {named}."
        )
    )


def _where(cost: Cost) -> str:
    rows = [
        (
            op,
            count,
            f"{macs / 1e6:.1f}",
            f"{size / 1e6:.2f}",
            f"{milliseconds:.3f}",
            f"{milliseconds / cost.milliseconds:.0%}",
        )
        for op, count, macs, size, milliseconds in by_kind(cost)
    ]
    waits = sum(layer.milliseconds for layer in cost.layers if layer.memory_ms > layer.compute_ms)
    return (
        "<details><summary>Where the time would go</summary>"
        + table(("layers", "count", "million MACs", "MB", "ms", "share"), rows, numbers=1)
        + soft(
            f"{cost.macs / 1e9:.2f} GMAC and {cost.bytes / 1e6:.1f} MB in {cost.milliseconds:.2f} ms; "
            f"{waits:.2f} ms of it in layers that wait for memory."
        )
        + "</details>"
    )


def detection(parity: DetectionParity, evidence: DetectorEvidence, frames: Sequence[Image], mosaic: Image) -> str:
    head = ("images", "FP32 faces", "matched (IoU 0.5)", "IoU ≥ 0.9", "missed", "extra", "mean IoU", "minimum IoU",
            "landmark error", "worst")  # fmt: skip
    row = (
        parity.images,
        parity.faces,
        parity.matched,
        parity.tight,
        parity.missed,
        parity.extra,
        f"{parity.mean_iou:.3f}",
        f"{parity.minimum_iou:.3f}",
        f"{parity.landmark_error:.2%}",
        f"{parity.landmark_error_max:.2%}",
    )
    pictures = "".join(f"<figure><img src='{jpeg(frame)}' alt=''></figure>" for frame in frames)
    return (
        table(head, [row], numbers=0)
        + soft(
            "On the photos, at the bundle's score threshold. Landmark error: share of the inter-ocular distance. "
            "Below, where the two differ most: FP32 green, quantized magenta."
        )
        + f"<div class=faces>{pictures}</div>"
        + "<h3>By threshold</h3>"
        + _thresholds(evidence)
        + f"<figure><img src='{jpeg(mosaic)}' alt='' width=384></figure>"
        + "<h3>By size of face</h3>"
        + _sizes(evidence)
        + "<h3>Scores, boxes and landmarks apart</h3>"
        + _outputs(evidence)
    )


def liveness(parity: LivenessParity) -> str:
    head = ("faces", "live by FP32", "mean difference", "largest", f"decided otherwise at {parity.threshold:g}")
    row = (parity.faces, parity.live, f"{parity.mean:.4f}", f"{parity.worst:.4f}", parity.flips)
    return (
        "<h2>Liveness: quantized against FP32</h2>"
        + table(head, [row], numbers=0)
        + soft(
            "The probability that a face is live, for the same faces with what surrounds them. It says how near INT8 "
            "is to FP32, and nothing about how well the model tells faces from pictures."
        )
    )


def _groups(evidence: DetectorEvidence) -> list[tuple[str, Scenes]]:
    return [("photos", evidence.photos), ("mosaics", evidence.mosaics)]


def _thresholds(evidence: DetectorEvidence) -> str:
    rows = [
        (name, f"{one.threshold:g}", one.faces, one.missed, one.lost, one.extra, one.invented)
        for name, scenes in _groups(evidence)
        for one in scenes.thresholds
    ]
    head = ("", "score from", "FP32 faces", "missed", "of them lost", "extra", "of them invented")
    return table(head, rows, numbers=1) + soft(
        f"Both detectors at the same threshold. Lost: not seen even with a score {MARGIN:g} lower; the rest are faces "
        "near the threshold, on the other side of it. Invented: not seen by FP32 even so. "
        f"The {evidence.mosaics.images} mosaics are the photos shrunk to a third to an eighth and put together: crowds "
        f"of small faces, judged apart. Whether the bundle is refused depends on the photos; a note is made where more "
        f"than {LOST:.0%} of the mosaics' faces under {SIZES[1]:g} pixels are lost."
    )


def _sizes(evidence: DetectorEvidence) -> str:
    rows = [
        (
            name,
            f"{one.low:g} to {one.high:g}" if one.high else f"{one.low:g} and more",
            one.faces,
            one.missed,
            one.lost,
            one.extra,
            *((f"{one.mean_iou:.3f}", f"{one.landmark_error:.2%}") if one.faces > one.missed else ("", "")),
        )
        for name, scenes in _groups(evidence)
        for one in scenes.sizes
        if one.faces or one.extra
    ]
    head = ("", "input pixels", "FP32 faces", "missed", "of them lost", "extra", "mean IoU", "landmark error")
    return table(head, rows, numbers=2) + soft(
        "At a score of 0.5. Size: the root of the box's area, in pixels of the detector's input, where a photo is "
        "smaller than on disk."
    )


def _outputs(evidence: DetectorEvidence) -> str:
    own = ": each has one of its own, so that scores share none with boxes" if own_steps(evidence.outputs) else ""
    units = {"score": "", "box": " px", "landmark": " px"}
    rows = [
        (
            f"{one.kind}, stride {one.stride}",
            one.anchors,
            f"{one.bias:+.4f}{units[one.kind]}",
            f"{one.mean:.4f}{units[one.kind]}",
            f"{one.worst:.3f}{units[one.kind]}",
            " → ".join(f"{top:.3g}" for top in one.tops),
            f"{one.step:.4f}{units[one.kind]}" if one.step else "not INT8",
        )
        for one in evidence.outputs
    ]
    head = ("output", "anchors", "bias", "mean error", "worst", "highest", "step")
    return table(head, rows, numbers=1) + (
        f"<p class=soft>Raw outputs, quantized minus FP32, at anchors with an FP32 score of {SPOKEN:g} and more, on "
        "photos and mosaics; pixels are the detector's input. A bias of the scores acts like another threshold. "
        "Highest: the largest magnitude, FP32 → quantized; what calibration never saw is cut off. "
        f"Step: the smallest difference between two values, which is the scale of an INT8 output{own}.</p>"
    )
