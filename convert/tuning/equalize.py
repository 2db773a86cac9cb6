"""Equalizes channels that share an INT8 scale, without changing what the model computes in FP32.

An activation has one INT8 scale for all its channels, so channels with small values use only a few of its 256 steps. A
positive factor on a channel passes through ReLU, PReLU and additions: the layer before is multiplied by it, and the
layer after is divided by it ("Data-Free Quantization Through Weight Equalization and Bias Correction", Nagel et al.,
arXiv 1906.04721).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from ..editable_graph import EditableGraph, Floats
from .observe import ObservedTensor

ACTIVATIONS = ("Relu", "PRelu", "LeakyRelu", "Clip")
POOLS = ("MaxPool", "AveragePool", "GlobalAveragePool")
PASSES = (*ACTIVATIONS, *POOLS, "Add", "Pad", "Flatten")
CLIP_ROOM = 2.0  # after scaling, the limit of a Clip is at least twice the largest observed value of a channel
MAX_FACTOR = 64.0  # the factor of a channel that is nearly always 0 would be infinite
# How far to equalize if a full convolution reads the tensor. Its kernel has one scale for each output channel, and none
# for input channels, so it loses what the activation gains; and a scaled channel has no room left for faces that the
# calibration images do not show. A partial strength balances the two (SmoothQuant, arXiv 2211.10438, section 4); the
# value is from docs/accuracy.md.
PARTIAL_STRENGTH = 0.25
# There, a channel also counts as at least so loud as a share of the loudest one. A channel that is quiet on all
# calibration images may be loud for a rare face.
QUIETEST = 0.5


@dataclass
class ChannelGroup:
    """Tensors that share their channels: activations and sums between the layers that compute and those that read them.

    makers   nodes that compute the channels
    readers  nodes that read them
    top      the lowest limit of a Clip among them
    closed   no other node computes or reads the tensors
    """

    tensors: list[str] = field(default_factory=list)
    makers: list[Any] = field(default_factory=list)
    readers: list[Any] = field(default_factory=list)
    top: float = np.inf
    closed: bool = True


def equalize(proto: Any, seen: dict[str, ObservedTensor]) -> dict[str, Floats]:
    """Scale the channels of ``proto`` in place, and return the factors (C float32) by tensor.

    ``seen`` are the measured tensors by name. Channels that only depthwise convolutions and BatchNormalizations read
    are equalized completely: these have a scale for each channel, so it costs nothing. If full convolutions read them,
    the factors are at most 1 / QUIETEST, raised to the power PARTIAL_STRENGTH.
    """
    graph = EditableGraph(proto)
    scales: dict[str, Floats] = {}
    for group in _groups(graph, seen):
        free = all(node.op_type == "BatchNormalization" or graph.is_depthwise(node) for node in group.readers)
        # The NPU computes a layer and its activation function as one: a tensor between them has no scale.
        kept = [name for name in group.tensors if not _is_fused(graph, name)]
        channels = min(len(seen[name].reach) for name in group.tensors)
        if any(len(seen[name].reach) % channels for name in group.tensors):
            continue
        reaches = [seen[name].reach.reshape(channels, -1).max(axis=1) for name in kept]  # Flatten has C·H·W of them
        scale = _factors(reaches, group.top) if free else _factors(reaches, group.top, QUIETEST, PARTIAL_STRENGTH)
        if (scale == 1).all():
            continue
        for node in group.makers:
            _scale_outputs(graph, node, scale)
        for node in group.readers:
            _scale_inputs(graph, node, 1 / scale)
        scales |= {name: _repeated(scale, len(seen[name].reach)) for name in group.tensors}
    return scales


def _repeated(scale: Floats, size: int) -> Floats:
    """The factors ``scale`` of C channels for the ``size`` values of a tensor behind Flatten, C·H·W."""
    return np.repeat(scale, size // len(scale))


def _factors(reaches: list[Floats], top: float, quietest: float = 0.0, strength: float = 1.0) -> Floats:
    """The factor of each channel (1 or greater): towards the largest channel, within the limit ``top`` of a Clip.

    If several tensors share the factors, the largest relative magnitude of a channel in any of them counts, and at
    least ``quietest``. The factors are raised to the power ``strength``.
    """
    relative = np.max([reach / max(float(reach.max()), 1e-30) for reach in reaches], axis=0)
    relative = np.maximum(relative, quietest)
    wanted = np.divide(1.0, relative, out=np.ones_like(relative), where=relative > 0) ** strength
    reach = np.max(reaches, axis=0)
    room = np.divide(top / CLIP_ROOM, reach, out=np.full_like(reach, np.inf), where=reach > 0)
    return np.asarray(np.maximum(np.minimum(np.minimum(wanted, MAX_FACTOR), room), 1.0), np.float32)


def _groups(graph: EditableGraph, seen: dict[str, ObservedTensor]) -> Iterable[ChannelGroup]:
    """The closed groups of tensors, in node order."""
    group_of: dict[str, ChannelGroup] = {}
    for name, node in graph.makers.items():
        group = group_of.setdefault(name, ChannelGroup())
        if node.op_type in PASSES and _passes(graph, node):
            for source in node.input:
                if source in graph.makers:
                    group = _joined(group_of, group, group_of[source])
                elif source not in graph.weights:
                    group.closed = False
            group.top = min(group.top, _top(graph, node))
        elif graph.is_known_2d(node) or _is_norm(graph, node):
            group.makers.append(node)
        else:
            group.closed = False
        group.tensors.append(name)
        group.closed &= name in seen and name not in graph.outputs
        for reader in graph.readers.get(name, []):
            if reader.op_type in PASSES and _passes(graph, reader):
                continue
            if reader.input[0] == name and _is_reader(graph, reader):
                group.readers.append(reader)
            else:
                group.closed = False
    unique = {id(group): group for group in group_of.values()}
    return [one for one in unique.values() if one.closed and one.makers and one.readers]


def _joined(group_of: dict[str, ChannelGroup], one: ChannelGroup, other: ChannelGroup) -> ChannelGroup:
    if one is not other:
        one.tensors += other.tensors
        one.makers += other.makers
        one.readers += other.readers
        one.top, one.closed = min(one.top, other.top), one.closed and other.closed
        for name, group in group_of.items():
            if group is other:
                group_of[name] = one
    return one


def _is_fused(graph: EditableGraph, name: str) -> bool:
    return all(node.op_type in ACTIVATIONS for node in graph.readers.get(name, []))


def _passes(graph: EditableGraph, node: Any) -> bool:
    """Whether a positive factor on a channel passes through ``node`` unchanged."""
    if node.op_type == "Add":
        return not any(name in graph.weights for name in node.input)
    if node.op_type == "Clip":
        return _top(graph, node) < np.inf and graph.value(node.input[1]).item() == 0
    if node.op_type == "Pad":
        return _pads_zeros(graph, node)
    if node.op_type == "Flatten":  # C×H×W, in this order
        return all(one.i == 1 for one in node.attribute)
    return node.op_type != "PRelu" or node.input[1] in graph.weights


def _pads_zeros(graph: EditableGraph, node: Any) -> bool:
    """Whether a Pad adds zeros, and no channels."""
    if any(one.name == "mode" and one.s != b"constant" for one in node.attribute) or len(node.input) > 3:
        return False
    if any(name not in graph.weights for name in node.input[1:] if name):
        return False
    pads = onnx.numpy_helper.to_array(graph.weights[node.input[1]])
    value = graph.value(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1)
    return len(pads) == 8 and not pads[[0, 1, 4, 5]].any() and not value.any()


def _top(graph: EditableGraph, node: Any) -> float:
    if node.op_type != "Clip":
        return np.inf
    bounds = node.input[1:3]
    known = len(bounds) == 2 and all(name in graph.weights for name in bounds)
    return float(graph.value(bounds[1]).item()) if known else np.inf


def _is_norm(graph: EditableGraph, node: Any) -> bool:
    return node.op_type == "BatchNormalization" and all(name in graph.weights for name in node.input[1:])


def _is_reader(graph: EditableGraph, node: Any) -> bool:
    if _is_norm(graph, node) or graph.is_depthwise(node):
        return True
    if node.op_type == "Gemm":
        return graph.is_known(node) and graph.is_plain_gemm(node)
    groups = next((one.i for one in node.attribute if one.name == "group"), 1)
    return graph.is_known_2d(node) and groups == 1


def _scale_outputs(graph: EditableGraph, node: Any, scale: Floats) -> None:
    if node.op_type == "BatchNormalization":  # gamma, beta
        for place in (1, 2):
            graph.set(node, place, f"{node.output[0]}/norm{place}", graph.value(node.input[place]) * scale)
        return
    graph.set_kernel(node, graph.kernel(node) * scale.reshape(-1, 1, 1, 1))
    graph.set_bias(node, graph.bias(node) * scale)


def _scale_inputs(graph: EditableGraph, node: Any, scale: Floats) -> None:
    if node.op_type == "BatchNormalization":  # gamma, mean: g/s · (s·x − s·m) is g · (x − m)
        every = _repeated(scale, graph.value(node.input[1]).size)
        graph.set(node, 1, f"{node.output[0]}/norm1", graph.value(node.input[1]) * every)
        graph.set(node, 3, f"{node.output[0]}/norm3", graph.value(node.input[3]) / every)
        return
    if node.op_type == "Gemm":
        kernel = graph.kernel(node)
        graph.set_kernel(node, kernel * _repeated(scale, kernel.shape[1]))
        return
    across = (-1, 1, 1, 1) if graph.is_depthwise(node) else (1, -1, 1, 1)
    graph.set_kernel(node, graph.kernel(node) * scale.reshape(across))
