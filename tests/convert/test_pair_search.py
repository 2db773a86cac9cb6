"""The search for a detector and a recognizer that together are close enough to FP32."""

from dataclasses import dataclass, field

import pytest

from rkface.convert.pair_search import CostedRecipe, PairGrade, search_pairs
from rkface.convert.recipe import Recipe
from rkface.runtime.core.errors import WorkError

GOOD, REQUIRED = 0.993, 0.98


def costed(**costs):
    return [CostedRecipe(Recipe(name, "normal", ""), cost) for name, cost in costs.items()]


@dataclass
class Toolkit:
    """Grades pairs by the errors of both models, which add up; None: the recipe fails."""

    errors: dict[str, float | None]
    asked: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, detector, recognizer):
        self.asked.append((detector.name, recognizer.name))
        lost = [self.errors[one.name] for one in (detector, recognizer)]
        if None in lost:
            raise WorkError("failed at build")
        return PairGrade(1 - sum(lost) >= GOOD, 1 - sum(lost), lost[1])


def search(errors, detectors, recognizers):
    toolkit = Toolkit(errors)
    pairs = search_pairs(costed(**detectors), costed(**recognizers), toolkit, REQUIRED)
    (chosen,) = (one for one in pairs if one.chosen)
    return (chosen.detector.recipe.name, chosen.recognizer.recipe.name), toolkit.asked, chosen


def test_two_models_that_are_close_enough_together_are_kept():
    names, asked, chosen = search({"d": 0.002, "r": 0.003}, {"d": 8, "d2": 8.1}, {"r": 0.5, "r2": 0.6})
    assert names == ("d", "r") and asked == [("d", "r")] and chosen.cost == 8.5


def test_time_is_spent_on_the_model_with_the_larger_error():
    detectors, recognizers = {"d": 8, "d2": 8.2}, {"r": 0.5, "r2": 0.7}
    names, asked, _ = search({"d": 0.008, "d2": 0.002, "r": 0.003, "r2": 0.001}, detectors, recognizers)
    assert names == ("d2", "r") and len(asked) == 2
    names, asked, _ = search({"d": 0.003, "d2": 0.001, "r": 0.008, "r2": 0.002}, detectors, recognizers)
    assert names == ("d", "r2") and len(asked) == 2


def test_a_step_stays_if_it_helps():
    errors = {"d": 0.006, "d2": 0.0045, "d3": 0.001, "r": 0.005, "r2": 0.002}
    detectors = {"d": 8, "d2": 8.2, "d3": 8.4}
    names, asked, _ = search(errors, detectors, {"r": 0.5, "r2": 0.6})
    assert asked == [("d", "r"), ("d2", "r"), ("d2", "r2")] and names == ("d2", "r2")
    names, asked, _ = search(errors | {"d2": 0.007}, detectors, {"r": 0.5, "r2": 0.6})
    assert asked == [("d", "r"), ("d2", "r"), ("d3", "r")] and names == ("d3", "r")


def test_at_most_a_tenth_more_time_is_spent_and_the_best_pair_is_taken():
    errors = {"d": 0.015, "d2": 0.009, "d3": 0.001, "r": 0.003}
    names, asked, _ = search(errors, {"d": 8, "d2": 8.8, "d3": 9.4}, {"r": 0.5})
    assert names == ("d2", "r") and len(asked) == 2
    names, _, _ = search(errors | {"d": 0.018}, {"d": 8, "d2": 8.8, "d3": 9.4}, {"r": 0.5})
    assert names == ("d3", "r"), "what is required may cost more"


def test_a_recipe_that_fails_is_left_out():
    errors = {"d": 0.008, "d2": None, "d3": 0.002, "r": 0.003}
    names, asked, _ = search(errors, {"d": 8, "d2": 8.1, "d3": 8.2}, {"r": 0.5})
    assert names == ("d3", "r") and ("d2", "r") in asked
    with pytest.raises(WorkError):
        search({"d": None, "r": 0.1}, {"d": 8}, {"r": 1})
