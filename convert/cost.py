"""How long a model would take on an NPU: a prediction from its graph, for ranking recipes. Nothing is measured.

After the roofline model (Williams, Waterman, Patterson: "Roofline", CACM 52(4), 2009): a layer takes the longer of its
arithmetic and its memory traffic. What an NPU core does in a cycle stands in convert/targets.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, prod
from pathlib import Path
from typing import Any

import onnx

from rkface.runtime.core.errors import ModelError

from .targets import Npu, Target

ASSUMPTIONS = (
    "one core, at its highest clock, alone on the memory; nothing of one layer overlaps with the next",
    "a layer takes the longer of arithmetic and DRAM traffic, counted as rknn-toolkit2's own compiler counts them",
    "every layer reads its inputs from DRAM and writes its outputs there; weights are read once an inference",
    "activation functions, constant scales and one addition are fused into the convolution before them",
    "other layers (pooling, resizing, BatchNormalization, transposes) cost their memory traffic and no arithmetic",
    "where neighbors differ in precision, the tensor between them is read and written once more",
    "not counted: start-up of layers, splitting of large ones, work on the CPU, driver and library",
)
BYTES = {"w8a8": 1, "fp16": 2, "w16a16i_dfp": 2}  # of a weight and of an activation
PIXELS = 16  # the array works on groups of so many: the least that reproduces the compiler's cycles
FUSED = frozenset({"Relu", "Clip", "PRelu", "LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu"})
FOLDED = frozenset({"Mul", "Add", "Sub", "Div", "BatchNormalization"})  # by constants: they go into weights and bias
FREE = frozenset({"Constant", "Identity", "Dropout"})

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Tensor:
    """An activation: ``channels`` × ``pixels`` values."""

    name: str
    channels: int
    pixels: int

    @property
    def elements(self) -> int:
        return self.channels * self.pixels

    def bytes(self, dtype: str, block: int) -> int:
        # Fewer than four channels are an image, which the NPU reads as it comes.
        row = self.channels * BYTES[dtype]
        return self.pixels * (row if self.channels < 4 else ceil(row / block) * block)


@dataclass(frozen=True)
class Kernel:
    """What the MAC array has to do: ``groups`` times, at each of ``pixels`` and for each of ``taps``, ``inputs`` ×
    ``outputs`` multiplications."""

    pixels: int
    taps: int
    inputs: int
    outputs: int
    groups: int = 1

    @property
    def macs(self) -> int:
        return self.pixels * self.taps * self.inputs * self.outputs * self.groups

    def cycles(self, npu: Npu, dtype: str) -> float:
        """ValueError where ``npu`` cannot compute in ``dtype``."""
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
class Layer:
    """One operation of the NPU: an ONNX node and what is fused into it, such as "Conv+Add+Relu".

    ``name`` is the first node's output tensor, by which rknn-toolkit2 knows the layer; ``inner`` are all tensors that
    nodes of the layer make, ``name`` among them. ``weights`` counts constants.
    """

    name: str
    op: str
    weights: int
    reads: tuple[Tensor, ...]
    writes: tuple[Tensor, ...]
    inner: tuple[str, ...]
    kernel: Kernel | None = None

    @property
    def macs(self) -> int:
        return self.kernel.macs if self.kernel else 0


@dataclass(frozen=True)
class LayerCost:
    """``milliseconds`` is the longer of the two. A change of precision is a layer "Convert"."""

    name: str
    op: str
    dtype: str
    macs: int
    bytes: int
    compute_ms: float
    memory_ms: float
    milliseconds: float


@dataclass(frozen=True)
class Cost:
    """One inference on one core of ``target``: the sums over its ``layers``."""

    target: str
    milliseconds: float
    macs: int
    bytes: int
    layers: tuple[LayerCost, ...]


def estimate(
    layers: Sequence[Layer], target: Target, dtype: str = "w8a8", kept: Mapping[str, str] | None = None
) -> Cost:
    """What ``layers`` cost on ``target`` in ``dtype`` (as rknn-toolkit2 calls it: w8a8, fp16 or w16a16i_dfp).

    ``kept`` gives some tensors another one, as a hybrid model does: the layer that makes such a tensor computes and
    writes in it. ValueError for a type that is unknown or that the NPU lacks.
    """
    kept, npu = kept or {}, target.npu
    stored: dict[str, set[str]] = {}  # in which types each tensor lies in memory
    costs: list[LayerCost] = []
    for layer in layers:
        own = next((kept[name] for name in layer.inner if name in kept), dtype)
        if own not in BYTES:
            raise ValueError(f"unknown type {own!r}: {', '.join(BYTES)} are known")
        for tensor in layer.reads:
            found = stored.setdefault(tensor.name, {own})
            if own not in found:
                read = min(tensor.bytes(other, npu.block) for other in found)
                costs.append(_cost(npu, tensor.name, "Convert", own, size=read + tensor.bytes(own, npu.block)))
                found.add(own)
        stored |= {tensor.name: {own} for tensor in layer.writes}
        moved = sum(tensor.bytes(own, npu.block) for tensor in (*layer.reads, *layer.writes))
        size = layer.weights * BYTES[own] + moved
        costs.append(_cost(npu, layer.name, layer.op, own, size=size, kernel=layer.kernel))
    return Cost(
        target.name,
        sum(cost.milliseconds for cost in costs),
        sum(cost.macs for cost in costs),
        sum(cost.bytes for cost in costs),
        tuple(costs),
    )


def _cost(npu: Npu, name: str, op: str, dtype: str, *, size: int, kernel: Kernel | None = None) -> LayerCost:
    """``size``: bytes to and from DRAM."""
    cycles, macs = (kernel.cycles(npu, dtype), kernel.macs) if kernel else (0.0, 0)
    compute, memory = (count / npu.clock * 1e-6 for count in (cycles, size / npu.memory))
    return LayerCost(name, op, dtype, macs, size, compute, memory, max(compute, memory))


def layers(path: Path) -> tuple[Layer, ...]:
    """The layers of a simplified ONNX model in the order they run. ModelError where a shape is not fixed."""
    return layers_of(onnx.load(str(path)), path.name)


def layers_of(proto: Any, name: str) -> tuple[Layer, ...]:
    """The same of a ModelProto; ``name`` is for messages."""
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
    found: list[Layer] = []
    at: dict[str, int] = {}  # which layer writes a tensor
    readers = _readers(graph)
    for node in graph.node:
        if node.op_type in FREE:
            continue
        made = _layer(node, shapes | constants, constants, name)
        host = _host(node, made, found, at, readers)
        if host is not None:
            del at[found[host].writes[0].name]
            found[host] = _fuse(found[host], made)
            # A layer runs once all that it reads is there: an addition can wait for a later one than its host.
            found.append(found.pop(host))
            at = {tensor.name: index for index, layer in enumerate(found) for tensor in layer.writes}
        else:
            found.append(made)
            at |= {tensor.name: len(found) - 1 for tensor in made.writes}
    return tuple(found)


def _readers(graph: Any) -> dict[str, int]:
    """How often each tensor is read; the model's outputs are read once more, by whoever asked for them."""
    counts: dict[str, int] = {}
    for name in [*(name for node in graph.node for name in node.input), *(entry.name for entry in graph.output)]:
        counts[name] = counts.get(name, 0) + 1
    return counts


def _host(
    node: Any, made: Layer, found: Sequence[Layer], at: Mapping[str, int], readers: Mapping[str, int]
) -> int | None:
    """Which of the layers ``found`` takes ``node`` in, as rknn-toolkit2 fuses: a convolution whose result nothing else
    reads, with one addition at most and one activation function after it."""
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


def _fuse(host: Layer, made: Layer) -> Layer:
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


def _layer(node: Any, shapes: Mapping[str, Shape], constants: Mapping[str, Shape], model: str) -> Layer:
    def tensor(name: str) -> Tensor:
        shape = shapes.get(name, ())
        if name not in shapes or not all(shape):
            raise ModelError(f"{model}: the shape of {name} ({node.op_type}) is not fixed: simplify the model first")
        channels = shape[1] if len(shape) > 2 else shape[-1] if shape else 1
        return Tensor(name, channels, prod(shape) // max(channels, 1))

    reads = tuple(tensor(name) for name in dict.fromkeys(node.input) if name and name not in constants)
    writes = tuple(tensor(name) for name in node.output if name)
    weights = sum(prod(constants[name]) for name in node.input if name in constants)
    kernel = _kernel(node, shapes) if node.op_type in ("Conv", "Gemm", "MatMul") else None
    return Layer(node.output[0], node.op_type, weights, reads, writes, tuple(node.output), kernel)


def _kernel(node: Any, shapes: Mapping[str, Shape]) -> Kernel:
    attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    result, weight = shapes[node.output[0]], shapes[node.input[1]]
    if node.op_type == "Conv":
        groups = attributes.get("group", 1)
        return Kernel(prod(result[2:]), prod(weight[2:]), weight[1], weight[0] // groups, groups)
    inner = weight[-1] if attributes.get("transB") else weight[-2]
    return Kernel(prod(result[:-1]), 1, inner, result[-1])


def by_kind(cost: Cost) -> Iterator[tuple[str, int, int, int, float]]:
    """(operation, how many, MACs, bytes, milliseconds) of each kind of layer, the most expensive first."""
    kinds: dict[str, list[LayerCost]] = {}
    for layer in cost.layers:
        kinds.setdefault(layer.op, []).append(layer)
    total = {op: sum(layer.milliseconds for layer in found) for op, found in kinds.items()}
    for op in sorted(kinds, key=lambda op: -total[op]):
        found = kinds[op]
        yield (
            op,
            len(found),
            sum(layer.macs for layer in found),
            sum(layer.bytes for layer in found),
            total[op],
        )
