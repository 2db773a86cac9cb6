"""The ways to quantize a model, as data, and the search for the one that keeps the most."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rkface.runtime.bundle import Role
from rkface.runtime.errors import InputError

from .targets import Target


@dataclass(frozen=True)
class Recipe:
    """``algorithm`` is rknn-toolkit2's ``quantized_algorithm``; ``tuned`` changes the ONNX before
    (convert/tuning/tune.py); the first ``lead`` and the last ``trail`` weighted layers stay in FP16
    (convert/hybrid.py).

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


def _hybrid_recipe(lead: int, trail: int) -> Recipe:
    layers = f"the first {lead} and last {trail} layers" if lead else f"the last {trail} layers"
    return Recipe(f"hybrid{lead + trail}", "normal", True, f"tuned, {layers} in FP16", lead, trail)


TUNED = Recipe("tuned", "normal", True, "channels equalized and biases corrected, ranges from minimum to maximum")
NORMAL = Recipe("normal", "normal", False, "ranges from minimum to maximum, as the toolkit does unasked")
KL = Recipe("kl_divergence", "kl_divergence", False, "ranges that keep the distribution of values")
MMSE = Recipe("mmse", "mmse", False, "ranges of the least squared error; minutes even for a small model", slow=True)
# Cheapest first: the last layers of a recognizer are small, the first ones are not.
HYBRIDS = (_hybrid_recipe(0, 3), _hybrid_recipe(4, 3), _hybrid_recipe(8, 3), _hybrid_recipe(16, 6))
FP16 = Recipe("fp16", "normal", False, "no quantization", quantized=False)
RECIPES = {recipe.name: recipe for recipe in (TUNED, NORMAL, KL, MMSE, *HYBRIDS)}


@dataclass(frozen=True)
class RecipePlan:
    """The recipes to try; ``whole``: all of them, even after one cleared the bar. ``spare``: only where one failed.
    ``analyze``: measure the error of every layer as well."""

    name: str
    recipes: tuple[Recipe, ...]
    about: str
    spare: tuple[Recipe, ...] = ()
    whole: bool = False
    analyze: bool = False

    def on(self, target: Target) -> RecipePlan:
        """What of it ``target`` can run. InputError where nothing is left."""
        able = tuple(one for one in self.recipes if target.fp16 or not one.hybrid)
        if not able:
            raise InputError(
                f"the NPU of {target.name} has no floating point, which --recipe {self.name} needs: use another recipe"
            )
        return replace(self, recipes=able)

    def of(self, role: Role) -> RecipePlan:
        """What of it is tried on ``role``: where there is a choice, nothing slow on a detector (mmse on SCRFD did not
        end while we waited)."""
        quick = tuple(one for one in self.recipes if role != "detector" or not one.slow)
        return replace(self, recipes=quick or self.recipes)


PLANS = {
    plan.name: plan
    for plan in (
        RecipePlan("auto", (TUNED, *HYBRIDS), "tuned, then ever more layers in FP16, until one is near enough to FP32",
             spare=(NORMAL,), analyze=True),
        RecipePlan("fast", (TUNED,), "tuned and nothing else"),
        RecipePlan("thorough", tuple(RECIPES.values()),
             "all of them; the cheapest that is near enough is taken, or the best", whole=True, analyze=True),
        *(RecipePlan(recipe.name, (recipe,), recipe.about) for recipe in RECIPES.values()),
    )
}  # fmt: skip
UNQUANTIZED = RecipePlan("fp16", (FP16,), FP16.about)


@dataclass(frozen=True)
class AccuracyBar:
    """What a recognizer has to reach: the mean and the smallest cosine to FP32 over the evaluation faces. A healthy
    INT8 conversion of MobileFaceNet or an IResNet stands above the default (docs/accuracy.md)."""

    mean: float = 0.995
    minimum: float = 0.99
