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
        if len(node.attribute) != 1:  # damaged: shape inference refuses it
            continue
        given = node.attribute[0]
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


def inner_reads(graph: Any) -> set[str]:
    """All names that the graphs inside the nodes of ``graph`` read: their own tensors, and those of ``graph``."""
    found: set[str] = set()
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                found |= {name for one in inner.node for name in one.input} | inner_reads(inner)
                found |= {output.name for output in inner.output}
    return found


def drop_unused_weights(proto: Any) -> None:
    """Remove weights that nothing reads from the main graph, in place."""
    read = {name for node in proto.graph.node for name in node.input} | {output.name for output in proto.graph.output}
    read |= inner_reads(proto.graph)
    kept = [tensor for tensor in proto.graph.initializer if tensor.name in read]
    if len(kept) < len(proto.graph.initializer):
        del proto.graph.initializer[:]
        proto.graph.initializer.extend(kept)
