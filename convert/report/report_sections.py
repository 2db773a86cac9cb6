"""The tables and plots of the conversion report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rkface.runtime.core.manifest import Manifest, Role

from ..cost import ModelCost, cost_by_operation
from ..evaluate.detector_errors import DetectorEvidence, have_separate_scales
from ..evaluate.grades import GOOD_LANDMARKS, LIVE_MEAN
from ..evaluate.parity import (
    DetectionParity,
    EmbeddingParity,
    LivenessParity,
    PairParity,
)
from ..recipe import AccuracyBar
from .model_facts import ModelFacts
from .page import Table
from .plot import ScatterPoint, line_by_layer, scatter


@dataclass(frozen=True)
class CostSection:
    """What the recipes of one model cost, and where its error and its cost come from."""

    role: Role
    plot: Markup
    by_operation: Table | None
    total: str
    layer_plot: Markup | None
    worst_layers: str


@dataclass(frozen=True)
class DetectionTables:
    """How the quantized detector differs from FP32. ``separate_scales``: no two outputs share an INT8 scale."""

    summary: Table
    thresholds: Table
    sizes: Table
    outputs: Table
    separate_scales: bool

    @classmethod
    def of(cls, parity: DetectionParity, evidence: DetectorEvidence) -> DetectionTables:
        return cls(
            _detection_table(parity),
            _threshold_table(evidence),
            _size_table(evidence),
            _output_table(evidence),
            have_separate_scales(evidence.outputs),
        )


def model_table(manifest: Manifest, models: Sequence[ModelFacts]) -> Table:
    rows = []
    for facts in models:
        model = manifest.model(facts.role)
        rows.append(
            (
                facts.role,
                model.source.file,
                f"{model.input.width}×{model.input.height}",
                model.precision,
                f"{model.source.bytes / 1e6:.1f} MB → {facts.rknn_bytes / 1e6:.1f} MB",
                f"{facts.nodes[0]} → {facts.nodes[1]}",
                f"{facts.difference:.0e}",
                " ".join(f"{name} {seconds:.1f} s" for name, seconds in facts.seconds.items()),
            )
        )
    head = ("model", "source", "input", "precision", "size", "ONNX nodes", "change by simplification", "toolkit")
    return Table(head, rows)


def recipe_table(models: Sequence[ModelFacts]) -> Table:
    rows = [
        (
            facts.role,
            one.recipe.name,
            one.recipe.dtype,
            f"{one.cost.milliseconds:.2f} ms" if one.cost else "",
            one.grade.said if one.grade else one.error,
            f"{one.seconds:.0f} s",
            "chosen" if one.chosen else "",
            one.recipe.about,
        )
        for facts in models
        for one in facts.tries
    ]
    return Table(("model", "recipe", "type", "NPU bound", "against FP32", "time", "", "what it does"), rows)


def cost_section(facts: ModelFacts, bar: AccuracyBar) -> CostSection:
    """Cost against accuracy of each recipe of one model, where the cost comes from, and which layers cause the
    error."""
    points = [
        ScatterPoint(one.recipe.name, one.cost.milliseconds, one.grade.accuracy, one.chosen)
        for one in facts.tries
        if one.cost and one.grade
    ]
    wanted: dict[Role, tuple[str, str, float]] = {
        "detector": ("landmark error: lower is better", ".2%", GOOD_LANDMARKS),
        "recognizer": ("mean cosine with FP32: higher is better", ".4f", bar.mean),
        "liveness": ("mean difference of the probability: lower is better", ".3f", LIVE_MEAN),
    }
    plot = scatter(points, "NPU bound, ms (predicted)", *wanted[facts.role])
    cost = next((one.cost for one in facts.tries if one.cost and one.chosen), None)
    worst = sorted(facts.layers, key=lambda layer: layer.single)[:3]
    errors = {
        "up to and with the layer": [1 - layer.cumulative for layer in facts.layers],
        "the layer alone": [1 - layer.single for layer in facts.layers],
    }
    return CostSection(
        facts.role,
        plot,
        _operation_table(cost) if cost else None,
        _total(cost) if cost else "",
        line_by_layer(errors, "layer, in order of execution", "1 − cosine with FP32") if facts.layers else None,
        ", ".join(f"{layer.kind} {layer.name} ({layer.single:.4f})" for layer in worst),
    )


def _operation_table(cost: ModelCost) -> Table:
    rows = [
        (
            one.op,
            one.count,
            f"{one.macs / 1e6:.1f}",
            f"{one.bytes / 1e6:.2f}",
            f"{one.milliseconds:.3f}",
            f"{one.milliseconds / cost.milliseconds:.0%}",
        )
        for one in cost_by_operation(cost)
    ]
    return Table(("layers", "count", "million MACs", "MB", "ms", "share"), rows, numbers=1)


def _total(cost: ModelCost) -> str:
    waiting = sum(layer.milliseconds for layer in cost.layers if layer.memory_ms > layer.compute_ms)
    return (
        f"{cost.macs / 1e9:.2f} GMAC and {cost.bytes / 1e6:.1f} MB in {cost.milliseconds:.2f} ms; {waiting:.2f} ms of "
        "it in layers that wait for memory."
    )


def embedding_table(rows: Mapping[str, EmbeddingParity]) -> Table:
    """``rows``: by name."""
    head = ("", "faces", "mean cosine", "1st percentile", "minimum", "length ratio", "Euclidean distance")
    shown = [
        (
            name,
            parity.faces,
            f"{parity.mean:.4f}",
            f"{parity.p1:.4f}",
            f"{parity.minimum:.4f}",
            f"{parity.norm_ratio:.3f}",
            f"{parity.euclidean:.3f}",
        )
        for name, parity in rows.items()
    ]
    return Table(head, shown, numbers=1)


def pair_table(parity: PairParity) -> Table | None:
    """Verification by FP32 and by the quantized recognizer; None without labels."""
    if parity.reference is None or parity.quantized is None:
        return None
    rows: list[tuple[object, ...]] = [
        ("best threshold", f"{parity.reference.best_threshold:.4f}", f"{parity.quantized.best_threshold:.4f}"),
        ("accuracy there", f"{parity.reference.best_accuracy:.2%}", f"{parity.quantized.best_accuracy:.2%}"),
    ]
    for far, tar in parity.reference.tar.items():
        rows.append((f"TAR at FAR {far}", f"{tar:.2%}", f"{parity.quantized.tar[far]:.2%}"))
    return Table(("", "FP32", "quantized"), rows, numbers=1)


def liveness_table(parity: LivenessParity) -> Table:
    head = ("faces", "live by FP32", "mean difference", "largest", f"decided differently at {parity.threshold:g}")
    row = (parity.faces, parity.live, f"{parity.mean:.4f}", f"{parity.worst:.4f}", parity.flips)
    return Table(head, [row], numbers=0)


def _detection_table(parity: DetectionParity) -> Table:
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
    return Table(head, [row], numbers=0)


def _threshold_table(evidence: DetectorEvidence) -> Table:
    rows = [
        (name, f"{one.threshold:g}", one.faces, one.missed, one.lost, one.extra, one.invented)
        for name, scenes in (("photos", evidence.photos), ("mosaics", evidence.mosaics))
        for one in scenes.thresholds
    ]
    head = ("", "threshold", "FP32 faces", "missed", "of them lost", "extra", "of them invented")
    return Table(head, rows, numbers=1)


def _size_table(evidence: DetectorEvidence) -> Table:
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
        for name, scenes in (("photos", evidence.photos), ("mosaics", evidence.mosaics))
        for one in scenes.sizes
        if one.faces or one.extra
    ]
    head = ("", "input pixels", "FP32 faces", "missed", "of them lost", "extra", "mean IoU", "landmark error")
    return Table(head, rows, numbers=2)


def _output_table(evidence: DetectorEvidence) -> Table:
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
    return Table(("output", "anchors", "bias", "mean error", "worst", "highest", "step"), rows, numbers=1)
