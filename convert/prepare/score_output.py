"""The scores of a detector in one form: probabilities."""

from __future__ import annotations

from typing import Any, Literal

import onnx

from .graph_edit import rename_output

MOVES = ("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Concat")
LAYERS = ("Conv", "ConvTranspose", "BatchNormalization", "Gemm", "MatMul")
ARITHMETIC = ("Add", "Sub", "Mul", "Div")


def computes_logits(proto: Any, output: str) -> bool:
    """Whether the values of ``output`` have no limits: they come from a layer, with no Sigmoid, Softmax or Clip behind
    it. A product of probabilities, or one that is scaled by a constant, is not taken for logits."""
    makers = {name: node for node in proto.graph.node for name in node.output}
    waiting, seen = [output], {output}
    while waiting:
        node = makers.get(waiting.pop())
        if node is None:
            continue
        if node.op_type in LAYERS:
            return True
        if node.op_type in (*MOVES, *ARITHMETIC):
            waiting += [name for name in node.input if name not in seen]
            seen.update(node.input)
    return False


def add_probabilities(proto: Any, output: str, operator: Literal["Sigmoid", "Softmax"]) -> None:
    """Compute probabilities from the logits ``output`` with ``operator``, in place.

    A Sigmoid is put right behind the layer if only moves of data lie between, each with one reader: so the NPU computes
    it together with the layer. Otherwise it is put at the end, like a Softmax, which is over the last dimension.
    """
    name = _before_moves(proto, output) if operator == "Sigmoid" else output
    logits = f"{name}/logits"
    readers = [node for node in proto.graph.node if name in node.input]
    rename_output(proto, name, logits)
    if name != output:
        for node in readers:
            node.input[:] = [name if one == logits else one for one in node.input]
    at = next(at for at, node in enumerate(proto.graph.node) if logits in node.output) + 1
    options = {"axis": -1} if operator == "Softmax" else {}
    node = onnx.helper.make_node(operator, [logits], [name], name=f"{name}/{operator.lower()}", **options)
    proto.graph.node.insert(at, node)


def _before_moves(proto: Any, output: str) -> str:
    """The tensor with the same values as ``output`` and nothing else that is the first in a chain of moves."""
    makers = {name: node for node in proto.graph.node for name in node.output}
    outputs = {entry.name for entry in proto.graph.output}
    name = output
    while name in makers and makers[name].op_type in MOVES and makers[name].op_type != "Concat":
        before = makers[name].input[0]
        readers = sum(before in node.input for node in proto.graph.node)
        if before not in makers or before in outputs or readers != 1:
            break
        name = before
    return name
