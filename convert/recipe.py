"""The ways to quantise a model, as data, and the search for the one that keeps the most."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rkface.runtime.errors import WorkError

if TYPE_CHECKING:
    from .quantize import Quantized


@dataclass(frozen=True)
class Recipe:
    """``algorithm`` is rknn-toolkit2's ``quantized_algorithm``; ``tuned`` changes the ONNX before (convert/tune.py).

    All but FP16 are w8a8: they cost the same on the NPU and differ in what they keep.
    """

    name: str
    algorithm: str
    tuned: bool
    about: str
    dtype: str = "w8a8"


TUNED = Recipe("tuned", "normal", True, "channels equalised and biases corrected, ranges from minimum to maximum")
NORMAL = Recipe("normal", "normal", False, "ranges from minimum to maximum, as the toolkit does unasked")
KL = Recipe("kl_divergence", "kl_divergence", False, "ranges that keep the distribution of values")
MMSE = Recipe("mmse", "mmse", False, "ranges of the least squared error; minutes even for a small model")
FP16 = Recipe("fp16", "normal", False, "no quantisation", "fp16")
RECIPES = {recipe.name: recipe for recipe in (TUNED, NORMAL, KL, MMSE)}


@dataclass(frozen=True)
class Plan:
    """The recipes to try, in this order; ``whole``: all of them, even after one cleared the bar."""

    name: str
    recipes: tuple[Recipe, ...]
    about: str
    whole: bool = False


PLANS = {
    plan.name: plan
    for plan in (
        Plan("auto", (TUNED, NORMAL, KL), "tuned, then normal, then kl_divergence, until one is near enough to FP32"),
        Plan("fast", (TUNED,), "tuned and nothing else"),
        Plan("thorough", tuple(RECIPES.values()), "all of them, the best is taken", whole=True),
        *(Plan(recipe.name, (recipe,), recipe.about) for recipe in RECIPES.values()),
    )
}
UNQUANTIZED = Plan("fp16", (FP16,), FP16.about)


@dataclass(frozen=True)
class Grade:
    """How near to FP32 a model came: ``rank`` orders the recipes, ``said`` is for people, ``accuracy`` for plots: a
    recogniser's mean cosine, a detector's landmark error."""

    clears: bool
    rank: tuple[float, ...]
    said: str
    accuracy: float = math.nan


@dataclass(frozen=True)
class Try:
    """One recipe on one model, and what it came to: a grade, or the error it ended with."""

    recipe: Recipe
    seconds: float
    grade: Grade | None
    error: str = ""
    chosen: bool = False


def chosen_of(tries: Sequence[Try]) -> Try:
    (chosen,) = (one for one in tries if one.chosen)
    return chosen


def search(
    plan: Plan, attempt: Callable[[Recipe], Quantized], grade: Callable[[Quantized], Grade]
) -> tuple[Quantized, tuple[Try, ...]]:
    """The best of ``plan``'s recipes: one that clears the bar before one that does not, then by rank, then the earlier;
    and what became of each.

    A recipe that the toolkit fails at is one row of the answer; WorkError where it fails at all of them.
    """
    tries: list[Try] = []
    best: tuple[tuple[float, ...], int, Quantized] | None = None  # its worth, its place among the tries
    failure: WorkError | None = None
    for recipe in plan.recipes:
        start = time.monotonic()
        try:
            done = attempt(recipe)
        except WorkError as error:
            tries.append(Try(recipe, time.monotonic() - start, None, str(error)))
            failure = error
            continue
        found = grade(done)
        tries.append(Try(recipe, time.monotonic() - start, found))
        worth = (float(found.clears), *(-math.inf if math.isnan(part) else part for part in found.rank))
        if best is None or worth > best[0]:
            best = (worth, len(tries) - 1, done)
        if found.clears and not plan.whole:
            break
    if best is None:
        assert failure is not None, "a plan has at least one recipe"
        raise failure
    _, at, chosen = best
    return chosen, tuple(replace(one, chosen=index == at) for index, one in enumerate(tries))
