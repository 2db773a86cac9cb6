"""The tables and plots of the conversion report about models, recipes, and their cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rkface.runtime.core.manifest import Manifest, Role

from ..cost import ModelCost, cost_by_operation
from ..evaluate.grades import GOOD_LANDMARKS, LIVE_MEAN
from ..pair_search import PairResult
from ..recipe import AccuracyBar
from .model_facts import ModelFacts
from .page import Table
from .plot import ScatterPoint, line_by_layer, scatter


@dataclass(frozen=True)
class CostSection:
    """What the recipes of one model cost, and where its error and its cost come from."""

    role: Role
    plot: Markup | None
    by_operation: Table | None
    total: str
    layer_plot: Markup | None
    worst_layers: str


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
                f"{facts.nodes_before} → {facts.nodes_after}",
                f"{facts.simplification_difference:.0e}" if facts.simplification_difference else "none",
                ", ".join(f"{name} {seconds:.1f}" for name, seconds in facts.toolkit_seconds.items()),
            )
        )
    head = (
        "model",
        "source",
        "input, pixels",
        "precision",
        "size",
        "ONNX nodes",
        "change by simplification",
        "toolkit, seconds",
    )
    return Table(head, rows)


def recipe_table(models: Sequence[ModelFacts]) -> Table:
    rows = [
        (
            facts.role,
            one.recipe.name,
            one.recipe.dtype,
            "chosen" if one.chosen else "",
            one.grade.summary if one.grade else one.error,
            f"{one.cost.milliseconds:.2f} ms" if one.cost else "",
            f"{one.seconds:.0f} s",
            one.recipe.about,
        )
        for facts in models
        for one in facts.recipes
    ]
    return Table(("model", "recipe", "type", "", "against FP32", "NPU bound", "time taken", "what it does"), rows)


def model_pair_table(pairs: Sequence[PairResult]) -> Table | None:
    """The pairs of a detector and a recognizer that were compared with FP32 together; None if there was no choice."""
    if len(pairs) < 2:
        return None
    head = ("detector", "recognizer", "", "end to end: mean cosine", "changed decisions", "NPU bound", "")
    rows = [
        (
            one.detector.recipe.name,
            one.recognizer.recipe.name,
            "chosen" if one.chosen else "",
            f"{one.grade.cosine:.4f}",
            "" if one.grade.changed is None else one.grade.changed,
            f"{one.cost:.2f}",
            "close enough" if one.grade.clears else "",
        )
        for one in pairs
    ]
    return Table(head, rows)


def cost_section(facts: ModelFacts, bar: AccuracyBar) -> CostSection:
    """Cost against accuracy of each recipe of one model, where the cost comes from, and which layers cause the
    error."""
    points = [
        ScatterPoint(one.recipe.name, one.cost.milliseconds, one.grade.accuracy, one.chosen)
        for one in facts.recipes
        if one.cost and one.grade
    ]
    wanted: dict[Role, tuple[str, str, float]] = {
        "detector": ("landmark error: lower is better", ".2%", GOOD_LANDMARKS),
        "recognizer": ("mean cosine with FP32: higher is better", ".4f", bar.mean),
        "liveness": ("mean difference of the probability: lower is better", ".3f", LIVE_MEAN),
    }
    plot = scatter(points, "NPU bound, ms (predicted)", *wanted[facts.role])
    cost = next((one.cost for one in facts.recipes if one.cost and one.chosen), None)
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
