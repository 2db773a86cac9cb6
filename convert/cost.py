"""Predicts how long a model takes on an NPU, from its graph, to rank recipes. Nothing is measured.

This is the roofline model (Williams, Waterman, Patterson: "Roofline", CACM 52(4), 2009): a layer takes the longer of
its arithmetic and its memory traffic. convert/targets.py says what an NPU core does in a cycle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .npu_layers import BYTES, MacKernel, NpuLayer
from .targets import Npu, Target

ASSUMPTIONS = (
    "one core, at its highest clock; nothing else uses the memory, and layers do not overlap",
    "a layer takes the longer of arithmetic and DRAM traffic, counted as rknn-toolkit2's own compiler counts them",
    "every layer reads its inputs from DRAM and writes its outputs to DRAM; weights are read once per inference",
    "activation functions, constant scales and one addition are fused with the convolution before them",
    "other layers (pooling, resizing, BatchNormalization, transposes) cost their memory traffic and no arithmetic",
    "if neighboring layers differ in precision, the tensor between them is read and written once more",
    "not counted: start-up of layers, splitting of large ones, work on the CPU, driver and library",
)


@dataclass(frozen=True)
class LayerCost:
    """The predicted cost of one layer. ``milliseconds`` is the longer of compute and memory time; ``bytes`` counts DRAM
    traffic. A change of precision between two layers is a layer "Convert"."""

    name: str
    op: str
    dtype: str
    macs: int
    bytes: int
    compute_ms: float
    memory_ms: float
    milliseconds: float


@dataclass(frozen=True)
class ModelCost:
    """The predicted cost of one inference on one core of ``target``: the sums over ``layers``."""

    target: str
    milliseconds: float
    macs: int
    bytes: int
    layers: tuple[LayerCost, ...]


def estimate_cost(
    layers: Sequence[NpuLayer], target: Target, dtype: str = "w8a8", kept: Mapping[str, str] | None = None
) -> ModelCost:
    """Predict the cost of ``layers`` on ``target`` in ``dtype`` (rknn-toolkit2's names: w8a8, fp16 or w16a16i_dfp).

    ``kept`` maps some tensors to another type, as in a hybrid model: the layer that computes such a tensor computes and
    writes in that type. Raises ValueError if a type is unknown, or if the NPU does not support it.
    """
    kept, npu = kept or {}, target.npu
    stored: dict[str, set[str]] = {}  # the types in which each tensor is in memory
    costs: list[LayerCost] = []
    for layer in layers:
        own = next((kept[name] for name in layer.inner if name in kept), dtype)
        if own not in BYTES:
            raise ValueError(f"unknown type {own!r}: choose from {', '.join(BYTES)}")
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
    return ModelCost(
        target.name,
        sum(cost.milliseconds for cost in costs),
        sum(cost.macs for cost in costs),
        sum(cost.bytes for cost in costs),
        tuple(costs),
    )


def _cost(npu: Npu, name: str, op: str, dtype: str, *, size: int, kernel: MacKernel | None = None) -> LayerCost:
    """``size``: bytes read from and written to DRAM."""
    cycles, macs = (kernel.cycles(npu, dtype), kernel.macs) if kernel else (0.0, 0)
    compute, memory = (count / npu.clock * 1e-6 for count in (cycles, size / npu.memory))
    return LayerCost(name, op, dtype, macs, size, compute, memory, max(compute, memory))


@dataclass(frozen=True)
class OperationCost:
    """The sums over all layers of one operation."""

    op: str
    count: int
    macs: int
    bytes: int
    milliseconds: float


def cost_by_operation(cost: ModelCost) -> Iterator[OperationCost]:
    """The cost of each kind of operation, the most expensive first."""
    kinds: dict[str, list[LayerCost]] = {}
    for layer in cost.layers:
        kinds.setdefault(layer.op, []).append(layer)
    total = {op: sum(layer.milliseconds for layer in found) for op, found in kinds.items()}
    for op in sorted(kinds, key=lambda op: -total[op]):
        found = kinds[op]
        yield OperationCost(
            op,
            len(found),
            sum(layer.macs for layer in found),
            sum(layer.bytes for layer in found),
            total[op],
        )
