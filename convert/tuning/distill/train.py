"""Distillation: the quantized model learns to answer as its own FP32 version, on faces that need no label.

This is "Distilling the Knowledge in a Neural Network" (arXiv 1503.02531) with the FP32 model as the teacher and the
same model under fake quantization as the student, as in "Quantized Feature Distillation" (arXiv 2307.10638).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from rkface.runtime.backends.reference import normalize
from rkface.runtime.core.manifest import Input

from .augment import augment
from .checkpoint import Checkpoint
from .graph import TorchGraph
from .student import Student

Images = NDArray[np.uint8]

SEED = 0
BATCH = 12  # faces for each update
EVALUATE_EVERY = 25  # updates
COSINE_WEIGHT, INNER_WEIGHT = 10.0, 1.0  # of the parts of the loss; the length of the embedding has 1
STOPPING_SHARE = 4  # one face in four is held out to stop on
STOPPING_COPIES = 3  # each as it is, and in two augmented versions
ACTIVATION_BYTES = 1_000_000_000  # of tensors that wait for the gradient
BYTES_KEPT = 16  # for each number of an activation: itself, its rounding error, masks and gradients


@dataclass(frozen=True)
class Schedule:
    """How long to learn: at most ``steps`` updates, and at most ``seconds`` in this process."""

    steps: int
    seconds: float


@dataclass(frozen=True)
class Lesson:
    """What the student learns from.

    teacher    constants of the FP32 model, for the student's graph
    variances  of the residual sums, by name, in FP32
    input      of the model
    faces      N×H×W×3 uint8 RGB, to learn on
    stopping   M×H×W×3 uint8 RGB of other people, to choose the best state on
    """

    teacher: Mapping[str, Tensor]
    variances: Mapping[str, float]
    input: Input
    faces: Images
    stopping: Images


@dataclass(frozen=True)
class Learned:
    """What learning gave: mean cosine errors (1 - cosine) on the stopping faces, before and with the best state, and
    the updates that were made and that led to the best state."""

    before: float
    after: float
    steps: int
    best_step: int


def hold_out(faces: Images, embeddings: NDArray[np.float32]) -> tuple[Images, Images]:
    """Faces to learn on, and faces of other people to stop on: one in four.

    ``embeddings`` (N×D) are FP32's. Faces are sorted along the first principal direction of the embeddings, and one end
    is held out: faces of one person, and faces in the same pose, are neighbors there, so that few people are on both
    sides.
    """
    units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    direction = np.linalg.svd(units - units.mean(axis=0), full_matrices=False)[2][0]
    order = np.argsort(units @ direction, kind="stable")
    held = max(1, len(faces) // STOPPING_SHARE)
    return faces[np.sort(order[held:])], faces[np.sort(order[:held])]


def with_augmented(faces: Images) -> Images:
    """``faces``, then two augmented versions of each."""
    random = np.random.default_rng((SEED, len(faces)))
    copies = [augment(face, random) for _ in range(STOPPING_COPIES - 1) for face in faces]
    return np.concatenate([faces, np.stack(copies)])


def learn(
    student: Student,
    lesson: Lesson,
    schedule: Schedule,
    checkpoint: Checkpoint,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Learned:
    """Train ``student`` and leave it in the state that is best on ``lesson.stopping``.

    The state is saved to ``checkpoint`` at every evaluation; a saved one is continued, and gives what an uninterrupted
    run gives. With the same number of threads, the result depends on nothing else, unless the time runs out.
    """
    end = time.monotonic() + schedule.seconds
    micro = _micro_batch(student.graph, lesson)
    target = _embed(lesson.stopping, lesson.input, lambda images: student.graph.run(images, lesson.teacher), student)
    optimizer = student.optimizer()
    state = checkpoint.load()
    if state is None:
        error = _error(student, lesson, target)
        state = {"step": 0, "before": error, "best": student.state(), "best_error": error, "best_step": 0}
    else:
        student.load(state["now"])
        optimizer.load_state_dict(state["optimizer"])
    while state["step"] < schedule.steps and time.monotonic() < end:
        step = state["step"]
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * (1 + math.cos(math.pi * step / schedule.steps)) / 2
        optimizer.zero_grad()
        for part in _parts(_draw_faces(lesson, step), micro):
            loss = _loss(student, lesson, part) * (len(part) / BATCH)
            loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        state["step"] = step + 1
        progress(step + 1, schedule.steps)
        if state["step"] % EVALUATE_EVERY == 0 or state["step"] == schedule.steps:
            error = _error(student, lesson, target)
            if error < state["best_error"]:
                state |= {"best": student.state(), "best_error": error, "best_step": state["step"]}
            checkpoint.save(state | {"now": student.state(), "optimizer": optimizer.state_dict()})
    student.load(state["best"])
    return Learned(state["before"], state["best_error"], state["step"], state["best_step"])


def to_tensor(images: Images, input: Input) -> Tensor:
    """N×3×H×W float32, normalized, from N×H×W×3 uint8 RGB."""
    return torch.from_numpy(normalize(images, input))


def _draw_faces(lesson: Lesson, step: int) -> Tensor:
    """The faces of update ``step``: drawn and augmented by a generator of its own, so that no state of it is saved."""
    random = np.random.default_rng((SEED, step))
    chosen = random.integers(0, len(lesson.faces), BATCH)
    return to_tensor(np.stack([augment(lesson.faces[index], random) for index in chosen]), lesson.input)


def _loss(student: Student, lesson: Lesson, images: Tensor) -> Tensor:
    """How far the student's embeddings of ``images`` are from the teacher's, by direction and by length, and how far
    the residual sums, as a share of their variance."""
    inner = lesson.variances
    with torch.no_grad():
        expected = student.graph.run(images, lesson.teacher, keep=inner)
    found = student.run(images, student.rounded_constants(), inner)
    before, after = expected[student.graph.output], found[student.graph.output]
    loss = COSINE_WEIGHT * (1 - functional.cosine_similarity(before, after)).mean()
    loss = loss + ((after - before).norm(dim=1) / before.norm(dim=1)).square().mean()
    for name in inner:
        difference = (found[name] - expected[name]).square().mean()
        loss = loss + INNER_WEIGHT / len(inner) / inner[name] * difference
    return loss


def _error(student: Student, lesson: Lesson, target: Tensor) -> float:
    """Mean of 1 - cosine on the stopping faces, whose FP32 embeddings are ``target``."""
    with torch.no_grad():
        constants = student.rounded_constants()
    found = _embed(lesson.stopping, lesson.input, lambda images: student.run(images, constants), student)
    return float((1 - functional.cosine_similarity(target, found)).mean())


def _embed(images: Images, input: Input, run: Callable[[Tensor], dict[str, Tensor]], student: Student) -> Tensor:
    with torch.no_grad():
        return torch.cat([run(part)[student.graph.output] for part in _parts(to_tensor(images, input), BATCH)])


def _parts(images: Tensor, size: int) -> Iterator[Tensor]:
    yield from images.split(size)


def _micro_batch(graph: TorchGraph, lesson: Lesson) -> int:
    """How many faces are computed together, 1 to BATCH, so that memory suffices."""
    numbers = 0

    def count(name: str, values: Tensor) -> Tensor:
        nonlocal numbers
        numbers += values.numel()
        return values

    with torch.no_grad():
        graph.run(to_tensor(lesson.faces[:1], lesson.input), lesson.teacher, count)
    return int(min(BATCH, max(1, ACTIVATION_BYTES // (BYTES_KEPT * numbers))))

