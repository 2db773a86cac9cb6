"""Changes a model that takes BGR into one that takes RGB, which every backend feeds; the outputs stay exactly the
same."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from .editable_graph import EditableGraph


def swap_channels(proto: Any, name: str) -> None:
    """Reverse the order of the three channels of the input ``name`` of a ModelProto, in place.

    If only convolutions read the input, their weights are reversed, which costs nothing; otherwise a Gather node is
    added.
    """
    graph = EditableGraph(proto)
    readers = graph.readers.get(name, [])
    if readers and all(graph.is_known_2d(node) and graph.kernel(node).shape[1] == 3 for node in readers):
        for node in readers:
            graph.set_kernel(node, graph.kernel(node)[:, ::-1])
        return
    order, swapped = f"{name}/order", f"{name}/swapped"
    for node in readers:
        for place, read in enumerate(node.input):
            if read == name:
                node.input[place] = swapped
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2, 1, 0], np.int64), order))
    proto.graph.node.insert(0, onnx.helper.make_node("Gather", [name, order], [swapped], axis=1))
