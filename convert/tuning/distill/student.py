"""The quantized model while it learns: weights, biases and ranges as parameters, and rounding in between."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .fake_quant import round_activations, round_weights, weight_scales
from .graph import TorchGraph

# Learning rates of Adam, in units of each parameter: of an INT8 step of the channel for weights, of a thirtieth of the
# layer's standard deviation for biases, and of the logarithm of the range's ends. 240 updates at these rates can move
# a weight by 1.2 steps, and the end of a range by a third.
WEIGHT_RATE, BIAS_RATE, RANGE_RATE = 0.01, 0.01, 0.003
BIAS_UNITS = 30  # to a standard deviation

Range = tuple[float, float]


@dataclass(frozen=True)
class Student:
    """The parameters of a model that learns, each a change from where it began, in its own unit.

    graph    the model where it begins
    ranges   the range of each rounded tensor where it begins; the input is among them, and keeps its range
    changes  by name of the constant: what is added, in ``units``
    units    by name of the constant
    ends     by name of the tensor: logarithms of the factors for the low and the high end of its range
    """

    graph: TorchGraph
    ranges: Mapping[str, Range]
    changes: dict[str, Tensor]
    units: dict[str, Tensor]
    ends: dict[str, Tensor]

    def constants(self) -> dict[str, Tensor]:
        """All constants of the graph with the changes applied, and not rounded."""
        moved = {name: self.graph.constants[name] + change * self.units[name] for name, change in self.changes.items()}
        return self.graph.constants | moved

    def rounded_constants(self) -> dict[str, Tensor]:
        """``constants`` with weights rounded as on the NPU."""
        constants = self.constants()
        return constants | {one.weight: round_weights(constants[one.weight], one.axis) for one in self.graph.layers}

    def learned_range(self, name: str) -> tuple[Tensor, Tensor]:
        """The low and the high end of the range of the tensor ``name``."""
        low, high = (torch.tensor(end) for end in self.ranges[name])
        if name in self.ends:
            low, high = low * self.ends[name][0].exp(), high * self.ends[name][1].exp()
        return low, high

    def run(self, images: Tensor, constants: Mapping[str, Tensor], keep: Collection[str] = ()) -> dict[str, Tensor]:
        """The output and the tensors ``keep``, as INT8 computes them with ``constants``, already rounded."""

        def round_tensor(name: str, values: Tensor) -> Tensor:
            return round_activations(values, *self.learned_range(name)) if name in self.ranges else values

        return self.graph.run(images, constants, round_tensor, keep)

    def optimizer(self, pace: float = 1.0) -> torch.optim.Adam:
        """A new optimizer for all parameters, with its learning rates at the start in ``initial_lr``: those of weights
        and biases times ``pace``."""
        layers = self.graph.layers
        weights = [self.changes[name] for name in dict.fromkeys(one.weight for one in layers)]
        biases = [self.changes[name] for name in dict.fromkeys(one.bias for one in layers if one.bias)]
        groups = [(weights, pace * WEIGHT_RATE), (biases, pace * BIAS_RATE), (list(self.ends.values()), RANGE_RATE)]
        return torch.optim.Adam(
            [{"params": params, "lr": rate, "initial_lr": rate} for params, rate in groups if params],
            betas=(0.9, 0.99),  # the second moment over 100 updates, since there are only a few hundred
        )

    def state(self) -> dict[str, dict[str, Tensor]]:
        """All parameters. They are not copied: they change with the next update."""
        return {
            kind: {name: value.detach() for name, value in values.items()}
            for kind, values in (("changes", self.changes), ("ends", self.ends))
        }

    def load(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Set all parameters to those that ``state`` returned."""
        with torch.no_grad():
            for kind, values in (("changes", self.changes), ("ends", self.ends)):
                for name, value in values.items():
                    value.copy_(state[kind][name])


def create_student(graph: TorchGraph, ranges: Mapping[str, Range], deviations: Mapping[str, float]) -> Student:
    """A student that begins with ``graph`` and ``ranges``. ``deviations``: the standard deviation of the output of each
    layer, by name."""
    changes: dict[str, Tensor] = {}
    units: dict[str, Tensor] = {}
    for layer in graph.layers:
        weights = graph.constants[layer.weight]
        units[layer.weight] = weight_scales(weights, layer.axis)[0]
        changes[layer.weight] = torch.zeros_like(weights, requires_grad=True)
        if layer.bias:
            units[layer.bias] = torch.tensor(max(deviations[layer.output] / BIAS_UNITS, 1e-9))
            changes[layer.bias] = torch.zeros_like(graph.constants[layer.bias], requires_grad=True)
    ends = {name: torch.zeros(2, requires_grad=True) for name in ranges if name != graph.input}
    return Student(graph, ranges, changes, units, ends)
