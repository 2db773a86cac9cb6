"""The recipe ``distilled``: a tuned model whose weights, biases and ranges are learned against FP32 (train.py).

The NPU runs exactly as many operations as before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from rkface.runtime.core.manifest import Input
from rkface.runtime.vision.image import read_image

from ...image_lists import read_image_list, to_rgb
from .checkpoint import Checkpoint
from .graph import TorchGraph, read_graph, rounded_tensors
from .student import Range, create_student
from .train import BATCH, Lesson, Schedule, hold_out, learn, to_tensor, with_augmented

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class DistillStart:
    """Where distillation begins.

    model    a tuned ONNX model
    biases   by name: FP32's values of the biases that tuning has corrected in ``model``
    factors  by name of a tensor: what the observed range is multiplied by
    margin   the same for all other tensors
    """

    model: Path
    biases: Mapping[str, Floats]
    factors: Mapping[str, float]
    margin: float = 1.0


@dataclass(frozen=True)
class DistilledModel:
    """A distilled model.

    path           its ONNX file
    ranges         the exact INT8 ranges of its tensors, by name
    before, after  mean of 1 - cosine on faces that were held out, under fake quantization
    steps          the updates that were made
    best_step      the update after which the model is used
    stopping       the faces that were held out, N×H×W×3 uint8 RGB, saved by numpy.save
    """

    path: Path
    ranges: Mapping[str, Range]
    before: float
    after: float
    steps: int
    best_step: int
    stopping: Path


@dataclass
class _Statistics:
    """Of one tensor over all images: its range, and mean and variance over all values."""

    low: float = 0.0
    high: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    count: int = 0

    def add(self, values: Tensor) -> None:
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        self.total += float(values.sum())
        self.squares += float(values.square().sum())
        self.count += values.numel()

    @property
    def variance(self) -> float:
        return max(self.squares / self.count - (self.total / self.count) ** 2, 1e-12)


def distill(
    start: DistillStart,
    input: Input,
    dataset: Path,
    target: Path,
    checkpoint: Checkpoint,
    schedule: Schedule,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> DistilledModel:
    """Write ``start``'s model to ``target``, distilled on the faces of the calibration list ``dataset``.

    Three faces in four are learned from, the others decide which state is used. An interrupted call continues at
    ``checkpoint``. Raises WorkError if the model has an operator that is not supported.
    """
    proto = onnx.load(str(start.model))
    graph = read_graph(proto)
    teacher = graph.constants | {name: torch.from_numpy(values.copy()) for name, values in start.biases.items()}
    images = to_rgb(read_image(path) for path in read_image_list(dataset))
    seen, embeddings = _observe(graph, teacher, images, input)
    faces, stopping = hold_out(images, embeddings)
    stopping = with_augmented(stopping)
    groups = rounded_tensors(graph)
    ranges = {name: _range(seen[name], start.factors.get(name, start.margin)) for name in groups if name in seen}
    ranges[graph.input] = _input_range(input)
    student = create_student(graph, ranges, {name: one.variance**0.5 for name, one in seen.items()})
    sums = {step.output: seen[step.output].variance for step in graph.steps if step.operator == "Add"}
    learned = learn(student, Lesson(teacher, sums, input, faces, stopping), schedule, checkpoint, progress)
    constants = student.constants()
    _write_constants(proto, {name: constants[name].detach().numpy() for name in student.changes})
    onnx.save(proto, str(target))
    np.save(saved := target.with_suffix(".stopping.npy"), stopping)
    exact = {}
    for name in student.ends:
        low, high = (float(end.detach()) for end in student.learned_range(name))
        exact |= dict.fromkeys((name, *groups[name]), (low, high))
    return DistilledModel(target, exact, learned.before, learned.after, learned.steps, learned.best_step, saved)


def _observe(
    graph: TorchGraph, constants: Mapping[str, Tensor], images: NDArray[np.uint8], input: Input
) -> tuple[dict[str, _Statistics], Floats]:
    """Every computed tensor over ``images``, by name, and the embeddings."""
    seen: dict[str, _Statistics] = {step.output: _Statistics() for step in graph.steps}

    def add(name: str, values: Tensor) -> Tensor:
        if name != graph.input:
            seen[name].add(values)
        return values

    with torch.no_grad():
        parts = [graph.run(part, constants, add)[graph.output] for part in to_tensor(images, input).split(BATCH)]
    return seen, torch.cat(parts).flatten(1).numpy()


def _range(seen: _Statistics, factor: float) -> Range:
    """The range for INT8, which contains 0; never empty."""
    return seen.low * factor, max(seen.high * factor, 1e-6)


def _input_range(input: Input) -> Range:
    mean, std = np.asarray(input.mean), np.asarray(input.std)
    return float(min(((0 - mean) / std).min(), 0)), float(max(((255 - mean) / std).max(), 0))


def _write_constants(proto: Any, values: Mapping[str, Floats]) -> None:
    for tensor in proto.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(values[tensor.name]), tensor.name))
