"""Chooses the layers that stay in FP16 if INT8 alone is not accurate enough: those at the two ends of the model.

Of a detector, FP16 can be limited to coarse grids. A layer costs as much as its grid has cells, and most error of boxes
and landmarks comes from the heads of the coarse grids: one INT8 step is there a larger number of pixels.

Single FP16 layers do not help, however large their error is: between INT8 neighbors, their inputs are already rounded
and their outputs are rounded again. A sequence of FP16 layers keeps the precision inside it. The ends matter most: all
later layers miss what the first layers round away, and no later layer averages out the errors of the last layers
(measured: docs/accuracy.md).
"""

from __future__ import annotations

from math import prod
from typing import Any

import onnx

from .tuning.ranges import MOVES

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
GRID_DIMENSIONS = 4  # N×C×H×W


def tensors_at_ends(proto: Any, lead: int, trail: int, coarse: int = 1) -> tuple[str, ...]:
    """Names of the tensors in the first ``lead`` and the last ``trail`` weighted layers of a ModelProto, in the order
    of its nodes.

    Of the last layers, only those count whose grid is at least ``coarse`` times coarser than the first input, on both
    sides: the strides of a detector. What moves or combines values of a coarse grid belongs to it.

    Layers are counted along the longest path from an input, or to an output. An activation function belongs to the
    convolution before it, because the NPU computes both as one.
    """
    nodes = list(proto.graph.node)
    before: dict[str, int] = {}
    for node in nodes:
        depth = max((before.get(name, 0) for name in node.input), default=0) + (node.op_type in WEIGHTED)
        before |= dict.fromkeys(node.output, depth)
    behind: dict[str, int] = {}
    for node in reversed(nodes):
        depth = max((behind.get(name, 0) for name in node.output), default=0) + (node.op_type in WEIGHTED)
        for name in node.input:
            behind[name] = max(behind.get(name, 0), depth)
    fine = _fine_tensors(proto, coarse) if coarse > 1 else frozenset()
    return tuple(
        name
        for node in nodes
        for name in node.output
        if (lead and before[name] <= lead) or (behind.get(name, 0) < trail and name not in fine)
    )


def _fine_tensors(proto: Any, coarse: int) -> frozenset[str]:
    """Names of the tensors whose grid is less than ``coarse`` times coarser than the first input's.

    A tensor with no grid of its own (N×K×4, after a Reshape) has that of the tensor it is made of, the finest if there
    are several.
    """
    graph = onnx.shape_inference.infer_shapes(proto).graph
    shapes = {
        entry.name: [dim.dim_value for dim in entry.type.tensor_type.shape.dim]
        for entry in (*graph.input, *graph.value_info, *graph.output)
    }
    constants = {tensor.name for tensor in graph.initializer}
    first = next(entry.name for entry in graph.input if entry.name not in constants)
    cells = {first: prod(shapes[first][2:])}
    most = cells[first] // coarse**2
    for node in graph.node:
        before = max((cells.get(name, 0) for name in node.input), default=0)
        for name in node.output:
            shape = shapes.get(name, [])
            has_grid = len(shape) == GRID_DIMENSIONS and node.op_type not in MOVES
            cells[name] = (prod(shape[2:]) if has_grid else 0) or before
    return frozenset(name for name, number in cells.items() if number > most)
