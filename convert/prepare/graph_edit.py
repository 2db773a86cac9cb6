"""Small changes of a graph."""

from __future__ import annotations

from typing import Any

import onnx


def rename_output(proto: Any, name: str, other: str) -> str:
    """Call the tensor ``name`` ``other`` inside the graph, so that a new node can make the output ``name``. Returns
    ``other``."""
    for node in proto.graph.node:
        node.output[:] = [other if one == name else one for one in node.output]
        node.input[:] = [other if one == name else one for one in node.input]
    return other


def store_constants(proto: Any) -> None:
    """Make weights of the Constant nodes of the main graph that have a tensor, in place."""
    for node in list(proto.graph.node):
        value = next((one.t for one in node.attribute if one.name == "value"), None) if node.op_type == "Constant" else None
        if value is not None and not value.external_data:
            proto.graph.initializer.append(value)
            proto.graph.initializer[-1].name = node.output[0]
            proto.graph.node.remove(node)


def drop_unused_weights(proto: Any) -> None:
    """Remove weights that nothing reads from the main graph, in place. Graphs inside nodes may read weights, too."""
    if any(one.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for node in proto.graph.node for one in node.attribute):
        return
    read = {name for node in proto.graph.node for name in node.input} | {output.name for output in proto.graph.output}
    kept = [tensor for tensor in proto.graph.initializer if tensor.name in read]
    if len(kept) < len(proto.graph.initializer):
        del proto.graph.initializer[:]
        proto.graph.initializer.extend(kept)
