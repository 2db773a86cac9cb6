"""Ranges that are known without looking: a detector's scores are probabilities, whatever the calibration photos show.

Photos show large faces. The finest stride, which answers for small ones, then never sees a high score, its INT8 range
ends below the threshold, and every small face is lost (measured: docs/accuracy.md).
"""

from __future__ import annotations

from typing import Any

LOGIT = 4.0  # a score of 0.98; calibration may have seen higher ones
MOVES = ("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze")


def score_ranges(proto: Any) -> dict[str, tuple[float, float]]:
    """For every Sigmoid of a ModelProto that only moves of data separate from an output: the least range of its
    output, and of the tensors before it back to the layer that makes them, by name."""
    makers = {name: node for node in proto.graph.node for name in node.output}
    outputs = {output.name for output in proto.graph.output}
    found: dict[str, tuple[float, float]] = {}
    for output in outputs:
        node, behind = makers.get(output), [output]
        while node is not None and node.op_type in MOVES:
            behind.append(node.input[0])
            node = makers.get(node.input[0])
        if node is None or node.op_type != "Sigmoid":
            continue
        found |= dict.fromkeys(behind, (0.0, 1.0))
        logits = node.input[0]
        found[logits] = (0.0, LOGIT)
        while logits in makers and makers[logits].op_type in MOVES:
            logits = makers[logits].input[0]
            found[logits] = (0.0, LOGIT)
    return found
