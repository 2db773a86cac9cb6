"""A ModelProto with fast look-ups, whose weights can be replaced in place."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class EditableGraph:
    """The nodes that compute and that read each tensor of a ModelProto, and its weights, which can be replaced in
    place.

    weights  name → initializer
    makers   tensor name → the node that computes it
    readers  tensor name → the nodes that read it
    outputs  names of the model's outputs
    """

    def __init__(self, proto: Any) -> None:
        self._proto = proto
        self.weights = {tensor.name: tensor for tensor in proto.graph.initializer}
        self.makers = {name: node for node in proto.graph.node for name in node.output}
        self.outputs = {output.name for output in proto.graph.output}
        self.readers: dict[str, list[Any]] = {}
        for node in proto.graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def kernel(self, node: Any) -> Floats:
        """The weights of a Conv or Gemm, output channels first unless the Gemm is not transposed."""
        return self.value(node.input[1])

    def bias(self, node: Any) -> Floats:
        """The bias of a Conv or Gemm; zeros if it has none."""
        if len(node.input) > 2 and node.input[2]:
            return self.value(node.input[2])
        return np.zeros(self.weights[node.input[1]].dims[0], np.float32)

    def value(self, name: str) -> Floats:
        """The float32 values of the initializer ``name``."""
        return np.asarray(onnx.numpy_helper.to_array(self.weights[name]), np.float32)

    def is_known(self, node: Any) -> bool:
        """Whether the kernel, and the bias if there is one, are constants."""
        return node.input[1] in self.weights and all(name in self.weights for name in node.input[2:] if name)

    def is_depthwise(self, node: Any) -> bool:
        """Whether the node is a 2D convolution with one input channel for each output channel."""
        if not self.is_known_2d(node):
            return False
        groups = next((one.i for one in node.attribute if one.name == "group"), 1)
        return list(self.weights[node.input[1]].dims[:2]) == [groups, 1]

    def is_known_2d(self, node: Any) -> bool:
        """Whether the node is a 2D convolution with constant weights."""
        return node.op_type == "Conv" and self.is_known(node) and len(self.weights[node.input[1]].dims) == 4

    def is_plain_gemm(self, node: Any) -> bool:
        """Whether the Gemm computes A · Wᵀ + b, with output channels first in W."""
        options = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        usual = {"transA": 0, "transB": 1, "alpha": 1.0, "beta": 1.0}
        return {"transA": 0, "transB": 0, "alpha": 1.0, "beta": 1.0} | options == usual

    def set_kernel(self, node: Any, kernel: Floats) -> None:
        self.set(node, 1, f"{node.output[0]}/kernel", kernel)

    def set_bias(self, node: Any, bias: Floats) -> None:
        self.set(node, 2, f"{node.output[0]}/bias", bias)

    def set(self, node: Any, place: int, name: str, value: Floats) -> None:
        """Replace the constant that ``node`` reads at ``place`` by ``value``, under the new ``name``."""
        # A new name, because other nodes may share the old tensor.
        if len(node.input) <= place:
            node.input.append(name)
        old, node.input[place] = node.input[place], name
        tensor = onnx.numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name)
        if name in self.weights:
            self.weights[name].CopyFrom(tensor)
        else:
            self._proto.graph.initializer.append(tensor)
            self.weights[name] = self._proto.graph.initializer[-1]
        if old in self.weights and old != name and not any(old in one.input for one in self._proto.graph.node):
            self._proto.graph.initializer.remove(self.weights.pop(old))
