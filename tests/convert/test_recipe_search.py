"""The search for the best recipe, with a fake toolkit whose results are given."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from rkface.convert.cost import ModelCost
from rkface.convert.evaluate.grades import grade_embeddings
from rkface.convert.evaluate.parity import EmbeddingParity
from rkface.convert.recipe import (
    BIAS_CLIP,
    BIAS_WIDE,
    COARSE,
    DISTILLED,
    FP16,
    HYBRIDS,
    KL,
    MMSE,
    NORMAL,
    PLANS,
    RECIPES,
    TUNED,
    TUNED_MARGIN,
    TUNED_WIDE,
    W8A8,
    AccuracyBar,
)
from rkface.convert.recipe_search import Grade, search_recipes
from rkface.convert.targets import find_target
from rkface.runtime.core.errors import InputError, WorkError

# Recipes of equal cost, in the order in which `auto` tries them.
EQUAL = (TUNED, TUNED_WIDE, BIAS_CLIP, TUNED_MARGIN, NORMAL)

AUTO = PLANS["auto"].for_role("liveness")  # without recipes for detectors or for recognizers
THOROUGH = replace(PLANS["thorough"].for_role("recognizer"), others=())
NOTHING_CLEARS = {recipe.name: 0.9 for recipe in PLANS["thorough"].recipes}


def parity_of(cosines):
    found = np.array(cosines)
    return EmbeddingParity(len(found), found.mean(), np.percentile(found, 1), found.min(), 1.0, 0.05, tuple(cosines))


@pytest.fixture
def toolkit(tmp_path):
    """``toolkit(cosines)``: the callables for ``search_recipes``. A recipe with a cosine of None fails in the toolkit;
    those in ``unclear`` do not count as accurate enough for another reason. FP16 costs a millisecond for each layer,
    unless ``bounds`` says otherwise."""

    def made(cosines, unclear=(), bounds=None):
        cosines, bounds = NOTHING_CLEARS | cosines, bounds or {}

        def run(recipe):
            if cosines[recipe.name] is None:
                raise WorkError(f"{recipe.name} failed at build")
            (path := tmp_path / f"{recipe.name}.rknn").touch()
            return SimpleNamespace(rknn=path, cosine=cosines[recipe.name])

        def grade(done):
            bad_face = done.cosine in unclear
            clears = done.cosine >= 0.995 and not bad_face
            return Grade(clears, (done.cosine,), f"{done.cosine}", clears_well=done.cosine >= 0.9955)

        def predict(recipe):
            bound = bounds.get(recipe.name, 5.0 + recipe.lead + recipe.trail)
            return None if bound is None else ModelCost("rk3588", bound, 0, 0, ())

        return run, grade, predict

    return made


def test_the_search_ends_at_the_first_recipe_that_is_accurate_enough(toolkit):
    chosen, tries = search_recipes(AUTO, *toolkit({"tuned": 0.996, "hybrid3": 0.999}))
    assert chosen.cosine == 0.996
    assert [(one.recipe, one.chosen) for one in tries] == [(TUNED, True)]


def test_if_int8_does_not_clear_the_bar_the_cheapest_hybrid_that_does_is_chosen(toolkit):
    cosines = {"tuned": 0.98, "hybrid3": 0.994, "hybrid7": 0.9951, "hybrid11": 0.999}
    chosen, tries = search_recipes(AUTO, *toolkit(cosines))
    assert chosen.cosine == 0.9951
    assert [one.recipe for one in tries] == [TUNED, *HYBRIDS[:2]]


@pytest.mark.parametrize("plan", [AUTO, THOROUGH])
def test_the_predicted_cost_decides_and_not_the_number_of_layers(toolkit, plan):
    cosines = {"hybrid3": 0.996, "hybrid7": 0.999, "hybrid11": 0.998}
    chosen, tries = search_recipes(plan, *toolkit(cosines, bounds={"hybrid3": 9.0, "hybrid7": 8.0, "hybrid11": 7.0}))
    assert chosen.cosine == 0.998
    assert [one.cost.milliseconds for one in tries] == sorted(one.cost.milliseconds for one in tries)


def test_without_predicted_costs_the_fewest_layers_in_fp16_are_chosen(toolkit):
    cosines = {"hybrid3": 0.996, "hybrid22": 0.999}
    chosen, tries = search_recipes(THOROUGH, *toolkit(cosines, bounds={"hybrid22": None, "hybrid3": 99.0}))
    assert chosen.cosine == 0.996 and tries[-1].cost is None


def test_a_tenth_of_the_time_may_be_spent_on_a_result_that_is_accurate_enough_by_a_margin(toolkit):
    cosines = {"tuned": 0.9951, "hybrid3": 0.9952, "hybrid7": 0.9953, "hybrid11": 0.999}
    bounds = {"tuned": 5.0, "hybrid3": 5.2, "hybrid7": 5.4, "hybrid11": 5.6}
    chosen, tries = search_recipes(AUTO, *toolkit(cosines, bounds=bounds), 0.1)
    assert chosen.cosine == 0.9953 and len(tries) == 3, "nothing within 5.5 ms is: the most accurate"
    chosen, _ = search_recipes(AUTO, *toolkit(cosines | {"hybrid3": 0.996}, bounds=bounds), 0.1)
    assert chosen.cosine == 0.996, "the cheapest that is"
    chosen, _ = search_recipes(THOROUGH, *toolkit(cosines, bounds=bounds), 0.1)
    assert chosen.cosine == 0.9953, "the limit also holds if all recipes are tried"
    chosen, tries = search_recipes(AUTO, *toolkit(cosines, bounds=bounds))
    assert chosen.cosine == 0.9951 and len(tries) == 1


def test_the_most_accurate_is_chosen_if_no_recipe_is_accurate_enough(toolkit):
    chosen, tries = search_recipes(AUTO, *toolkit({"tuned": 0.98, "hybrid7": 0.99}))
    assert chosen.cosine == 0.99 and [one.recipe for one in tries if one.chosen] == [HYBRIDS[1]]
    assert [one.recipe for one in tries] == [TUNED, *HYBRIDS]


def test_clearing_the_bar_is_more_important_than_rank(toolkit):
    scores = {"tuned": 0.9958, "hybrid3": 0.9955}
    chosen, tries = search_recipes(AUTO, *toolkit(scores, unclear=(0.9958,)))
    assert chosen.cosine == 0.9955 and len(tries) == 2


def test_the_earlier_of_two_equal_recipes_is_chosen_and_nan_never(toolkit):
    scores = dict.fromkeys(NOTHING_CLEARS, 0.9) | {"tuned": float("nan")}
    chosen, tries = search_recipes(AUTO, *toolkit(scores))
    assert chosen.cosine == 0.9 and [one.chosen for one in tries[:3]] == [False, True, False]


def test_thorough_tries_all_chooses_int8_if_it_is_accurate_enough_and_reports_failures(toolkit):
    scores = {"tuned": 0.996, "normal": None, "mmse": 0.998, "hybrid11": 0.9999}
    chosen, tries = search_recipes(THOROUGH, *toolkit(scores))
    assert chosen.cosine == 0.998
    assert [one.recipe for one in tries] == [*W8A8, KL, MMSE, *HYBRIDS]
    failed = next(one for one in tries if one.recipe == NORMAL)
    assert failed.grade is None and "failed at build" in failed.error


def test_a_model_that_cannot_be_tuned_is_converted_with_the_toolkits_default(toolkit):
    failing = dict.fromkeys(("tuned", *(recipe.name for recipe in HYBRIDS)))
    chosen, tries = search_recipes(AUTO, *toolkit(failing | {"normal": 0.996}))
    assert chosen.cosine == 0.996 and [one.recipe for one in tries] == [TUNED, NORMAL]


def test_recipes_of_equal_cost_compete_and_others_are_tried_only_if_none_clears_the_bar_well(toolkit):
    def search(cosines):
        chosen, tries = search_recipes(PLANS["auto"].for_role("recognizer"), *toolkit(cosines))
        return chosen.cosine, [one.recipe for one in tries]

    assert search({"tuned": 0.996, "tuned-wide": 0.997, "normal": 0.999}) == (0.997, [TUNED, TUNED_WIDE])
    assert search({"tuned": 0.9951, "normal": 0.9953, "hybrid3": 0.9999}) == (0.9953, list(EQUAL))
    assert search({"hybrid3": 0.9951, "hybrid7": 0.9999}) == (0.9951, [*EQUAL, HYBRIDS[0]])


def test_a_recognizer_that_cannot_be_tuned_is_converted_with_the_toolkits_default(toolkit):
    failing = dict.fromkeys(recipe.name for recipe in (*EQUAL[:-1], *HYBRIDS))
    chosen, tries = search_recipes(PLANS["auto"].for_role("recognizer"), *toolkit(failing | {"normal": 0.996}))
    assert chosen.cosine == 0.996 and [one.recipe for one in tries] == [TUNED, NORMAL, TUNED_WIDE]


def test_no_recipe_is_tried_twice(toolkit):
    cosines = {"tuned": 0.98, "normal": 0.985, "hybrid3": None}
    _, tries = search_recipes(PLANS["auto"].for_role("recognizer"), *toolkit(cosines))
    assert [one.recipe for one in tries] == [*EQUAL, *HYBRIDS] and sum(one.chosen for one in tries) == 1


def test_without_predicted_costs_fp16_costs_more_than_any_other_recipe(toolkit):
    cosines = NOTHING_CLEARS | {COARSE[0].name: 0.996, "fp16": 1.0}
    unknown = dict.fromkeys((*cosines, *(one.name for one in COARSE)))
    detector = PLANS["auto"].for_role("detector")
    chosen, tries = search_recipes(detector, *toolkit(cosines, bounds=unknown), 0.1)
    assert chosen.cosine == 0.996 and [one.recipe for one in tries] == [TUNED, COARSE[0]]


def test_a_detector_gets_no_recipe_that_is_the_same_without_faces():
    assert PLANS["auto"].for_role("detector").recipes == (TUNED, *COARSE, FP16)
    tried = PLANS["thorough"].for_role("detector").recipes
    assert {TUNED, BIAS_WIDE, RECIPES["tuned-margin"]} < {*tried} and not {TUNED_WIDE, RECIPES["bias-clip"]} & {*tried}


def test_only_a_detector_gets_recipes_for_its_coarse_grids():
    assert not set(COARSE) & set(PLANS["thorough"].for_role("recognizer").recipes)
    assert PLANS["coarse3"].for_role("detector").recipes == (RECIPES["coarse3"],)
    assert PLANS["coarse3"].for_role("recognizer").recipes == (TUNED,) == PLANS["coarse3"].for_role("liveness").recipes


def test_slow_recipes_are_skipped_on_a_detector_unless_requested():
    assert MMSE not in PLANS["thorough"].for_role("detector").recipes
    assert MMSE in PLANS["thorough"].for_role("recognizer").recipes
    assert PLANS["mmse"].for_role("detector").recipes == (MMSE,)


def test_the_search_fails_if_every_recipe_fails(toolkit):
    with pytest.raises(WorkError, match="hybrid22 failed"):
        search_recipes(AUTO, *toolkit(dict.fromkeys(NOTHING_CLEARS)))


def test_a_chip_without_floating_point_gets_no_hybrid():
    able = PLANS["auto"].for_target(find_target("rv1106"))
    assert able.recipes == (TUNED, TUNED_WIDE) and PLANS["auto"].for_target(find_target("rk3588")) == PLANS["auto"]
    with pytest.raises(InputError, match="rv1106 has no floating point"):
        PLANS["hybrid3"].for_target(find_target("rv1106"))


def test_one_bad_face_fails_the_bar():
    good, bad = parity_of([0.998] * 29 + [0.993]), parity_of([0.9985] * 29 + [0.98])
    assert grade_embeddings({"in-domain": good}, AccuracyBar()).clears
    assert not grade_embeddings({"in-domain": good}, AccuracyBar(0.999, 0.99)).clears
    assert not grade_embeddings({"in-domain": good, "unlike": bad}, AccuracyBar()).clears
    assert grade_embeddings({"in-domain": good, "augmented": bad}, AccuracyBar()).clears, "changed faces are not real"


def test_the_rank_weighs_the_mean_and_the_worst_quarter_of_each_group_out_of_domain():
    def rank(unlike, augmented=(0.998,) * 60):
        groups = {"in-domain": [0.9999] * 100, "unlike": unlike, "augmented": augmented}
        return grade_embeddings({name: parity_of(one) for name, one in groups.items()}, AccuracyBar()).rank

    assert rank([0.998] * 20) > rank([0.9985] * 15 + [0.995] * 5), "a better mean does not outweigh the worst quarter"
    assert rank([0.9985] * 39 + [0.992]) > rank([0.9975] * 40), "a single face does not decide"
    assert rank([0.998] * 8) > rank([0.997] * 8, [0.9989] * 60), "a few unlike faces count as much as many changed ones"


def test_distillation_is_for_recognizers_and_is_tried_after_tuned(toolkit):
    for name in ("distilled", "thorough"):
        assert PLANS[name].for_role("recognizer").others == (DISTILLED,)
        assert DISTILLED not in (detector := PLANS[name].for_role("detector")).recipes and not detector.others
    assert PLANS["distilled"].for_role("detector").recipes == (TUNED,)
    cosines = {"tuned": 0.9970, "distilled": 0.9975}
    chosen, tries = search_recipes(PLANS["distilled"].for_role("recognizer"), *toolkit(cosines))
    assert [one.recipe.name for one in tries] == ["tuned", "distilled"] and chosen.rknn.stem == "distilled"
