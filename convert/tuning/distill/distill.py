"""Distills a tuned model: chooses where to begin, learns (train.py), and writes the model and its ranges.

The NPU runs exactly as many operations as before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from rkface.runtime.core.manifest import Input
from rkface.runtime.vision.image import read_image

from ...image_lists import read_image_list, to_rgb
from .checkpoint import open_checkpoint
from .graph import TorchGraph, read_graph, rounded_tensors
from .job import DistilledModel, DistillJob, DistillStart, Floats
from .student import Range, Student, create_student
from .train import BATCH, Lesson, SplitFaces, hold_out, learn, measure_error, to_tensor, with_augmented

Images = NDArray[np.uint8]


@dataclass
class _Statistics:
    """Of one tensor over all images: its range, and what its variance follows from."""

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


@dataclass(frozen=True)
class _Beginning:
    """A start that is ready to learn: the student and what it learns from."""

    student: Student
    lesson: Lesson


def distill(job: DistillJob, progress: Callable[[int, int], None] = lambda done, total: None) -> DistilledModel:
    """Run ``job``; ``progress`` gets the number of updates that are finished and that this run has to do.

    Raises WorkError if the model has an operator that is not supported, or the state cannot be saved.
    """
    images = to_rgb(read_image(path) for path in read_image_list(job.dataset))
    faces = _split(job.starts[0], job.input, images)
    state = open_checkpoint(job.checkpoints, job.key).load()
    if not state:
        errors = [_measure_start(start, job.input, images, faces) for start in job.starts]
        state = {"start": int(np.argmin(errors)), "before": min(errors)}
    begun = _begin(job.starts[state["start"]], job.input, images, faces)
    learned = learn(begun.student, begun.lesson, job, state, progress)
    student = begun.student
    proto = onnx.load(str(job.starts[state["start"]].model))  # again: it was not in memory while learning
    constants = student.constants()
    _write_constants(proto, {name: constants[name].detach().numpy() for name in student.changes})
    onnx.save(proto, str(job.target))
    groups = rounded_tensors(student.graph)
    ranges: dict[str, Range] = {}
    for name in student.ends:
        low, high = (float(end.detach()) for end in student.learned_range(name))
        ranges |= dict.fromkeys((name, *groups[name]), (low, high))
    return DistilledModel(
        path=job.target,
        ranges=ranges,
        start=state["start"],
        before=learned.before,
        after=learned.after,
        steps=learned.steps,
        best_step=learned.best_step,
        held_out=faces.stop,
        expected=faces.expected.numpy(),
    )


def _split(start: DistillStart, input: Input, images: Images) -> SplitFaces:
    """``images``, divided by the embeddings of the FP32 version of ``start``, which is that of all starts."""
    graph = read_graph(onnx.load(str(start.model)))
    teacher = _teacher(graph, start)
    faces, stopping = hold_out(images, _observe(graph, teacher, images, input)[1])
    stopping = with_augmented(stopping)
    return SplitFaces(faces, stopping, torch.from_numpy(_observe(graph, teacher, stopping, input)[1]))


def _teacher(graph: TorchGraph, start: DistillStart) -> dict[str, Tensor]:
    """The constants of the FP32 version of ``start``, whose graph is ``graph``."""
    return graph.constants | {name: torch.from_numpy(np.array(values)) for name, values in start.biases.items()}


def _measure_start(start: DistillStart, input: Input, images: Images, faces: SplitFaces) -> float:
    """The error of ``start`` on the held-out faces. Only one start at a time is in memory."""
    begun = _begin(start, input, images, faces)
    return measure_error(begun.student, begun.lesson)


def _begin(start: DistillStart, input: Input, images: Images, faces: SplitFaces) -> _Beginning:
    """``start``, with its own FP32 version as the teacher, and with the ranges that calibration gives it."""
    graph = read_graph(onnx.load(str(start.model)))
    teacher = _teacher(graph, start)
    seen, _ = _observe(graph, teacher, images, input)
    ranges = {
        name: _range(seen[name], start.widened.get(name, (0.0, 0.0)), start.factors.get(name, 1.0))
        for name in rounded_tensors(graph)
        if name in seen
    }
    ranges[graph.input] = _input_range(input)
    student = create_student(graph, ranges, {name: one.variance**0.5 for name, one in seen.items()})
    sums = {step.output: seen[step.output].variance for step in graph.steps if step.operator == "Add"}
    return _Beginning(student, Lesson(teacher, sums, input, faces))


def _observe(
    graph: TorchGraph, constants: Mapping[str, Tensor], images: Images, input: Input
) -> tuple[dict[str, _Statistics], Floats]:
    """Every computed tensor over ``images``, by name, and the embeddings, N×D."""
    seen: dict[str, _Statistics] = {step.output: _Statistics() for step in graph.steps}

    def add(name: str, values: Tensor) -> Tensor:
        if name != graph.input:
            seen[name].add(values)
        return values

    with torch.no_grad():
        parts = [graph.run(part, constants, add)[graph.output] for part in torch.split(to_tensor(images, input), BATCH)]
    return seen, torch.cat(parts).flatten(1).numpy()


def _range(seen: _Statistics, widened: Range, factor: float) -> Range:
    """The range for INT8, which contains 0; never empty."""
    return min(seen.low, widened[0]) * factor, max(max(seen.high, widened[1]) * factor, 1e-6)


def _input_range(input: Input) -> Range:
    """The range of normalized pixels, extended to contain 0."""
    mean, std = np.asarray(input.mean), np.asarray(input.std)
    return float(min(((0 - mean) / std).min(), 0)), float(max(((255 - mean) / std).max(), 0))


def _write_constants(proto: Any, values: Mapping[str, Floats]) -> None:
    for tensor in proto.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(values[tensor.name]), tensor.name))
