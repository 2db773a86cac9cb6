"""Takes a constant off a recognizer's embedding, inside the model: in its last bias if it has one, so that the NPU has
nothing more to compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from .graph_edit import inner_reads, rename_output

MOVES = ("Identity", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Dropout")  # what only moves the numbers

Floats = NDArray[np.float64]


def subtract_center(proto: Any, center: Floats) -> None:
    """Let the recognizer ``proto`` subtract ``center`` (D numbers) from its only output, in place.

    The bias of the layer that computes the embedding is changed: a Gemm, a convolution, or an addition of constants
    after a matrix. A model without such a bias gets a subtraction (``append_subtraction``).
    """
    output = proto.graph.output[0].name
    last = _layer_before(proto, output)
    if last is None or not _change_bias(proto, last, np.asarray(center, np.float64)):
        append_subtraction(proto, center)


def append_subtraction(proto: Any, center: Floats) -> None:
    """Add the subtraction of ``center`` after everything else, in place."""
    output = proto.graph.output[0].name
    raw, name = rename_output(proto, output, f"{output}/with-center"), f"{output}/center"
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(center, np.float32)[None], name))
    proto.graph.node.append(onnx.helper.make_node("Sub", [raw, name], [output], name=name))


def _layer_before(proto: Any, name: str) -> Any:
    """The node that computes the numbers of ``name``, which nothing else reads; None if they are read elsewhere."""
    makers = {output: node for node in proto.graph.node for output in node.output}
    kept = inner_reads(proto.graph)
    node = makers.get(name)
    while node is not None and node.op_type in MOVES:
        name = node.input[0]
        if name in kept or sum(name in one.input for one in proto.graph.node) > 1:
            return None
        node = makers.get(name)
    return node


def _change_bias(proto: Any, node: Any, center: Floats) -> bool:
    """Take ``center`` off the bias of ``node``; False if it has no constant bias with a number for each value."""
    weights = {tensor.name: tensor for tensor in proto.graph.initializer}
    place = _bias_place(node, weights, len(center))
    if place is None:
        return False
    named = len(node.input) > place and bool(node.input[place])
    if named and node.input[place] not in weights:
        return False
    bias = onnx.numpy_helper.to_array(weights[node.input[place]]) if named else np.zeros(len(center), np.float32)
    if bias.size != len(center):
        return False
    name = f"{node.output[0]}/bias-with-center"  # a new one, because other nodes may read the old one
    value = (bias.astype(np.float64).ravel() - center).astype(np.float32).reshape(bias.shape)
    if len(node.input) <= place:
        node.input.append(name)
    node.input[place] = name
    proto.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    return True


def _bias_place(node: Any, weights: dict[str, Any], size: int) -> int | None:
    """Which input of ``node`` is added to each of its ``size`` outputs; None if none is."""
    if node.op_type == "Add":
        places = [place for place, name in enumerate(node.input) if name in weights]
        return places[0] if len(places) == 1 else None
    if node.op_type == "Conv":  # with another number of channels, the embedding has several places of each
        kernel = weights.get(node.input[1])
        return 2 if kernel is not None and kernel.dims[0] == size else None
    scaled = any(one.name == "beta" and one.f != 1 for one in node.attribute)
    return 2 if node.op_type == "Gemm" and not scaled else None
