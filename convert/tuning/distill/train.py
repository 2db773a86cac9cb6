"""Distillation: the quantized model learns to answer as its own FP32 version, on faces that need no label.

This is "Distilling the Knowledge in a Neural Network" (arXiv 1503.02531) with the FP32 model as the teacher and the
same model under fake quantization as the student, as in "Quantized Feature Distillation" (arXiv 2307.10638).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from rkface.runtime.backends.reference import normalize
from rkface.runtime.core.manifest import Input

from .augment import augment
from .checkpoint import open_checkpoint
from .graph import TorchGraph
from .job import DistillJob
from .student import Student

Images = NDArray[np.uint8]

SEED = 0
BATCH = 12  # faces for each update
EVALUATE_EVERY = 25  # updates
COSINE_WEIGHT, INNER_WEIGHT = 10.0, 1.0  # of the parts of the loss; the length of the embedding has 1
WARM_UP = 0.05  # share of the updates
# If the error is so many times as large as at the beginning, weights and biases are set back to the best state, and
# learn so much more slowly: with many weights and few faces, they follow noise (ResNet-29, docs/accuracy.md).
HARM, SLOWER = 1.1, 0.1
STOPPING_SHARE = 4  # one face in four is held out to stop on
STOPPING_COPIES = 3  # each as it is, and in two augmented versions
ACTIVATION_BYTES = 700_000_000  # of tensors that wait for the gradient
BYTES_KEPT = 16  # for each number of an activation: itself, its rounding error, masks and gradients


@dataclass(frozen=True)
class SplitFaces:
    """Calibration faces.

    learn     N×H×W×3 uint8 RGB, to learn on
    stop      M×H×W×3 uint8 RGB of other people, to choose the best state on
    expected  M×D: FP32's embeddings of ``stop``
    """

    learn: Images
    stop: Images
    expected: Tensor


@dataclass(frozen=True)
class Lesson:
    """What the student learns from.

    teacher    constants of the FP32 model, for the student's graph
    variances  of the residual sums, by name, in FP32
    input      of the model
    faces      divided into those to learn on and those to stop on
    """

    teacher: Mapping[str, Tensor]
    variances: Mapping[str, float]
    input: Input
    faces: SplitFaces


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

    ``embeddings`` (N×D) are FP32's. Beginning with the first face, the face that is most similar to a held-out one is
    held out next. So all faces of a person are held out before those of another, without a threshold for who is whom,
    and at most one person is on both sides.
    """
    units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    similar = units @ units.T
    held = [0]
    while len(held) < len(faces) // STOPPING_SHARE:
        nearest = similar[held].max(axis=0)
        nearest[held] = -np.inf
        held.append(int(nearest.argmax()))
    rest = [index for index in range(len(faces)) if index not in held]
    return faces[rest], faces[sorted(held)]


def with_augmented(faces: Images) -> Images:
    """``faces``, then two augmented versions of each."""
    random = np.random.default_rng((SEED, len(faces)))
    copies = [augment(face, random) for _ in range(STOPPING_COPIES - 1) for face in faces]
    return np.concatenate([faces, np.stack(copies)])


def learn(
    student: Student,
    lesson: Lesson,
    job: DistillJob,
    state: dict[str, Any],
    progress: Callable[[int, int], None],
) -> Learned:
    """Train ``student`` and leave it in the state that is best on ``lesson.faces.stop``.

    ``state`` is what the checkpoint of ``job`` has, or at a beginning the error "before" any update, and what shall be
    saved besides. It is saved at every evaluation. A run that continues gives what an uninterrupted run gives; the
    result depends on nothing else, except on the number of threads, and on the time if that limits the updates.
    """
    checkpoint = open_checkpoint(job.checkpoints, job.key)
    size = _faces_at_once(student.graph, lesson)
    if "now" in state:
        student.load(state["now"])
        optimizer = student.optimizer(state["pace"])
        optimizer.load_state_dict(state["optimizer"])
    else:
        state |= {"step": 0, "seconds": 0.0, "pace": 1.0, "best": deepcopy(student.state()), "best_step": 0}
        state["best_error"] = state["before"]
        optimizer = student.optimizer()
    begun, start = state["step"], time.monotonic() - state["seconds"]
    while (done := _share_done(state, job)) < 1:
        step = state["step"]
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * _rate(done, step, job.steps)
        optimizer.zero_grad()
        for part in torch.split(_draw_faces(lesson, step), size):
            loss = _loss(student, lesson, part) * (len(part) / BATCH)
            loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        state |= {"step": step + 1, "seconds": time.monotonic() - start}
        if state["step"] % EVALUATE_EVERY == 0 or _share_done(state, job) >= 1:
            error = measure_error(student, lesson)
            if error < state["best_error"]:
                state |= {"best": deepcopy(student.state()), "best_error": error, "best_step": state["step"]}
            elif error > HARM * state["before"]:
                state["pace"] *= SLOWER
                student.load(state["best"])
                optimizer = student.optimizer(state["pace"])
            checkpoint.save(state | {"now": student.state(), "optimizer": optimizer.state_dict()})
        progress(step + 1 - begun, job.steps - begun)
    student.load(state["best"])
    return Learned(state["before"], state["best_error"], state["step"], state["best_step"])


def _share_done(state: Mapping[str, Any], job: DistillJob) -> float:
    """How much of the updates, or of the time if that is scarcer, is used up: from 0."""
    return 1.0 if job.steps == 0 else max(state["step"] / job.steps, state["seconds"] / job.seconds)


def _rate(done: float, step: int, steps: int) -> float:
    """The learning rate of update ``step`` of ``steps``, as a share of the largest: it rises for a twentieth of the
    updates, because Adam knows little about the gradients then, and falls as a cosine of the share that is ``done``."""
    return min(1.0, (step + 1) / (steps * WARM_UP)) * (1 + math.cos(math.pi * done)) / 2


def to_tensor(images: Images, input: Input) -> Tensor:
    """N×3×H×W float32, normalized, from N×H×W×3 uint8 RGB."""
    return torch.from_numpy(normalize(images, input))


def _draw_faces(lesson: Lesson, step: int) -> Tensor:
    """The faces of update ``step``: drawn and augmented by a generator of its own, so that no state of it is saved."""
    random = np.random.default_rng((SEED, step))
    chosen = random.integers(0, len(lesson.faces.learn), BATCH)
    return to_tensor(np.stack([augment(lesson.faces.learn[index], random) for index in chosen]), lesson.input)


def _loss(student: Student, lesson: Lesson, images: Tensor) -> Tensor:
    """How far the student's embeddings of ``images`` are from the teacher's, by direction and by length, and how far
    the residual sums, as a share of their variance."""
    inner = lesson.variances
    with torch.no_grad():
        expected = student.graph.run(images, lesson.teacher, keep=inner)
    found = student.run(images, student.rounded_constants(), inner)
    before, after = (one[student.graph.output].flatten(1) for one in (expected, found))
    loss: Tensor = COSINE_WEIGHT * (1 - functional.cosine_similarity(before, after)).mean()
    loss = loss + ((after - before).norm(dim=1) / before.norm(dim=1)).square().mean()
    for name in inner:
        difference = (found[name] - expected[name]).square().mean()
        loss = loss + INNER_WEIGHT / len(inner) / inner[name] * difference
    return loss


def measure_error(student: Student, lesson: Lesson) -> float:
    """Mean of 1 - cosine with FP32 on the stopping faces."""
    with torch.no_grad():
        constants = student.rounded_constants()
        images = to_tensor(lesson.faces.stop, lesson.input)
        found = torch.cat([student.run(part, constants)[student.graph.output] for part in torch.split(images, BATCH)])
        return float((1 - functional.cosine_similarity(lesson.faces.expected, found.flatten(1))).mean())


def _faces_at_once(graph: TorchGraph, lesson: Lesson) -> int:
    """How many faces are computed together, 1 to BATCH, so that their activations stay within ACTIVATION_BYTES."""
    numbers = 0

    def count(name: str, values: Tensor) -> Tensor:
        nonlocal numbers
        numbers += values.numel()
        return values

    with torch.no_grad():
        graph.run(to_tensor(lesson.faces.learn[:1], lesson.input), lesson.teacher, count)
    return int(min(BATCH, max(1, ACTIVATION_BYTES // (BYTES_KEPT * numbers))))
