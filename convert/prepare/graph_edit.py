"""Small changes of a graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

KINDS = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}


def rename_output(proto: Any, name: str, other: str) -> str:
    """Call the tensor ``name`` ``other`` inside the graph, so that a new node can make the output ``name``. Returns
    ``other``."""
    for node in proto.graph.node:
        node.output[:] = [other if one == name else one for one in node.output]
        node.input[:] = [other if one == name else one for one in node.input]
    return other


def store_constants(proto: Any) -> None:
    """Make weights of the Constant nodes of the main graph, in place."""
    for node in [node for node in proto.graph.node if node.op_type == "Constant"]:
        (given,) = node.attribute
        if given.name == "value":
            tensor = onnx.TensorProto()
            tensor.CopyFrom(given.t)
            tensor.name = node.output[0]
        elif given.name in KINDS:
            values = np.array(onnx.helper.get_attribute_value(given), KINDS[given.name])
            tensor = onnx.numpy_helper.from_array(values, node.output[0])
        else:
            continue
        proto.graph.initializer.append(tensor)
        proto.graph.node.remove(node)


def drop_unused_weights(proto: Any) -> None:
    """Remove weights that nothing reads from the main graph, in place. Graphs inside nodes may read weights, too."""
    if any(
        one.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
        for node in proto.graph.node
        for one in node.attribute
    ):
        return
    read = {name for node in proto.graph.node for name in node.input} | {output.name for output in proto.graph.output}
    kept = [tensor for tensor in proto.graph.initializer if tensor.name in read]
    if len(kept) < len(proto.graph.initializer):
        del proto.graph.initializer[:]
        proto.graph.initializer.extend(kept)
