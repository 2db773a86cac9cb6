"""Changes a model that takes BGR into one that takes RGB, which every backend feeds; the outputs stay exactly the
same."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from .editable_graph import EditableGraph

ELEMENTWISE = ("Sub", "Add", "Mul", "Div", "BatchNormalization", "Identity", "Clip")


def swap_channels(proto: Any, name: str) -> None:
    """Reverse the order of the three channels of the input ``name`` of a ModelProto, in place.

    If convolutions read the input, or a normalization and then convolutions, their weights are reversed, which costs
    nothing; otherwise a Gather node is added.
    """
    graph = EditableGraph(proto)
    between, readers = _operators_before_convolutions(graph, name)
    if readers and all(graph.is_known_2d(node) and graph.kernel(node).shape[1] == 3 for node in readers):
        for node in readers:
            graph.set_kernel(node, graph.kernel(node)[:, ::-1])
        for node in between:
            _reverse_constants(graph, node)
        return
    order, swapped = f"{name}/order", f"{name}/swapped"
    for node in graph.readers.get(name, []):
        for place, read in enumerate(node.input):
            if read == name:
                node.input[place] = swapped
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2, 1, 0], np.int64), order))
    proto.graph.node.insert(0, onnx.helper.make_node("Gather", [name, order], [swapped], axis=1))


def _operators_before_convolutions(graph: EditableGraph, name: str) -> tuple[list[Any], list[Any]]:
    """The chain of operators behind the input ``name`` that treat each channel separately, and what reads its end."""
    between: list[Any] = []
    while True:
        readers = graph.readers.get(name, [])
        if len(readers) != 1 or readers[0].op_type not in ELEMENTWISE or name in graph.outputs:
            return between, readers
        if any(other not in graph.weights for other in readers[0].input if other and other != name):
            return between, readers
        between.append(readers[0])
        name = readers[0].output[0]


def _reverse_constants(graph: EditableGraph, node: Any) -> None:
    """Reverse the constants of ``node`` that have a value for each channel."""
    vector = node.op_type == "BatchNormalization"
    for place, name in enumerate(node.input):
        if name not in graph.weights:
            continue
        value = graph.value(name)
        axis = 0 if vector else value.ndim - 3
        if axis >= 0 and value.shape[axis] == 3:
            graph.set(node, place, f"{node.output[0]}/{place}/reversed", np.flip(value, axis))
