"""The choice of recipes for both models together, with fake models whose errors are given."""

from types import SimpleNamespace

import numpy as np
import pytest

from rkface.convert import search_models
from rkface.convert.cost import ModelCost
from rkface.convert.pair_search import PairGrade
from rkface.convert.recipe import COARSE, PLANS, TUNED, AccuracyBar
from rkface.convert.recipe_search import Grade
from rkface.convert.targets import find_target

MILLISECONDS = {"detector": 8.0, "recognizer": 0.5}
FACES = 12


@pytest.fixture
def quantize_pair(monkeypatch):
    """``quantize_pair(lost)``: the results, and the conversions in their order. A detector loses ``lost[recipe]`` of
    the cosine end to end, a recognizer 0.001; each is close enough to FP32 alone."""

    def quantized(lost):
        asked = []

        def predict(role, target, recipe):
            cost = MILLISECONDS[role] * (1 + 0.002 * min(recipe.lead + recipe.trail, 20) + (not recipe.quantized))
            return ModelCost("rk3588", cost, 0, 0, ())

        def quantize(role, recipe, dataset, images):
            asked.append((role, recipe.name, len(images)))
            outputs = [np.ones((len(images), 4), np.float32)]
            return SimpleNamespace(role=role, recipe=recipe, dataset=dataset, outputs=outputs)

        def look(search, detector):
            return search_models._DetectorRun(detector, [], [], np.zeros((len(detector.recipe.name), 1), np.uint8))

        def grade_pair(search, seen, recognizer):
            assert len(recognizer.outputs[0]) == FACES + len(seen.crops), "it embeds the crops of this detector"
            cosine = 1 - lost[seen.model.recipe] - 0.001
            return PairGrade(cosine >= search.bar.end_to_end_good, cosine, 0.001)

        monkeypatch.setattr(search_models, "predict_cost", predict)
        monkeypatch.setattr(search_models._Search, "look", look)
        monkeypatch.setattr(search_models._Search, "grade", lambda *_: Grade(True, (1.0,), ""))
        monkeypatch.setattr(search_models._Search, "_grade_pair", grade_pair)
        images = np.zeros((FACES, 1), np.uint8)
        context = SimpleNamespace(
            models={role: SimpleNamespace(graph=role) for role in MILLISECONDS},
            liveness=None,
            datasets=SimpleNamespace(
                image_list=lambda role: f"{role}.txt",
                evaluation=SimpleNamespace(scenes=images, images=lambda role: images),
            ),
        )
        plan, target = PLANS["auto"], find_target("rk3588")
        results = search_models.quantize_models(context, quantize, target=target, plan=plan, bar=AccuracyBar())
        return results, asked

    return quantized


def test_models_that_are_close_enough_together_are_not_converted_again(quantize_pair):
    results, asked = quantize_pair({TUNED: 0.003})
    assert [(one.detector.recipe, one.recognizer.recipe, one.chosen) for one in results.pairs] == [(TUNED, TUNED, True)]
    assert [role for role, *_ in asked].count("detector") == 1
    assert results.models["detector"].recipe == TUNED


def test_a_better_detector_is_taken_if_both_models_are_too_far_from_fp32_together(quantize_pair):
    first, second, *_ = COARSE
    results, asked = quantize_pair({TUNED: 0.012, first: 0.009, second: 0.004})
    assert [one.detector.recipe for one in results.pairs] == [TUNED, first, second]
    assert results.models["detector"].recipe == second and results.models["recognizer"].recipe == TUNED
    # The recognizer saw the crops at the landmarks of the detector that is used.
    assert len(results.models["recognizer"].outputs[0]) == FACES + len(second.name)
    assert [(one.recipe, one.chosen) for one in results.tries["detector"]] == [
        (TUNED, False), (first, False), (second, True),
    ]  # fmt: skip
    assert [name for role, name, _ in asked if role == "detector"] == [TUNED.name, first.name, second.name]


def test_fp16_gets_no_calibration_images(quantize_pair):
    fp16 = PLANS["auto"].detector[-1]
    results, _ = quantize_pair(dict.fromkeys((TUNED, *COARSE), 0.03) | {fp16: 0.0})
    assert results.models["detector"].recipe == fp16 and results.models["detector"].dataset is None
