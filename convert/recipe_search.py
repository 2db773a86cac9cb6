"""The search for the cheapest recipe that keeps a model close enough to FP32."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rkface.runtime.core.errors import WorkError

from .cost import ModelCost
from .recipe import Recipe, RecipePlan
from .toolkit.quantize import QuantizedModel

SPEND = 0.10  # share of the predicted time that may be spent on accuracy that is wanted, but not required


@dataclass(frozen=True)
class Grade:
    """How close a quantized model is to FP32.

    clears       whether it is close enough
    rank         orders the recipes: larger is better, first number first
    summary      one line for people
    accuracy     one number for plots: a recognizer's mean cosine on the worse group of real faces, a detector's
                 landmark error as a share of the inter-ocular distance, or the mean difference of the liveness
                 probability
    clears_well  if it is close enough: whether by a margin, so that other recipes of the same cost need not be tried
    """

    clears: bool
    rank: tuple[float, ...]
    summary: str
    accuracy: float = math.nan
    clears_well: bool = True


@dataclass(frozen=True)
class RecipeResult:
    """What one recipe gave on one model.

    seconds  how long the recipe took
    grade    how close the result is to FP32; None if the recipe failed
    error    the toolkit's error if the recipe failed
    chosen   the bundle uses this result
    cost     predicted cost on the NPU; None if the cost model does not know the graph
    """

    recipe: Recipe
    seconds: float
    grade: Grade | None
    error: str = ""
    chosen: bool = False
    cost: ModelCost | None = None


def chosen_result(tries: Sequence[RecipeResult]) -> RecipeResult:
    """The result that the bundle uses."""
    (chosen,) = (one for one in tries if one.chosen)
    return chosen


def search_recipes(
    plan: RecipePlan,
    run: Callable[[Recipe], QuantizedModel],
    grade: Callable[[QuantizedModel], Grade],
    predict: Callable[[Recipe], ModelCost | None],
    spend: float = 0.0,
) -> tuple[QuantizedModel, tuple[RecipeResult, ...]]:
    """Run the recipes of ``plan``, cheapest first, and return the best model and the result of each recipe.

    The best is the cheapest on the NPU that is accurate enough. If no recipe is, or if several cost the same, the rank
    of the grade decides, and then the earlier recipe wins. Recipes that cost more than one that is accurate enough are
    not tried, and neither are ``plan.others`` once a recipe is so by a margin. A recipe that fails in the toolkit is
    one of the results. Raises WorkError if every recipe fails.

    With ``spend``, the best may cost more than the cheapest that is accurate enough, by this share: it is the cheapest
    that is accurate enough by a margin, or else the most accurate.
    """
    costs = {recipe: predict(recipe) for recipe in (*plan.recipes, *plan.others, *plan.fallbacks)}
    order = order_by_cost(costs)
    tries: list[RecipeResult] = []
    best: tuple[tuple[float, ...], int, QuantizedModel] | None = None  # its worth, its place in `tries`, the model
    failure: WorkError | None = None
    enough, well = math.inf, math.inf  # the least costs of a recipe that is accurate enough, and of one that is well so
    waiting, fallbacks = sorted((*plan.recipes, *plan.others), key=order.__getitem__), list(plan.fallbacks)
    while waiting:
        recipe = waiting.pop(0)
        too_costly = order[recipe] > min(enough * (1 + spend), well)
        if not plan.try_all and (too_costly or (well < math.inf and recipe in plan.others)):
            continue
        start = time.monotonic()
        try:
            model = run(recipe)
        except WorkError as error:
            tries.append(RecipeResult(recipe, time.monotonic() - start, None, str(error), cost=costs[recipe]))
            failure = error
            waiting, fallbacks = [*fallbacks, *(one for one in waiting if one not in fallbacks)], []
            continue
        found = grade(model)
        tries.append(RecipeResult(recipe, time.monotonic() - start, found, cost=costs[recipe]))
        if found.clears:
            enough = min(enough, order[recipe])
            well = min(well, order[recipe] if found.clears_well else math.inf)
        worth = _worth(found, order[recipe], enough, spend)
        if best is None or worth > best[0]:
            best = (worth, len(tries) - 1, model)
    if best is None:
        assert failure is not None, "a plan has at least one recipe"
        raise failure
    _, at, chosen = best
    return chosen, tuple(replace(one, chosen=index == at) for index, one in enumerate(tries))


def _worth(grade: Grade, cost: float, enough: float, spend: float) -> tuple[float, ...]:
    """Orders recipes: the larger, the better. ``enough``: the least cost of a recipe that is accurate enough."""
    rank = tuple(-math.inf if math.isnan(part) else part for part in grade.rank)
    if not grade.clears or cost > enough * (1 + spend):
        return (0.0, -cost if grade.clears else -math.inf, *rank)
    if spend and not grade.clears_well:
        return (1.0, 0.0, *rank)
    return (2.0, -cost, *rank)


def order_by_cost(costs: dict[Recipe, ModelCost | None]) -> dict[Recipe, float]:
    """A number for each recipe by which to sort them: predicted milliseconds, or the number of FP16 layers if the cost
    of some recipe is not known. FP16 layers are what costs the NPU most."""
    if any(cost is None for cost in costs.values()):
        return {recipe: float(recipe.lead + recipe.trail) for recipe in costs}
    return {recipe: cost.milliseconds for recipe, cost in costs.items() if cost}
