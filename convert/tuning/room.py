"""Larger INT8 ranges for the tensors of a recognizer where that costs nearly nothing.

A person with a rare feature can have values in an inner layer that are three times as large as on any face that
calibrates. A larger range leaves room for them and makes steps larger. How much a tensor's steps matter differs widely,
in dlib's ResNet-29 by a factor of 1,800, so the room goes where it is cheap.

Rounding adds an error to each value whose variance is step² / 12. The error of the embedding, 1 − cosine, is half the
square of its change of direction; to the first order, that is the variance times half the sum of the squared
derivatives of the normalized embedding. One backward pass for a random vector estimates this sum for all tensors
(Hutchinson's estimator).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rkface.runtime.core.manifest import Input

from .distill.fake_quant import STEPS
from .distill.graph import TorchGraph, read_graph, rounded_tensors
from .distill.train import to_tensor

BUDGET = 0.05  # share by which the error of rounding the activations may grow on the faces that calibrate
MOST = 3.0  # times as large: what was seen of people whom calibration did not show (docs/accuracy.md)
FACES = 8  # with 32, no factor of dlib's ResNet-29 differs by more than 0.1
VECTORS = 2  # random vectors for each face

Range = tuple[float, float]


@dataclass(frozen=True)
class RoundedTensor:
    """A tensor that the NPU rounds.

    names     of the tensor, and of all others with the same range
    channels  for each channel, the error of the embedding for each unit of variance that rounding adds to its values
    top       its values cannot be larger
    """

    names: tuple[str, ...]
    channels: NDArray[np.float64]
    top: float

    @property
    def sensitivity(self) -> float:
        """The error of the embedding for each unit of variance that rounding adds to the tensor's values."""
        return float(self.channels.sum())

    def scaled(self, factors: NDArray[np.float32]) -> RoundedTensor:
        """The same in a model that computes each channel multiplied by one of ``factors``, and otherwise the same."""
        return replace(self, channels=self.channels / np.square(factors, dtype=np.float64))


def measure_sensitivity(proto: Any, input: Input, images: NDArray[np.uint8]) -> list[RoundedTensor]:
    """The tensors of the ModelProto ``proto``, a recognizer, on at most FACES of ``images`` (N×H×W×3 uint8 RGB), except
    its input and its result. Raises WorkError if the model has an operator that distillation does not support."""
    graph = read_graph(proto)
    groups = {name: (name, *same) for name, same in rounded_tensors(graph).items() if name != graph.input}
    groups = {name: names for name, names in groups.items() if graph.output not in names}
    chosen = images[:: max(1, len(images) // FACES)][:FACES]
    random = torch.Generator().manual_seed(0)
    sums = {name: np.zeros(1) for name in groups}
    for image in chosen:
        for name, squares in _squared_derivatives(graph, to_tensor(image[None], input), random, groups).items():
            sums[name] = sums[name] + squares / len(chosen)
    tops = {step.output: _top(graph, step.inputs) for step in graph.steps if step.operator == "Clip"}
    return [RoundedTensor(names, sums[name] / 2, tops.get(name, np.inf)) for name, names in groups.items()]


def _squared_derivatives(
    graph: TorchGraph, image: Tensor, random: torch.Generator, names: Collection[str]
) -> dict[str, NDArray[np.float64]]:
    """For each tensor of ``names``, and each of its channels, the sum of the squared derivatives of the normalized
    embedding of ``image`` (1×3×H×W) by its values. A value of exactly 0 is not rounded."""
    watched: dict[str, Tensor] = {}

    def watch(name: str, values: Tensor) -> Tensor:
        if name not in names:
            return values
        # Nothing before the first of these tensors needs derivatives.
        watched[name] = values if values.requires_grad else values.detach().requires_grad_()
        return watched[name]

    embedding = torch.nn.functional.normalize(graph.run(image, graph.constants, watch)[graph.output].flatten(), dim=0)
    nonzero = {name: values.detach() != 0 for name, values in watched.items()}
    found = {name: np.zeros(1) for name in watched}
    for left in reversed(range(VECTORS)):
        vector = torch.randn(embedding.shape, generator=random)
        tensors = list(watched.values())
        derivatives = torch.autograd.grad(vector @ embedding, tensors, retain_graph=left > 0, allow_unused=True)
        for name, values in zip(watched, derivatives, strict=True):
            if values is not None:  # the embedding depends on it
                channels = (values * nonzero[name]).reshape(values.shape[1], -1)
                found[name] = (
                    found[name] + np.square(torch.linalg.vector_norm(channels, dim=1).double().numpy()) / VECTORS
                )
    return found


def _top(graph: TorchGraph, inputs: tuple[str, ...]) -> float:
    """The upper limit of a Clip with these ``inputs``."""
    limit = graph.constants.get((*inputs, "", "")[2])
    return np.inf if limit is None else float(limit)


def find_room(tensors: list[RoundedTensor], ranges: Mapping[str, Range]) -> dict[str, float]:
    """What to multiply the ``ranges`` of ``tensors`` by, by name, each 1 to MOST, so that the error grows by BUDGET.

    All that are made larger then cost the same: this is where the product of the factors is largest. No range is made
    larger if a sensitivity is not finite, as that of an embedding of zeros.
    """
    known = [one for one in tensors if one.names[0] in ranges]
    costs = np.array([one.sensitivity * _step(ranges[one.names[0]]) ** 2 / 12 for one in known])
    if not np.isfinite(costs).all():
        return {}
    most = np.array([min(MOST, max(1.0, one.top / max(ranges[one.names[0]][1], 1e-30))) for one in known])

    def factors(level: float) -> NDArray[np.float64]:
        return np.asarray(np.clip(np.sqrt(level / np.maximum(costs, 1e-30)), 1.0, most))

    low, high = 0.0, float(costs.max(initial=0)) * MOST**2
    for _ in range(60):  # bisection
        level = (low + high) / 2
        if (costs * (factors(level) ** 2 - 1)).sum() > BUDGET * costs.sum():
            high = level
        else:
            low = level
    # Rounded, so that the last bit of a sum does not decide about the converted model.
    return {
        name: factor
        for one, factor in zip(known, np.round(factors(low), 2).tolist(), strict=True)
        for name in one.names
        if factor > 1
    }


def _step(ends: Range) -> float:
    return (ends[1] - ends[0]) / STEPS
