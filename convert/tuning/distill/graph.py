"""Runs an ONNX graph in torch, a batch at a time, so that gradients reach its weights.

onnx2torch would do the first half, but it needs torchvision, and its modules do not keep the names of the tensors, by
which the toolkit takes ranges and by which learned weights are written back. Recognizers use few operators.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import onnx
import torch
from torch import Tensor

from rkface.runtime.core.errors import WorkError

from .operators import MOVES, OPERATORS, Attributes

# The NPU computes these together with the layer before them, whose own output it never rounds.
FUSED = frozenset({"Clip", "LeakyRelu", "PRelu", "Relu"})

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Step:
    """One node: ``output`` = ``operator``(``inputs``); an input that is left out has the name ""."""

    operator: str
    inputs: tuple[str, ...]
    output: str
    options: Attributes


@dataclass(frozen=True)
class Layer:
    """A layer with weights: the names of its constants, and the axis of its output channels in ``weight``.

    ``bias`` is "" if it has none.
    """

    output: str
    weight: str
    bias: str
    axis: int


@dataclass(frozen=True)
class TorchGraph:
    """A graph with one input and one output.

    steps      in the order of execution
    constants  the weights and all other constants, by name
    """

    input: str
    output: str
    steps: tuple[Step, ...]
    constants: dict[str, Tensor]

    @property
    def layers(self) -> list[Layer]:
        """The layers whose weights the toolkit rounds."""
        found = []
        for step in self.steps:
            weight, bias = (*step.inputs[1:], "")[:2] if len(step.inputs) > 1 else ("", "")
            if step.operator in ("Conv", "Gemm", "MatMul") and weight in self.constants:
                across = step.operator == "MatMul" or (step.operator == "Gemm" and not step.options.get("transB", 0))
                found.append(Layer(step.output, weight, bias if bias in self.constants else "", int(across)))
        return found

    def readers(self, name: str) -> list[Step]:
        """The steps that read the tensor ``name``."""
        return [step for step in self.steps if name in step.inputs]

    def run(
        self,
        images: Tensor,
        constants: Tensors,
        round_tensor: Callable[[str, Tensor], Tensor] = lambda name, values: values,
        keep: Collection[str] = (),
    ) -> dict[str, Tensor]:
        """The output, and the tensors ``keep``, for ``images`` (N×3×H×W, normalized), by name.

        ``constants`` are used instead of the graph's own. ``round_tensor`` changes each computed tensor.
        """
        values: dict[str, Tensor] = {self.input: round_tensor(self.input, images)}
        left = {name: index for index, step in enumerate(self.steps) for name in step.inputs}
        kept = {*keep, self.output}
        for index, step in enumerate(self.steps):
            given = [values[name] if name in values else constants.get(name) for name in step.inputs]
            values[step.output] = round_tensor(step.output, OPERATORS[step.operator](given, step.options))
            for name in step.inputs:  # memory: a tensor that nobody reads again
                if left[name] == index and name not in kept:
                    values.pop(name, None)
        return {name: values[name] for name in kept}


def read_graph(proto: Any) -> TorchGraph:
    """The graph of ``proto``, a simplified ModelProto. Raises WorkError if it has an operator that is not supported."""
    constants = {one.name: _tensor(one) for one in proto.graph.initializer}
    steps = []
    for node in proto.graph.node:
        options = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        if node.op_type == "Constant":
            constants[node.output[0]] = _tensor(options["value"])
        elif node.op_type not in OPERATORS:
            raise WorkError(f"the model cannot be distilled: the operator {node.op_type} is not supported")
        else:
            steps.append(Step(node.op_type, tuple(node.input), node.output[0], options))
    inputs = [one.name for one in proto.graph.input if one.name not in constants]
    if len(inputs) != 1 or len(proto.graph.output) != 1:
        raise WorkError("the model cannot be distilled: it must have one input and one output")
    return TorchGraph(inputs[0], proto.graph.output[0].name, tuple(steps), constants)


def rounded_tensors(graph: TorchGraph) -> dict[str, tuple[str, ...]]:
    """The tensors that the NPU rounds to INT8, each with the other tensors that have the same range.

    A layer and the activation function after it are one operation on the NPU. Relu and Clip share their range with the
    layer. PRelu and LeakyRelu do not, and there the toolkit ignores the layer's own range. Tensors that are only moved
    keep their range.
    """
    source: dict[str, str] = {}
    for step in graph.steps:
        same = step.operator in MOVES - {"Concat"} and step.inputs[0] not in graph.constants
        source[step.output] = source.get(step.inputs[0], step.inputs[0]) if same else step.output
    found: dict[str, tuple[str, ...]] = {graph.input: ()}
    for step in graph.steps:
        readers = graph.readers(step.output)
        if readers and all(one.operator in FUSED for one in readers):
            continue
        if source[step.output] == step.output:
            before = step.inputs[:1] if step.operator in ("Relu", "Clip") else ()
            found[step.output] = tuple(name for name in before if len(graph.readers(name)) == 1)
        else:
            found[source[step.output]] = (*found.get(source[step.output], ()), step.output)
    return found


def _tensor(proto: Any) -> Tensor:
    return torch.from_numpy(onnx.numpy_helper.to_array(proto).copy())
