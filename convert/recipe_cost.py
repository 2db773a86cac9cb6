"""A model's graph without its weights, and what each recipe would make it cost on an NPU."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import onnx

from rkface.runtime.core.errors import ModelError

from .cost import ModelCost, NpuLayer, estimate_cost, find_layers
from .hybrid import tensors_at_ends
from .recipe import Recipe
from .targets import Target

SHAPE_ELEMENTS = 1024  # constants of so few elements may be shapes, which shape inference reads


@dataclass(frozen=True)
class CostGraph:
    """``proto``: the ModelProto with large constants emptied; ``layers``: what the cost model makes of it, None where
    it cannot follow."""

    proto: Any
    layers: tuple[NpuLayer, ...] | None


def read_cost_graph(path: Path) -> CostGraph:
    """The graph of the simplified ONNX at ``path``: kept in memory all through a conversion, its weights are not."""
    proto = onnx.load(str(path))
    for tensor in proto.graph.initializer:
        if prod(tensor.dims) > SHAPE_ELEMENTS:
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
    try:
        return CostGraph(proto, find_layers(proto, path.name))
    except ModelError:  # a missing prediction must not cost a conversion
        return CostGraph(proto, None)


def predict_cost(graph: CostGraph, target: Target, recipe: Recipe) -> ModelCost | None:
    """One inference on one core of ``target``; None for a graph that the model of costs does not know."""
    if graph.layers is None:
        return None
    kept = dict.fromkeys(tensors_at_ends(graph.proto, recipe.lead, recipe.trail), "fp16")
    return estimate_cost(graph.layers, target, "w8a8" if recipe.quantized else "fp16", kept)
