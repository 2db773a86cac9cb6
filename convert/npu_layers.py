"""The layers that an NPU runs for an ONNX graph: nodes with the nodes fused into them, and their sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, prod
from pathlib import Path
from typing import Any

import onnx

from rkface.runtime.core.errors import ModelError

from .targets import Npu

BYTES = {"w8a8": 1, "fp16": 2, "w16a16i_dfp": 2}  # size of a weight and of an activation, by type
PIXELS = 16  # the MAC array works on groups of 16 pixels: the smallest number that reproduces the compiler's cycles
FUSED = frozenset({"Relu", "Clip", "PRelu", "LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu"})
# With a constant operand, these are folded into the weights and the bias of the layer before.
FOLDED = frozenset({"Mul", "Add", "Sub", "Div", "BatchNormalization"})
FREE = frozenset({"Constant", "Identity", "Dropout"})  # these cost nothing

Shape = tuple[int, ...]


@dataclass(frozen=True)
class LayerTensor:
    """An activation of ``channels`` × ``pixels`` values."""

    name: str
    channels: int
    pixels: int

    @property
    def elements(self) -> int:
        return self.channels * self.pixels

    def bytes(self, dtype: str, block: int) -> int:
        """Size in DRAM, where channels are padded to blocks of ``block`` bytes."""
        # Fewer than four channels are an image, which the NPU reads without padding.
        row = self.channels * BYTES[dtype]
        return self.pixels * (row if self.channels < 4 else ceil(row / block) * block)


@dataclass(frozen=True)
class MacKernel:
    """The multiplications of a layer: ``inputs`` × ``outputs`` of them, at each of ``pixels`` output positions, for
    each of the kernel's ``taps``, ``groups`` times."""

    pixels: int
    taps: int
    inputs: int
    outputs: int
    groups: int = 1

    @property
    def macs(self) -> int:
        return self.pixels * self.taps * self.inputs * self.outputs * self.groups

    def cycles(self, npu: Npu, dtype: str) -> float:
        """Cycles that the MAC array of ``npu`` needs. Raises ValueError if it cannot compute in ``dtype``."""
        array = npu.int8 if dtype == "w8a8" else npu.half
        if array is None:
            raise ValueError(f"this NPU does not compute in {dtype}")
        steps = ceil(self.pixels / PIXELS) * PIXELS * self.taps
        if self.groups > 1 and self.inputs == self.outputs == 1:
            return steps * ceil(self.groups / npu.depthwise)
        across, down = array
        rows = ceil(self.outputs / down)
        multiplied = steps * ceil(self.inputs / across) * rows
        return self.groups * max(multiplied, steps // self.taps * rows * down / npu.written)


@dataclass(frozen=True)
class NpuLayer:
    """One operation of the NPU: an ONNX node and the nodes fused into it.

    name     the first node's output tensor, which is also rknn-toolkit2's name of the layer
    op       such as "Conv+Add+Relu"
    weights  number of constants
    reads    activations that it reads from memory
    writes   activations that it writes to memory
    inner    all tensors that nodes of the layer compute, including ``name``
    kernel   its multiplications; None if it has none
    """

    name: str
    op: str
    weights: int
    reads: tuple[LayerTensor, ...]
    writes: tuple[LayerTensor, ...]
    inner: tuple[str, ...]
    kernel: MacKernel | None = None

    @property
    def macs(self) -> int:
        return self.kernel.macs if self.kernel else 0


def read_layers(path: Path) -> tuple[NpuLayer, ...]:
    """The layers of the simplified ONNX model at ``path``, in order of execution.

    Raises ModelError if a shape is not fixed.
    """
    return find_layers(onnx.load(str(path)), path.name)


def find_layers(proto: Any, name: str) -> tuple[NpuLayer, ...]:
    """The layers of a simplified ModelProto, in order of execution; ``name`` is used in error messages.

    Raises ModelError if a shape is not fixed.
    """
    graph = onnx.shape_inference.infer_shapes(proto).graph
    constants = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    constants |= {
        node.output[0]: tuple(attribute.t.dims)
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
    }
    shapes = {
        entry.name: tuple(dim.dim_value for dim in entry.type.tensor_type.shape.dim)
        for entry in (*graph.input, *graph.value_info, *graph.output)
    }
    found: list[NpuLayer] = []
    at: dict[str, int] = {}  # tensor → index of the layer that writes it
    readers = _readers(graph)
    for node in graph.node:
        if node.op_type in FREE:
            continue
        made = _layer(node, shapes | constants, constants, name)
        host = _host(node, made, found, at, readers)
        if host is not None:
            del at[found[host].writes[0].name]
            found[host] = _fuse(found[host], made)
            # A layer runs once all its inputs are computed: an addition may wait for a layer after its host.
            found.append(found.pop(host))
            at = {tensor.name: index for index, layer in enumerate(found) for tensor in layer.writes}
        else:
            found.append(made)
            at |= {tensor.name: len(found) - 1 for tensor in made.writes}
    return tuple(found)


def _readers(graph: Any) -> dict[str, int]:
    """How many times each tensor is read; an output of the model counts as read once more."""
    counts: dict[str, int] = {}
    for name in [*(name for node in graph.node for name in node.input), *(entry.name for entry in graph.output)]:
        counts[name] = counts.get(name, 0) + 1
    return counts


def _host(
    node: Any, made: NpuLayer, found: Sequence[NpuLayer], at: Mapping[str, int], readers: Mapping[str, int]
) -> int | None:
    """The index of the layer in ``found`` that ``node`` is fused with, or None; this follows rknn-toolkit2.

    That is a convolution whose result nothing else reads, with at most one addition and one activation function.
    """
    places = {at[tensor.name] for tensor in made.reads if tensor.name in at and readers[tensor.name] == 1}
    for index in sorted(places, reverse=True):
        host = found[index]
        after = set(host.op.split("+")[1:])
        if host.kernel is None or after & FUSED:
            continue
        if len(made.reads) == 1 and (node.op_type in FUSED or (node.op_type in FOLDED and not after)):
            return index
        if len(made.reads) == 2 and node.op_type == "Add" and not after:
            return index
    return None


def _fuse(host: NpuLayer, made: NpuLayer) -> NpuLayer:
    (result,) = host.writes
    others = tuple(tensor for tensor in made.reads if tensor.name != result.name)
    folded = made.op in FOLDED and not others
    return replace(
        host,
        op=host.op if folded else f"{host.op}+{made.op}",
        weights=host.weights + (0 if folded else made.weights),
        reads=host.reads + others,
        writes=made.writes,
        inner=host.inner + made.inner,
    )


def _layer(node: Any, shapes: Mapping[str, Shape], constants: Mapping[str, Shape], model: str) -> NpuLayer:
    def tensor(name: str) -> LayerTensor:
        shape = shapes.get(name, ())
        if name not in shapes or not all(shape):
            raise ModelError(f"{model}: the shape of {name} ({node.op_type}) is not fixed: simplify the model first")
        channels = shape[1] if len(shape) > 2 else shape[-1] if shape else 1
        return LayerTensor(name, channels, prod(shape) // max(channels, 1))

    reads = tuple(tensor(name) for name in dict.fromkeys(node.input) if name and name not in constants)
    writes = tuple(tensor(name) for name in node.output if name)
    weights = sum(prod(constants[name]) for name in node.input if name in constants)
    kernel = _kernel(node, shapes) if node.op_type in ("Conv", "Gemm", "MatMul") else None
    return NpuLayer(node.output[0], node.op_type, weights, reads, writes, tuple(node.output), kernel)


def _kernel(node: Any, shapes: Mapping[str, Shape]) -> MacKernel:
    attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    result, weight = shapes[node.output[0]], shapes[node.input[1]]
    if node.op_type == "Conv":
        groups = attributes.get("group", 1)
        return MacKernel(prod(result[2:]), prod(weight[2:]), weight[1], weight[0] // groups, groups)
    inner = weight[-1] if attributes.get("transB") else weight[-2]
    return MacKernel(prod(result[:-1]), 1, inner, result[-1])
