"""Which layers stay in FP16 where INT8 alone is not near enough: those at the two ends of the model.

Single layers do not help, whatever their error: one FP16 layer between INT8 neighbors is handed rounded values and has
its own rounded again. A run of them keeps what is inside it, and the ends matter most: what the first layers round away
is lost to all, and nothing averages out what the last ones add (measured: docs/accuracy.md).
"""

from __future__ import annotations

from typing import Any

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def tensors_at_ends(proto: Any, lead: int, trail: int) -> tuple[str, ...]:
    """Names of the tensors that lie within the first ``lead`` or the last ``trail`` weighted layers of a ModelProto, in
    the order of its nodes; layers are counted along the longest path from an input, or to an output.

    An activation goes with the convolution before it, as the NPU computes both as one.
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
