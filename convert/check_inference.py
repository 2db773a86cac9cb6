"""Checks that a sound ONNX graph computes in floating point, and the same for the same image."""

from __future__ import annotations

from typing import Any

import onnx

from .check_tensor import UnsoundModelError, describe_node

# What quantizes activations. Weights that only a DequantizeLinear reads become floats when the model is simplified.
QUANTIZING = {"QuantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"}
QUANTIZED = "QLinear"  # start of the names of quantized operators


def check_inference(graph: Any) -> None:
    """Raise UnsoundModelError if ``graph`` was exported in training mode, or if its activations are quantized."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            constants |= {name: one.t for name in node.output for one in node.attribute if one.name == "value"}
    for node in graph.node:
        if node.op_type in QUANTIZING or node.op_type.startswith(QUANTIZED):
            raise UnsoundModelError(
                f"it is quantized ({describe_node(node)}), but rkface quantizes for the NPU, and compares with FP32: "
                "give the FP32 model from which it was made"
            )
        if _trains(node, constants):
            raise UnsoundModelError(
                f"it was exported in training mode: {describe_node(node)} depends on chance or on the other images of "
                "a batch. Export it for inference (in PyTorch, after model.eval())"
            )


def _trains(node: Any, constants: dict[str, Any]) -> bool:
    """Whether ``node`` is a BatchNormalization or a Dropout in training mode."""
    if node.op_type == "BatchNormalization":
        mode = next((one.i for one in node.attribute if one.name == "training_mode"), 0)
        return bool(mode) or sum(map(bool, node.output)) > 1  # before opset 14, the outputs say it
    if node.op_type != "Dropout" or len(node.input) < 3 or node.input[2] not in constants:
        return False
    return bool(onnx.numpy_helper.to_array(constants[node.input[2]]).any())
