"""What a distillation is given and what it returns. Imports no torch, so that the parent process stays small."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.core.manifest import Input

Floats = NDArray[np.float32]

# 240 updates of 12 faces take 5 minutes for a MobileFaceNet on one core (docs/accuracy.md); for larger models, the time
# limit may end them early.
STEPS = 240
SECONDS = 30 * 60


@dataclass(frozen=True)
class DistillStart:
    """A tuned model where distillation can begin.

    model    its ONNX file
    biases   by name: FP32's values of the biases that tuning has corrected in ``model``
    factors  by name of a tensor: what the observed range is multiplied by
    widened  ranges that the observed ones are extended to contain, by name of the tensor
    """

    model: Path
    biases: Mapping[str, Floats]
    factors: Mapping[str, float]
    widened: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class DistillJob:
    """One distillation.

    starts       tuned models; it begins with the best
    input        of the model
    dataset      list of calibration images
    target       file for the distilled model
    checkpoints  folder that keeps the state; an interrupted distillation with the same ``key`` continues there
    key          determined by everything that decides the result
    steps        updates
    seconds      time limit: learning rates fall so that the last updates are the finest ones in either case
    """

    starts: tuple[DistillStart, ...]
    input: Input
    dataset: Path
    target: Path
    checkpoints: Path
    key: str
    steps: int = STEPS
    seconds: float = SECONDS


@dataclass(frozen=True)
class DistilledModel:
    """A distilled model.

    path           its ONNX file
    ranges         the exact INT8 ranges of its tensors, by name: (lowest, highest)
    start          index of the start that it began with
    before, after  mean of 1 - cosine on ``held_out``, under fake quantization
    steps          the updates that were made
    best_step      the update after which the model is used; 0 if no update helped
    held_out       N×H×W×3 uint8 RGB: calibration faces, and augmented versions of them, that were not learned from
    expected       N×D float32: FP32's embeddings of ``held_out``
    """

    path: Path
    ranges: Mapping[str, tuple[float, float]]
    start: int
    before: float
    after: float
    steps: int
    best_step: int
    held_out: NDArray[np.uint8]
    expected: Floats
