"""The ways to quantize a model, as data: recipes, and the plans that say which of them to try."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from rkface.runtime.core.errors import InputError
from rkface.runtime.core.manifest import Role

from .metric_bar import MetricBar
from .targets import Target

# Where the INT8 ranges of the inner tensors come from: from the calibration images ("toolkit"); for a recognizer also
# from changed copies of its faces ("wide"), or smaller than these where that pays (tuning/clip.py, "clip") and larger
# where that costs little (tuning/room.py); or larger by MARGIN than those of the calibration images ("margin").
Ranges = Literal["toolkit", "wide", "clip", "margin"]
MARGIN = 1.15  # docs/accuracy.md
COARSE_GRIDS = 16  # of the strides 8, 16 and 32 of a detector, those whose heads cost little in FP16
ALL_LAYERS = 999  # more than any detector has


@dataclass(frozen=True)
class Recipe:
    """One way to quantize a model.

    Recipes without FP16 layers are pure w8a8: they cost the same on the NPU and differ only in accuracy.

    name       as given to ``--recipe``
    algorithm  rknn-toolkit2's ``quantized_algorithm``
    about      one line for people
    correct    correct the biases for what rounding the weights adds (convert/tuning/tune.py)
    equalize   equalize channels that share a scale (convert/tuning/equalize.py)
    ranges     of the inner tensors; "wide" and "clip" are the same as "toolkit" unless the model is a recognizer
    lead       keep the first ``lead`` weighted layers in FP16 (convert/hybrid.py)
    trail      keep the last ``trail`` weighted layers in FP16
    coarse     for a detector: of these last layers, only those whose grid is so many times coarser than the input
    quantized  False for the FP16 recipe
    distilled  learn weights, biases and ranges, beginning with the best of DISTILLED_FROM (convert/tuning/distill)
    slow       takes minutes even for a small model
    """

    name: str
    algorithm: str
    about: str
    correct: bool = False
    equalize: bool = False
    ranges: Ranges = "toolkit"
    lead: int = 0
    trail: int = 0
    coarse: int = 1
    quantized: bool = True
    distilled: bool = False
    slow: bool = False

    @property
    def tuned(self) -> bool:
        """Whether the model is changed before it is quantized."""
        return self.correct or self.equalize or self.ranges != "toolkit"

    @property
    def hybrid(self) -> bool:
        """Whether some layers stay in FP16."""
        return self.lead + self.trail > 0

    @property
    def dtype(self) -> str:
        """The number formats, for people: ``w8a8``, ``w8a8 + fp16`` or ``fp16``."""
        return "fp16" if not self.quantized else "w8a8 + fp16" if self.hybrid else "w8a8"


def _tuned_recipe(name: str, about: str, ranges: Ranges, *, equalize: bool) -> Recipe:
    return Recipe(name, "normal", about, correct=True, equalize=equalize, ranges=ranges)


def _hybrid_recipe(lead: int, trail: int) -> Recipe:
    layers = f"the first {lead} and last {trail} layers" if lead else f"the last {trail} layers"
    return replace(TUNED, name=f"hybrid{lead + trail}", about=f"tuned, and {layers} in FP16", lead=lead, trail=trail)


def _coarse_recipe(name: str, lead: int, trail: int) -> Recipe:
    """``trail`` layers of a detector's coarse grids in FP16. The ranges of the others are larger: strange photos go
    beyond those of calibration, and one step of a layer inside is not a pixel."""
    last = "all layers" if trail == ALL_LAYERS else f"the last {trail} layers"
    layers = f"{last} of strides {COARSE_GRIDS} and up" + (f" and the first {lead} layers" if lead else "")
    about = f"tuned-margin, and {layers} in FP16, for detectors"
    return replace(TUNED_MARGIN, name=name, about=about, lead=lead, trail=trail, coarse=COARSE_GRIDS)


TUNED = _tuned_recipe("tuned", "channels equalized, biases corrected, ranges clipped", "clip", equalize=True)
TUNED_WIDE = _tuned_recipe(
    "tuned-wide", "tuned, with ranges for all calibration faces and copies", "wide", equalize=True
)
TUNED_MARGIN = _tuned_recipe("tuned-margin", f"tuned, with ranges {MARGIN - 1:.0%} larger", "margin", equalize=True)
BIAS_CLIP = _tuned_recipe("bias-clip", "biases corrected, ranges clipped", "clip", equalize=False)
BIAS_WIDE = _tuned_recipe(
    "bias-wide", "biases corrected, ranges for all calibration faces and copies", "wide", equalize=False
)
BIAS_MARGIN = _tuned_recipe(
    "bias-margin", f"biases corrected, ranges {MARGIN - 1:.0%} larger", "margin", equalize=False
)
NORMAL = Recipe("normal", "normal", "ranges from minimum to maximum, the toolkit's default")
KL = Recipe("kl_divergence", "kl_divergence", "ranges that keep the distribution of values")
MMSE = Recipe("mmse", "mmse", "ranges with the least squared error; minutes even for a small model", slow=True)
# Cheapest first: the last layers of a recognizer are small, the first layers are not.
HYBRIDS = (_hybrid_recipe(0, 3), _hybrid_recipe(4, 3), _hybrid_recipe(8, 3), _hybrid_recipe(16, 6))
# For detectors. The first layers have few channels: on RK3588, FP16 costs them only the conversion behind them. That is
# so for two layers of SCRFD-2.5G, and for more in networks with depthwise convolutions.
COARSE = (
    _coarse_recipe("coarse3", 0, 3),
    _coarse_recipe("coarse9", 2, 7),
    _coarse_recipe("coarse11", 4, 7),
    _coarse_recipe("coarse-all2", 2, ALL_LAYERS),
    _coarse_recipe("coarse-all8", 8, ALL_LAYERS),
)
FP16 = Recipe("fp16", "normal", "no quantization", quantized=False)
DISTILLED_FROM = (TUNED, TUNED_WIDE, TUNED_MARGIN, BIAS_CLIP, BIAS_MARGIN)
DISTILLED = Recipe(
    "distilled",
    "normal",
    "weights, biases and ranges learned against FP32 on the calibration faces, for recognizers; 5 minutes for a "
    "MobileFaceNet on one core, at most half an hour; an interrupted run continues",
    distilled=True,
    slow=True,
)
# In the order in which to try those of equal cost.
W8A8 = (TUNED, TUNED_WIDE, BIAS_WIDE, BIAS_CLIP, BIAS_MARGIN, TUNED_MARGIN, NORMAL)
RECIPES = {recipe.name: recipe for recipe in (*W8A8, KL, MMSE, *COARSE, *HYBRIDS, DISTILLED)}


@dataclass(frozen=True)
class RecipePlan:
    """The recipes to try on a model.

    name       as given to ``--recipe``
    recipes    tried in the order of their predicted cost
    about      one line for people
    detector   the same for a detector; () for ``recipes``
    others     for a recognizer: more recipes, which are not tried once one is accurate enough by a margin. A detector
               does not get them: none is known to need them, and each takes minutes
    fallbacks  tried only if a recipe fails in the toolkit
    try_all    try all recipes, even after one is accurate enough
    analyze    also measure the error of every layer
    """

    name: str
    recipes: tuple[Recipe, ...]
    about: str
    detector: tuple[Recipe, ...] = ()
    others: tuple[Recipe, ...] = ()
    fallbacks: tuple[Recipe, ...] = ()
    try_all: bool = False
    analyze: bool = False

    def for_target(self, target: Target) -> RecipePlan:
        """The part of this plan that ``target`` can run. Raises InputError if no recipe is left."""
        able, detector = (
            tuple(one for one in recipes if target.fp16 or one.dtype == "w8a8")
            for recipes in (self.recipes, self.detector)
        )
        if not able or (self.detector and not detector):
            raise InputError(
                f"the NPU of {target.name} has no floating point, which --recipe {self.name} needs: use another recipe"
            )
        return replace(self, recipes=able, detector=detector)

    def for_role(self, role: Role) -> RecipePlan:
        """The part of this plan to try on the model of ``role``.

        Slow recipes are skipped on a detector if there are others: mmse on SCRFD did not finish in any time we were
        ready to wait. So are recipes that are the same as an earlier one without faces.
        """
        if role == "recognizer":
            return self
        recipes = self.detector if role == "detector" and self.detector else self.recipes
        different: dict[Recipe, Recipe] = {}
        for one in recipes:
            different.setdefault(replace(one, name="", about="", ranges=_ranges_without_faces(one.ranges)), one)
        quick = tuple(one for one in different.values() if role != "detector" or not one.slow)
        return replace(self, recipes=quick or recipes, others=())


def _ranges_without_faces(ranges: Ranges) -> Ranges:
    return "margin" if ranges == "margin" else "toolkit"


_GENERAL = tuple(one for one in RECIPES.values() if not one.distilled and one not in COARSE)
PLANS = {
    plan.name: plan
    for plan in (
        RecipePlan("auto", (TUNED, TUNED_WIDE, *HYBRIDS),
                   "tuned, then other w8a8, then more and more layers in FP16, until one is accurate enough",
                   detector=(TUNED, *COARSE, FP16), others=(BIAS_CLIP, TUNED_MARGIN, NORMAL), fallbacks=(NORMAL,),
                   analyze=True),
        RecipePlan("fast", (TUNED,), "tuned and nothing else"),
        RecipePlan("thorough", _GENERAL,
                   "try all; take the cheapest that is accurate enough, or else the most accurate",
                   detector=(*_GENERAL, *COARSE, FP16), others=(DISTILLED,), try_all=True, analyze=True),
        *(RecipePlan(recipe.name, (recipe,), recipe.about) for recipe in _GENERAL),
        *(RecipePlan(recipe.name, (TUNED,), recipe.about, detector=(recipe,)) for recipe in COARSE),
        RecipePlan(DISTILLED.name, (TUNED,), DISTILLED.about, others=(DISTILLED,), try_all=True),
    )
}  # fmt: skip
UNQUANTIZED = RecipePlan("fp16", (FP16,), FP16.about)


@dataclass(frozen=True)
class AccuracyBar:
    """What quantized models must reach on each group of real evaluation faces: cosines of embeddings with FP32's.

    A healthy INT8 conversion is above the defaults (docs/accuracy.md).

    mean, minimum    of the recognizer, on the same crops
    end_to_end       mean of both models together, at the landmarks of their own detector
    end_to_end_good  above it, the end-to-end mean is not worth a remark, and the search for a better detector ends
    max_drop         by how much the user's own figures may be worse; if there are any, they decide, and cosines are
                     only reported
    """

    mean: float = 0.995
    minimum: float = 0.99
    end_to_end: float = 0.98
    end_to_end_good: float = 0.993
    max_drop: tuple[MetricBar, ...] = ()

    @property
    def lowest_end_to_end(self) -> float:
        """The lowest end-to-end mean: nobody who lowers ``mean`` expects more of both models than of one."""
        return min(self.end_to_end, self.mean) if self.by_cosine else -1.0

    @property
    def wanted_end_to_end(self) -> float:
        """``end_to_end_good``, as far as cosines decide."""
        return self.end_to_end_good if self.by_cosine else -1.0

    @property
    def by_cosine(self) -> bool:
        """Whether cosines decide."""
        return not self.max_drop

    def to_dict(self) -> dict[str, Any]:
        """What decided, for the manifest."""
        if not self.by_cosine:
            return {"max_drop": [str(one) for one in self.max_drop]}
        return {"mean": self.mean, "minimum": self.minimum, "end_to_end": self.lowest_end_to_end}

    def reached_by(self, mean: float, minimum: float) -> bool:
        """Whether faces with this ``mean`` and ``minimum`` are close enough, as far as cosines decide. NaN never is."""
        return not self.by_cosine or (mean >= self.mean and minimum >= self.minimum)
