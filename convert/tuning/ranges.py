"""Ranges that are known without measuring: a detector's scores are probabilities, whatever the calibration photos show.

Photos show large faces. The finest stride, which detects small faces, then never has a high score, so its INT8 range
ends below the threshold, and every small face is lost (measured: docs/accuracy.md).

Some detectors also have larger activations where faces are small: their ranges are measured on crowds of small faces,
too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from rkface.runtime.core.manifest import Input

from ..mosaic import make_mosaics
from .observe import watch_tensors

LOGIT = 4.0  # a score of 0.98; the calibration images may contain higher scores
SMALLEST_GAIN = 0.1  # of a layer, from which its input's range follows: a smaller one would make that range too wide
ACTIVATIONS = ("Relu", "LeakyRelu", "PRelu", "Clip")  # the NPU computes them together with the layer before
MOVES = ("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze")


def score_ranges(proto: Any) -> dict[str, tuple[float, float]]:
    """Minimum ranges (low, high) for the scores of a detector, by name of the tensor.

    A score is the output of a Sigmoid that is followed only by moves of data. The result contains the tensors from the
    layer that computes the logits to the model's output, and the input of that layer if it is a depthwise convolution
    right behind another layer, as in YuNet: from the layer's weights follows which values give a logit of ``LOGIT``.
    """
    weights = {tensor.name: tensor for tensor in proto.graph.initializer}
    makers = {name: node for node in proto.graph.node for name in node.output}
    outputs = {output.name for output in proto.graph.output}
    found: dict[str, tuple[float, float]] = {}
    for output in outputs:
        node, behind = makers.get(output), [output]
        while node is not None and node.op_type in MOVES:
            behind.append(node.input[0])
            node = makers.get(node.input[0])
        if node is None or node.op_type != "Sigmoid":
            continue
        found |= dict.fromkeys(behind, (0.0, 1.0))
        logits = node.input[0]
        found[logits] = (0.0, LOGIT)
        while logits in makers and makers[logits].op_type in MOVES:
            logits = makers[logits].input[0]
            found[logits] = (0.0, LOGIT)
        layer = makers.get(logits)
        if layer is not None and _is_depthwise(layer, weights) and makers[layer.input[0]].op_type == "Conv":
            found[layer.input[0]] = _inputs_for_logit(layer, weights)
    return found


def _is_depthwise(node: Any, weights: Mapping[str, Any]) -> bool:
    """Whether ``node`` is a convolution of each channel by itself, with known weights."""
    if node.op_type != "Conv" or any(name not in weights for name in node.input[1:]):
        return False
    groups = next((one.i for one in node.attribute if one.name == "group"), 1)
    shape = weights[node.input[1]].dims
    return bool(groups == shape[0] and shape[1] == 1)


def _inputs_for_logit(layer: Any, weights: Mapping[str, Any]) -> tuple[float, float]:
    """The range of the input of a depthwise ``layer`` in which its output reaches ``LOGIT`` on an even area."""
    kernel, *bias = (onnx.numpy_helper.to_array(weights[name]).astype(np.float64) for name in layer.input[1:])
    gains = kernel.sum(axis=(1, 2, 3))
    known = np.abs(gains) > SMALLEST_GAIN
    values = (LOGIT - (bias[0] if bias else np.zeros(len(gains))))[known] / gains[known]
    return float(values.min(initial=0)), float(values.max(initial=0))


def crowd_ranges(proto: Any, input: Input, images: NDArray[np.uint8], scratch: Path) -> dict[str, tuple[float, float]]:
    """The ranges (low, high) of all tensors of the ModelProto ``proto`` on mosaics of ``images`` (N×H×W×3 uint8 RGB),
    by name. ``scratch`` is a file to write and to delete.

    A layer has the range of the activation function behind it. Of logits, only the upper end counts.
    """
    nodes = list(proto.graph.node)
    names = [name for node in nodes for name in node.output]
    found: dict[str, tuple[float, float]] = {}
    for values in watch_tensors(proto, input, names, make_mosaics(images), scratch):
        for name in names:
            low, high = found.get(name, (0.0, 0.0))
            found[name] = min(low, float(values[name].min())), max(high, float(values[name].max()))
    logits: set[str] = set()
    for node in reversed(nodes):
        if node.op_type == "Sigmoid" or (node.op_type in MOVES and node.output[0] in logits):
            logits.add(node.input[0])
        elif node.op_type in ACTIVATIONS and node.input[0] in found:
            found[node.input[0]] = found[node.output[0]]
    return {name: (0.0 if name in logits else low, high) for name, (low, high) in found.items()}


def widest(*ranges: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """For each tensor, the smallest range that contains all of its ``ranges``."""
    found: dict[str, tuple[float, float]] = {}
    for one in ranges:
        for name, (low, high) in one.items():
            before = found.get(name, (low, high))
            found[name] = min(low, before[0]), max(high, before[1])
    return found
