"""Chooses the layers that stay in FP16 if INT8 alone is not accurate enough: those at the two ends of the model.

Single FP16 layers do not help, however large their error is: between INT8 neighbors, their inputs are already rounded
and their outputs are rounded again. A sequence of FP16 layers keeps the precision inside it. The ends matter most: all
later layers miss what the first layers round away, and no later layer averages out the errors of the last layers
(measured: docs/accuracy.md).
"""

from __future__ import annotations

from typing import Any

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def tensors_at_ends(proto: Any, lead: int, trail: int) -> tuple[str, ...]:
    """Names of the tensors in the first ``lead`` and the last ``trail`` weighted layers of a ModelProto, in the order
    of its nodes.

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
    return tuple(
        name for node in nodes for name in node.output if (lead and before[name] <= lead) or behind.get(name, 0) < trail
    )
