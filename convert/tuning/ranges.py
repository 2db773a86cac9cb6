"""Ranges that are known without measuring: a detector's scores are probabilities, whatever the calibration photos show.

Photos show large faces. The finest stride, which detects small faces, then never has a high score, so its INT8 range
ends below the threshold, and every small face is lost (measured: docs/accuracy.md).
"""

from __future__ import annotations

from typing import Any

LOGIT = 4.0  # a score of 0.98; the calibration images may contain higher scores
MOVES = ("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze")


def score_ranges(proto: Any) -> dict[str, tuple[float, float]]:
    """Minimum ranges (low, high) for the scores of a detector, by name of the tensor.

    A score is the output of a Sigmoid that is followed only by moves of data. The result contains the tensors from the
    layer that computes the logits to the model's output.
    """
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
