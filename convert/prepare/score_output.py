"""The scores of a detector in one form: probabilities."""

from __future__ import annotations

from typing import Any

import onnx

from .graph_edit import rename_output

MOVES = ("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Concat")
LINEAR = ("Conv", "Add", "Mul", "Sub", "Div", "BatchNormalization", "Gemm", "MatMul")


def computes_logits(proto: Any, output: str) -> bool:
    """Whether the output is computed by a layer whose values have no limits: no Sigmoid, no Softmax and no Clip."""
    return _last_layer(proto, output).op_type in LINEAR


def add_sigmoid(proto: Any, output: str) -> None:
    """Put a Sigmoid behind the layer that computes the logits ``output``, in place."""
    layer = _last_layer(proto, output)
    name = layer.output[0]
    logits = f"{name}/logits"
    readers = [node for node in proto.graph.node if name in node.input]
    rename_output(proto, name, logits)
    for node in readers:
        node.input[:] = [name if one == logits else one for one in node.input]
    at = list(proto.graph.node).index(layer) + 1
    proto.graph.node.insert(at, onnx.helper.make_node("Sigmoid", [logits], [name], name=f"{name}/sigmoid"))


def _last_layer(proto: Any, output: str) -> Any:
    """The node that computes the values of ``output``; nodes that only move data are skipped."""
    makers = {name: node for node in proto.graph.node for name in node.output}
    node = makers.get(output)
    while node is not None and node.op_type in MOVES and node.input[0] in makers:
        node = makers[node.input[0]]
    return node if node is not None else onnx.NodeProto()
