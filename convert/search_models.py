"""Chooses the recipe of each model: first for each model alone, then for the detector and the recognizer together."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.core.faces import Faces
from rkface.runtime.core.manifest import ROLES, Role
from rkface.runtime.vision.embed import unit

from .compare_models import (
    ConversionContext,
    QuantizedResults,
    compare_drops,
    compare_liveness,
    crop_at_own_landmarks,
    decode_faces,
    measure_detector_errors,
)
from .cost import ModelCost
from .evaluate import grades, parity
from .evaluate.max_drop import grade_drops
from .pair_search import CostedRecipe, PairGrade, search_pairs
from .recipe import AccuracyBar, Recipe, RecipePlan
from .recipe_cost import predict_cost
from .recipe_search import SPEND, Grade, RecipeResult, chosen_result, order_by_cost, search_recipes
from .run_recipe import Quantizer
from .targets import Target
from .toolkit.quantize import QuantizedModel

Images = NDArray[np.uint8]
Tries = tuple[RecipeResult, ...]


def quantize_models(
    context: ConversionContext, quantize: Quantizer, *, target: Target, plan: RecipePlan, bar: AccuracyBar
) -> QuantizedResults:
    """Quantize each model for ``target`` with ``quantize``, by the cheapest recipes of ``plan`` with which each model
    alone, and the detector and the recognizer together, are close enough to FP32.

    Raises WorkError if every recipe fails on a model.
    """
    search = _Search(context, quantize, target, plan, bar)
    detector, detector_tries = search.choose("detector", context.datasets.evaluation.scenes)
    seen = search.look(detector)
    recognizer, recognizer_tries = search.choose("recognizer", search.crops(seen))
    tries: dict[Role, Tries] = {"detector": detector_tries, "recognizer": recognizer_tries}
    results = search.choose_pair(tries, seen, recognizer)
    if context.liveness is not None:
        results.models["liveness"], results.tries["liveness"] = search.choose(
            "liveness", context.datasets.evaluation.images("liveness")
        )
    return results


@dataclass(frozen=True)
class _DetectorRun:
    """A quantized detector, its faces by photo, and the crops at its landmarks of the evaluation faces ``own``."""

    model: QuantizedModel
    faces: list[Faces]
    own: list[int]
    crops: Images


@dataclass(frozen=True)
class _Search:
    """What the searches of one conversion for one chip share."""

    context: ConversionContext
    quantize: Quantizer
    target: Target
    plan: RecipePlan
    bar: AccuracyBar

    def choose(self, role: Role, images: Images) -> tuple[QuantizedModel, Tries]:
        """The best model of ``role`` alone, which was run on ``images``, and the result of each recipe."""
        return search_recipes(
            self.plan.for_role(role),
            lambda recipe: self.run(role, recipe, images),
            lambda model: self.grade(role, model),
            lambda recipe: predict_cost(self.context.models[role].graph, self.target, recipe),
            SPEND if role == "detector" else 0.0,
        )

    def run(self, role: Role, recipe: Recipe, images: Images) -> QuantizedModel:
        dataset = self.context.datasets.image_list(role) if recipe.quantized else None
        return self.quantize(role, recipe, dataset, images)

    def grade(self, role: Role, model: QuantizedModel) -> Grade:
        reference, evaluation = self.context.reference, self.context.datasets.evaluation
        if role == "detector":
            faces = decode_faces(self.context.detector, model.outputs, evaluation)
            return grades.grade_faces(
                parity.compare_faces(reference.faces, faces), measure_detector_errors(self.context, model)
            )
        if role == "recognizer":
            embeddings = model.outputs[0][: len(reference.embeddings)]
            found = parity.compare_groups(evaluation.crop_groups, reference.embeddings, embeddings)
            grade = grades.grade_embeddings(found, self.bar)
            drops = compare_drops(self.context, embeddings, self.bar.max_drop)
            return grade_drops(drops, grade) if drops else grade
        assert self.context.liveness is not None
        return grades.grade_liveness(compare_liveness(reference, model, self.context.liveness))

    def look(self, detector: QuantizedModel) -> _DetectorRun:
        """What the quantized ``detector`` sees in the evaluation photos."""
        context, evaluation = self.context, self.context.datasets.evaluation
        faces = decode_faces(context.detector, detector.outputs, evaluation)
        template = context.models["recognizer"].fixed.known_crop()
        own, crops = crop_at_own_landmarks(evaluation, context.reference.faces, faces, template)
        return _DetectorRun(detector, faces, own, crops)

    def crops(self, seen: _DetectorRun) -> Images:
        """All inputs of a recognizer: FP32's crops, and those of the quantized detector."""
        return np.concatenate([self.context.datasets.evaluation.images("recognizer"), seen.crops])

    def choose_pair(self, tries: dict[Role, Tries], seen: _DetectorRun, recognizer: QuantizedModel) -> QuantizedResults:
        """The best detector and recognizer together. ``seen`` and ``recognizer`` are the best of each alone, and
        ``tries`` all results of recipes so far."""
        costs = {role: self._costs(role, tries) for role in ROLES}
        known = all(cost is not None for one in costs.values() for cost in one.values())
        if not known:  # milliseconds of one model and FP16 layers of the other cannot be added
            costs = {role: dict.fromkeys(one) for role, one in costs.items()}
        detectors, recognizers = (
            [CostedRecipe(recipe, cost, known) for recipe, cost in _costlier(order_by_cost(costs[role])).items()]
            for role in ROLES
        )
        if not self.bar.by_cosine:
            recognizers = recognizers[:1]  # the user's figures have chosen it
        looks = {detectors[0].recipe: seen}
        models = {(detectors[0].recipe, recognizers[0].recipe): recognizer}

        def tried(role: Role, recipe: Recipe, images: Images) -> QuantizedModel:
            start = time.monotonic()
            model = self.run(role, recipe, images)
            if recipe not in {one.recipe for one in tries[role]}:
                cost = predict_cost(self.context.models[role].graph, self.target, recipe)
                result = RecipeResult(recipe, time.monotonic() - start, self.grade(role, model), cost=cost)
                tries[role] = (*tries[role], result)
            return model

        def grade(detector: Recipe, recognizer: Recipe) -> PairGrade:
            if detector not in looks:
                looks[detector] = self.look(tried("detector", detector, self.context.datasets.evaluation.scenes))
            pair = detector, recognizer
            if pair not in models:
                models[pair] = tried("recognizer", recognizer, self.crops(looks[detector]))
            return self._grade_pair(looks[detector], models[pair])

        pairs = search_pairs(detectors, recognizers, grade, self.bar.lowest_end_to_end)
        chosen = next(one for one in pairs if one.chosen)
        pair = chosen.detector.recipe, chosen.recognizer.recipe
        chosen_recipes: dict[Role, Recipe] = dict(zip(ROLES, pair, strict=True))
        for role, recipe in chosen_recipes.items():
            tries[role] = tuple(replace(one, chosen=one.recipe == recipe) for one in tries[role])
        seen = looks[pair[0]]
        return QuantizedResults(
            {"detector": seen.model, "recognizer": models[pair]}, tries, seen.faces, seen.own, pairs
        )

    def _costs(self, role: Role, tries: dict[Role, Tries]) -> dict[Recipe, ModelCost | None]:
        """The cost of the recipe that was chosen for ``role`` alone, then of those of the plan that did not fail."""
        failed = {one.recipe for one in tries[role] if one.grade is None}
        recipes = (chosen_result(tries[role]).recipe, *self.plan.for_role(role).recipes)
        graph = self.context.models[role].graph
        return {one: predict_cost(graph, self.target, one) for one in recipes if one not in failed}

    def _grade_pair(self, seen: _DetectorRun, recognizer: QuantizedModel) -> PairGrade:
        """``recognizer`` was run on ``crops(seen)``."""
        evaluation, reference = self.context.datasets.evaluation, self.context.reference.embeddings
        outputs = recognizer.outputs[0]
        same_crop, own_crop = outputs[: len(reference)], outputs[len(reference) :]
        groups = [evaluation.groups[face] for face in seen.own]
        labeled = _only_among(seen.own, evaluation.labeled)
        decisions = parity.compare_pairs(unit(reference[seen.own]), unit(own_crop), self.context.sources.match, labeled)
        return grades.grade_pair(
            parity.compare_groups(groups, reference[seen.own], same_crop[seen.own]),
            parity.compare_groups(groups, reference[seen.own], own_crop),
            decisions if labeled else None,
            self.bar,
        )


def _costlier(costs: Mapping[Recipe, float]) -> dict[Recipe, float]:
    """The first of ``costs``, then those that are larger, the smallest first."""
    first, *others = costs
    more = sorted((one for one in others if costs[one] > costs[first]), key=costs.__getitem__)
    return {one: costs[one] for one in (first, *more)}


def _only_among(faces: Sequence[int], labeled: Sequence[tuple[int, int, bool]]) -> list[tuple[int, int, bool]]:
    """The pairs of ``labeled`` whose faces are both among ``faces``, as positions in ``faces``."""
    places = {face: place for place, face in enumerate(faces)}
    return [
        (places[first], places[second], same) for first, second, same in labeled if first in places and second in places
    ]
