"""The search for the cheapest recipe that keeps a model near enough to FP32."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rkface.runtime.errors import WorkError

from .cost import ModelCost
from .recipe import Recipe, RecipePlan
from .toolkit.quantize import QuantizedModel


@dataclass(frozen=True)
class Grade:
    """How near to FP32 a model came: ``rank`` orders the recipes, ``said`` is for people, ``accuracy`` for plots: a
    recognizer's mean cosine, a detector's landmark error, the mean difference of liveness."""

    clears: bool
    rank: tuple[float, ...]
    said: str
    accuracy: float = math.nan


@dataclass(frozen=True)
class RecipeResult:
    """One recipe on one model, and what it came to: a grade, or the error it ended with. ``cost``: what the NPU is
    predicted to take, None where that cannot be said."""

    recipe: Recipe
    seconds: float
    grade: Grade | None
    error: str = ""
    chosen: bool = False
    cost: ModelCost | None = None


def chosen_result(tries: Sequence[RecipeResult]) -> RecipeResult:
    (chosen,) = (one for one in tries if one.chosen)
    return chosen


def search_recipes(
    plan: RecipePlan,
    attempt: Callable[[Recipe], QuantizedModel],
    grade: Callable[[QuantizedModel], Grade],
    predict: Callable[[Recipe], ModelCost | None],
) -> tuple[QuantizedModel, tuple[RecipeResult, ...]]:
    """The best of ``plan``'s recipes, and what became of each: the cheapest on the NPU of those that clear the bar, by
    rank where none does or they cost the same, else the earlier. They are tried in that order too, cheapest first.

    A recipe that the toolkit fails at is one row of the answer; WorkError where it fails at all of them.
    """
    costs = {recipe: predict(recipe) for recipe in (*plan.recipes, *plan.spare)}
    if any(cost is None for cost in costs.values()):  # fewest layers in FP16 first: what costs the NPU most
        prices = {recipe: float(recipe.lead + recipe.trail) for recipe in costs}
    else:
        prices = {recipe: cost.milliseconds for recipe, cost in costs.items() if cost}
    tries: list[RecipeResult] = []
    best: tuple[tuple[float, ...], int, QuantizedModel] | None = None  # its worth, its place among the tries
    failure: WorkError | None = None
    waiting, spare = sorted(plan.recipes, key=prices.__getitem__), list(plan.spare)
    while waiting:
        recipe = waiting.pop(0)
        start = time.monotonic()
        try:
            done = attempt(recipe)
        except WorkError as error:
            tries.append(RecipeResult(recipe, time.monotonic() - start, None, str(error), cost=costs[recipe]))
            failure = error
            waiting, spare = spare + waiting, []
            continue
        found = grade(done)
        tries.append(RecipeResult(recipe, time.monotonic() - start, found, cost=costs[recipe]))
        cheap = -prices[recipe] if found.clears else -math.inf
        worth = (cheap, *(-math.inf if math.isnan(part) else part for part in found.rank))
        if best is None or worth > best[0]:
            best = (worth, len(tries) - 1, done)
        if found.clears and not plan.whole:
            break
    if best is None:
        assert failure is not None, "a plan has at least one recipe"
        raise failure
    _, at, chosen = best
    return chosen, tuple(replace(one, chosen=index == at) for index, one in enumerate(tries))
