"""The search for the cheapest detector and recognizer that together stay close enough to FP32.

A quantized recognizer may be as close to FP32 as it must be on FP32's crops, and still give other embeddings of photos:
the quantized detector finds the landmarks elsewhere, so the crop is another one. Time may be spent on either model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rkface.runtime.core.errors import WorkError

from .recipe import Recipe
from .recipe_search import SPEND

FACES = 1  # recognized faces in a frame: cameras at doors see one person at a time, and most faces are tracked


@dataclass(frozen=True)
class CostedRecipe:
    """A recipe for one model. ``cost``: predicted milliseconds, or the number of FP16 layers if it is not known."""

    recipe: Recipe
    cost: float


@dataclass(frozen=True)
class PairGrade:
    """How close both quantized models together are to FP32.

    clears      whether they are close enough
    cosine      mean cosine with FP32's embeddings, each at the landmarks of its own detector; of the worst group of
                faces
    recognizer  the part of 1 − ``cosine`` that also exists at FP32's landmarks
    changed     labeled pairs of faces that are decided differently from FP32; None without labels
    """

    clears: bool
    cosine: float
    recognizer: float
    changed: int | None = None

    @property
    def detector(self) -> float:
        """The part of 1 − ``cosine`` that comes from the detector's landmarks."""
        return max(1 - self.cosine - self.recognizer, 0.0)


@dataclass(frozen=True)
class PairResult:
    """What two recipes gave together. ``chosen``: the bundle uses them."""

    detector: CostedRecipe
    recognizer: CostedRecipe
    grade: PairGrade
    chosen: bool = False

    @property
    def cost(self) -> float:
        """Of a frame with ``FACES`` faces."""
        return self.detector.cost + FACES * self.recognizer.cost


def search_pairs(
    detectors: Sequence[CostedRecipe],
    recognizers: Sequence[CostedRecipe],
    grade: Callable[[Recipe, Recipe], PairGrade],
    required: float,
) -> tuple[PairResult, ...]:
    """Try costlier recipes, one model at a time, until both models together are close enough to FP32.

    The first recipe of each model is the one that was chosen for it alone; the others cost more, the cheapest first.
    The next recipe is always that of the model with the larger error. It stays if it makes the pair better. In total,
    at most ``SPEND`` of the first pair's cost is added, unless the first pair's mean cosine is below ``required``. A
    recipe for which ``grade`` raises WorkError is left out. Returns all pairs; the last one that made the result better
    is chosen.
    """
    best = PairResult(detectors[0], recognizers[0], grade(detectors[0].recipe, recognizers[0].recipe))
    limit = best.cost * (1 + SPEND) if best.grade.cosine >= required else math.inf
    waiting = {"detector": list(detectors[1:]), "recognizer": list(recognizers[1:])}
    tries = [best]
    while not best.grade.clears:
        steps = {role: _with_recipe(best, role, recipes[0]) for role, recipes in waiting.items() if recipes}
        steps = {role: step for role, step in steps.items() if step.cost <= limit}
        if not steps:
            break
        errors = {"detector": best.grade.detector, "recognizer": best.grade.recognizer}
        role = max(steps, key=lambda role: (errors[role], -steps[role].cost))
        step = steps[role]
        waiting[role].pop(0)
        try:
            found = replace(step, grade=grade(step.detector.recipe, step.recognizer.recipe))
        except WorkError:
            continue
        tries.append(found)
        if (found.grade.clears, found.grade.cosine) > (best.grade.clears, best.grade.cosine):
            best = found
    return tuple(replace(one, chosen=one is best) for one in tries)


def _with_recipe(pair: PairResult, role: str, recipe: CostedRecipe) -> PairResult:
    return replace(pair, detector=recipe) if role == "detector" else replace(pair, recognizer=recipe)
