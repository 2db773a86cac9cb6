"""Which inner tensors a debug build shows, and which layers lie between them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from rkface.runtime.core.debug_build import LayerOutput
from rkface.runtime.core.manifest import Role

from .hybrid import tensors_at_ends
from .npu_layers import FOLDED, NpuLayer, find_layers
from .recipe import COARSE, HYBRIDS
from .targets import Target

MOST = 32  # inner tensors of a model: more would hardly narrow the search, and each costs memory on the board
MOVES = frozenset({"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze"})  # the tensor before says the same


@dataclass(frozen=True)
class _Network:
    """The layers of a model in order of execution; ``maker`` has the index of the layer that writes each tensor."""

    layers: tuple[NpuLayer, ...]
    maker: Mapping[str, int]
    outputs: tuple[str, ...]


def choose_outputs(proto: Any, name: str, role: Role, target: Target) -> tuple[LayerOutput, ...]:
    """The outputs of the debug build of a simplified ModelProto: its own, then the chosen inner tensors.

    Inner tensors are the ends of blocks: those that several layers read, and those that everything behind depends on.
    They are results of whole layers, as the NPU computes them, so that showing them takes no layers apart. At most
    MOST, evenly spread. ``name`` is that of the model, for messages; ``target`` decides which recipes are possible.

    Raises ModelError if a shape is not fixed.
    """
    layers = find_layers(proto, name)
    maker = {tensor.name: index for index, layer in enumerate(layers) for tensor in layer.writes}
    network = _Network(layers, maker, tuple(output.name for output in proto.graph.output))
    ends = list(_block_ends(network))
    kept = np.unique(np.linspace(0, len(ends) - 1, min(MOST, len(ends))).round().astype(int)) if ends else []
    shown = (*network.outputs, *(ends[index] for index in kept))
    shapes = _shapes(proto)
    recipes = {} if not target.fp16 else _fp16_tensors(proto, role)
    return tuple(_output(network, tensor, shown, shapes[tensor], recipes) for tensor in shown)


def _block_ends(network: _Network) -> Iterator[str]:
    """Names of inner tensors that several layers read, or that are the only ones that later layers read."""
    last: dict[str, int] = {}
    readers: dict[str, int] = {}
    for index, layer in enumerate(network.layers):
        for tensor in layer.reads:
            last[tensor.name] = index
            readers[tensor.name] = readers.get(tensor.name, 0) + 1
    known, alive = _moved_outputs(network), set[str]()
    for index, layer in enumerate(network.layers):
        alive |= {tensor.name for tensor in layer.writes}
        alive = {name for name in alive if last.get(name, -1) > index}
        for tensor in layer.writes:
            several = readers.get(tensor.name, 0) > 1
            if (several or alive == {tensor.name}) and _is_whole(layer) and tensor.name not in known:
                yield tensor.name


def _moved_outputs(network: _Network) -> set[str]:
    """The outputs of the model, and the tensors that only have to be moved to become one. Shown by themselves, they
    would get an INT8 range of their own, and the output another one."""
    known = set(network.outputs)
    for layer in reversed(network.layers):
        if layer.op in MOVES and any(tensor.name in known for tensor in layer.writes):
            known |= {tensor.name for tensor in layer.reads}
    return known


def _is_whole(layer: NpuLayer) -> bool:
    """Whether the NPU computes ``layer`` as it is. One with a constant operand, such as a BatchNormalization, becomes
    part of the weights of the next layer, unless its result is an output."""
    return layer.op not in MOVES and not (layer.op in FOLDED and len(layer.reads) == 1)


def _output(
    network: _Network,
    tensor: str,
    shown: Collection[str],
    shape: tuple[int, ...],
    recipes: Mapping[str, Collection[str]],
) -> LayerOutput:
    own = network.maker[tensor]
    inside, reads = _between(network, own, shown)
    names = {written.name for index in inside for written in network.layers[index].writes}
    recipe = next((name for name, kept in recipes.items() if names <= set(kept)), "")
    return LayerOutput(
        tensor=tensor,
        op=network.layers[own].op,
        number=own + 1,
        shape=shape,
        inside=tuple(f"{network.layers[index].op} {network.layers[index].writes[0].name}" for index in inside),
        reads=reads,
        recipe=recipe,
    )


def _between(network: _Network, own: int, shown: Collection[str]) -> tuple[list[int], tuple[str, ...]]:
    """The layers from ``shown`` tensors, or from the model's input, to the layer ``own``, by index; and the names of
    these tensors."""
    inside, reads, open = {own}, set(), [own]
    while open:
        for tensor in network.layers[open.pop()].reads:
            maker = network.maker.get(tensor.name)
            if maker is None or tensor.name in shown:
                reads.add(tensor.name)
            elif maker not in inside:
                inside.add(maker)
                open.append(maker)
    return sorted(inside), tuple(sorted(reads, key=lambda name: network.maker.get(name, -1)))


def _fp16_tensors(proto: Any, role: Role) -> dict[str, tuple[str, ...]]:
    """The tensors that recipes with FP16 layers keep in FP16, by name of the recipe, the cheapest first."""
    recipes = COARSE if role == "detector" else HYBRIDS
    return {one.name: tensors_at_ends(proto, one.lead, one.trail, one.coarse) for one in recipes}


def _shapes(proto: Any) -> dict[str, tuple[int, ...]]:
    graph = onnx.shape_inference.infer_shapes(proto).graph
    return {
        entry.name: tuple(dim.dim_value for dim in entry.type.tensor_type.shape.dim)
        for entry in (*graph.value_info, *graph.output)
    }


def write_with_outputs(source: Path, inner: Sequence[LayerOutput], target: Path) -> None:
    """Write the ONNX model ``source`` to ``target`` with the tensors of ``inner`` as further outputs."""
    proto = onnx.load(str(source))
    for one in inner:
        entry = onnx.helper.make_tensor_value_info(one.tensor, onnx.TensorProto.FLOAT, one.shape)
        proto.graph.output.append(entry)
    onnx.save(proto, str(target))
