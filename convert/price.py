"""A model's graph without its weights, and what each recipe would make it cost on an NPU."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import onnx

from rkface.runtime.core.errors import ModelError

from .cost import Cost, Layer, estimate, layers_of
from .hybrid import ends
from .recipe import Recipe
from .targets import Target

SMALL = 1024  # constants of so few elements may be shapes, which shape inference reads


@dataclass(frozen=True)
class Graph:
    """``proto``: the ModelProto with large constants emptied; ``layers``: what the cost model makes of it, None where
    it cannot follow."""

    proto: Any
    layers: tuple[Layer, ...] | None


def read_graph(path: Path) -> Graph:
    """The graph of the simplified ONNX at ``path``: kept in memory all through a conversion, its weights are not."""
    proto = onnx.load(str(path))
    for tensor in proto.graph.initializer:
        if prod(tensor.dims) > SMALL:
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
    try:
        return Graph(proto, layers_of(proto, path.name))
    except ModelError:  # a missing prediction must not cost a conversion
        return Graph(proto, None)


def predict(graph: Graph, target: Target, recipe: Recipe) -> Cost | None:
    """One inference on one core of ``target``; None for a graph that the model of costs does not know."""
    if graph.layers is None:
        return None
    kept = dict.fromkeys(ends(graph.proto, recipe.lead, recipe.trail), "fp16")
    return estimate(graph.layers, target, "w8a8" if recipe.quantized else "fp16", kept)
