"""The predicted cost of a model on an NPU, by recipe."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import onnx

from rkface.runtime.core.errors import ModelError

from .cost import ModelCost, estimate_cost
from .hybrid import tensors_at_ends
from .npu_layers import NpuLayer, find_layers
from .recipe import Recipe
from .targets import Target

SHAPE_ELEMENTS = 1024  # a constant of at most so many elements may be a shape, which shape inference reads


@dataclass(frozen=True)
class CostGraph:
    """A model's graph, without the values of its weights.

    proto   the ModelProto; its large constants are empty
    layers  its layers for the cost model; None if the cost model does not know the graph
    """

    proto: Any
    layers: tuple[NpuLayer, ...] | None


def read_cost_graph(path: Path) -> CostGraph:
    """Read the graph of the simplified ONNX model at ``path``. It stays in memory during the whole conversion; the
    weights do not."""
    proto = onnx.load(str(path))
    for tensor in proto.graph.initializer:
        if prod(tensor.dims) > SHAPE_ELEMENTS:
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
    try:
        return CostGraph(proto, find_layers(proto, path.name))
    except ModelError:  # a missing prediction must not stop a conversion
        return CostGraph(proto, None)


def predict_cost(graph: CostGraph, target: Target, recipe: Recipe) -> ModelCost | None:
    """The cost of one inference on one core of ``target``; None if the cost model does not know the graph."""
    if graph.layers is None:
        return None
    kept = dict.fromkeys(tensors_at_ends(graph.proto, recipe.lead, recipe.trail, recipe.coarse), "fp16")
    return estimate_cost(graph.layers, target, "w8a8" if recipe.quantized else "fp16", kept)
