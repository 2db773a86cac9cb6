"""The amount of rendering and training for the demo models."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingPlan:
    """How much to render and to train: ``people`` × ``shots`` crops, ``scenes`` pictures, and passes over each."""

    seed: int
    people: int
    shots: int
    crop_passes: float
    scenes: int
    scene_passes: float
    workers: int
