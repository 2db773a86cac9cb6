"""The ways to quantize a model, as data, and the search for the one that keeps the most."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rkface.runtime.core.errors import InputError, WorkError

if TYPE_CHECKING:
    from rkface.runtime.core.bundle import Role

    from .cost import Cost
    from .quantize import Quantized
    from .targets import Target


@dataclass(frozen=True)
class Recipe:
    """``algorithm`` is rknn-toolkit2's ``quantized_algorithm``; ``tuned`` changes the ONNX before (convert/tune.py);
    the first ``lead`` and the last ``trail`` weighted layers stay in FP16 (convert/hybrid.py).

    All others are w8a8 alone: they cost the same on the NPU and differ in what they keep.
    """

    name: str
    algorithm: str
    tuned: bool
    about: str
    lead: int = 0
    trail: int = 0
    quantized: bool = True
    slow: bool = False

    @property
    def hybrid(self) -> bool:
        return self.lead + self.trail > 0

    @property
    def dtype(self) -> str:
        return "fp16" if not self.quantized else "w8a8 + fp16" if self.hybrid else "w8a8"


def _hybrid(lead: int, trail: int) -> Recipe:
    layers = f"the first {lead} and last {trail} layers" if lead else f"the last {trail} layers"
    return Recipe(f"hybrid{lead + trail}", "normal", True, f"tuned, {layers} in FP16", lead, trail)


TUNED = Recipe("tuned", "normal", True, "channels equalized and biases corrected, ranges from minimum to maximum")
NORMAL = Recipe("normal", "normal", False, "ranges from minimum to maximum, as the toolkit does unasked")
KL = Recipe("kl_divergence", "kl_divergence", False, "ranges that keep the distribution of values")
MMSE = Recipe("mmse", "mmse", False, "ranges of the least squared error; minutes even for a small model", slow=True)
# Cheapest first: the last layers of a recognizer are small, the first ones are not.
HYBRIDS = (_hybrid(0, 3), _hybrid(4, 3), _hybrid(8, 3), _hybrid(16, 6))
FP16 = Recipe("fp16", "normal", False, "no quantization", quantized=False)
RECIPES = {recipe.name: recipe for recipe in (TUNED, NORMAL, KL, MMSE, *HYBRIDS)}


@dataclass(frozen=True)
class Plan:
    """The recipes to try; ``whole``: all of them, even after one cleared the bar. ``spare``: only where one failed.
    ``analyze``: measure the error of every layer as well."""

    name: str
    recipes: tuple[Recipe, ...]
    about: str
    spare: tuple[Recipe, ...] = ()
    whole: bool = False
    analyze: bool = False

    def on(self, target: Target) -> Plan:
        """What of it ``target`` can run. InputError where nothing is left."""
        able = tuple(one for one in self.recipes if target.fp16 or not one.hybrid)
        if not able:
            raise InputError(
                f"the NPU of {target.name} has no floating point, which --recipe {self.name} needs: use another recipe"
            )
        return replace(self, recipes=able)

    def of(self, role: Role) -> Plan:
        """What of it is tried on ``role``: where there is a choice, nothing slow on a detector (mmse on SCRFD did not
        end while we waited)."""
        quick = tuple(one for one in self.recipes if role != "detector" or not one.slow)
        return replace(self, recipes=quick or self.recipes)


PLANS = {
    plan.name: plan
    for plan in (
        Plan("auto", (TUNED, *HYBRIDS), "tuned, then ever more layers in FP16, until one is near enough to FP32",
             spare=(NORMAL,), analyze=True),
        Plan("fast", (TUNED,), "tuned and nothing else"),
        Plan("thorough", tuple(RECIPES.values()), "all of them; the cheapest that is near enough is taken, or the best",
             whole=True, analyze=True),
        *(Plan(recipe.name, (recipe,), recipe.about) for recipe in RECIPES.values()),
    )
}  # fmt: skip
UNQUANTIZED = Plan("fp16", (FP16,), FP16.about)


@dataclass(frozen=True)
class Bar:
    """What a recognizer has to reach: the mean and the smallest cosine to FP32 over the evaluation faces. A healthy
    INT8 conversion of MobileFaceNet or an IResNet stands above the default (docs/accuracy.md)."""

    mean: float = 0.995
    minimum: float = 0.99


@dataclass(frozen=True)
class Grade:
    """How near to FP32 a model came: ``rank`` orders the recipes, ``said`` is for people, ``accuracy`` for plots: a
    recognizer's mean cosine, a detector's landmark error, the mean difference of liveness."""

    clears: bool
    rank: tuple[float, ...]
    said: str
    accuracy: float = math.nan


@dataclass(frozen=True)
class Try:
    """One recipe on one model, and what it came to: a grade, or the error it ended with. ``cost``: what the NPU is
    predicted to take, None where that cannot be said."""

    recipe: Recipe
    seconds: float
    grade: Grade | None
    error: str = ""
    chosen: bool = False
    cost: Cost | None = None


def chosen_of(tries: Sequence[Try]) -> Try:
    (chosen,) = (one for one in tries if one.chosen)
    return chosen


def search(
    plan: Plan,
    attempt: Callable[[Recipe], Quantized],
    grade: Callable[[Quantized], Grade],
    predict: Callable[[Recipe], Cost | None],
) -> tuple[Quantized, tuple[Try, ...]]:
    """The best of ``plan``'s recipes, and what became of each: the cheapest on the NPU of those that clear the bar, by
    rank where none does or they cost the same, else the earlier. They are tried in that order too, cheapest first.

    A recipe that the toolkit fails at is one row of the answer; WorkError where it fails at all of them.
    """
    costs = {recipe: predict(recipe) for recipe in (*plan.recipes, *plan.spare)}
    if any(cost is None for cost in costs.values()):  # fewest layers in FP16 first: what costs the NPU most
        prices = {recipe: float(recipe.lead + recipe.trail) for recipe in costs}
    else:
        prices = {recipe: cost.milliseconds for recipe, cost in costs.items() if cost}
    tries: list[Try] = []
    best: tuple[tuple[float, ...], int, Quantized] | None = None  # its worth, its place among the tries
    failure: WorkError | None = None
    waiting, spare = sorted(plan.recipes, key=prices.__getitem__), list(plan.spare)
    while waiting:
        recipe = waiting.pop(0)
        start = time.monotonic()
        try:
            done = attempt(recipe)
        except WorkError as error:
            tries.append(Try(recipe, time.monotonic() - start, None, str(error), cost=costs[recipe]))
            failure = error
            waiting, spare = spare + waiting, []
            continue
        found = grade(done)
        tries.append(Try(recipe, time.monotonic() - start, found, cost=costs[recipe]))
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
