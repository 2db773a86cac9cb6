"""The figures and notes of an evaluation, for known cosines."""

import json
from dataclasses import replace

import numpy as np
import pytest

from rkface.convert.evaluate.evaluation import EvaluationRequest, evaluate_pairs
from rkface.convert.evaluate.labeled_faces import LabeledFaces, all_pairs
from rkface.convert.report.evaluation_report import to_html, to_text

RANDOM = np.random.default_rng(11)
REQUEST = EvaluationRequest("test for rk3588", "0" * 64, False, 1e-2, 0.5)


def labeled(people, photos):
    """Labels for ``people`` people; the crops are not used."""
    owner = np.repeat(np.arange(people), photos)
    first, second, _ = all_pairs(owner)
    crops = np.zeros((len(owner), 1, 1, 3), np.uint8)
    return LabeledFaces("people", crops, owner, first, second, owner[first] == owner[second], len(owner))


def scores(data, spread=0.1):
    same = RANDOM.normal(0.6, spread, len(data.same))
    return np.where(data.same, same, RANDOM.normal(0, spread, len(same))).astype(np.float32)


def test_the_threshold_for_the_requested_far_and_its_shift_by_int8():
    data = labeled(40, 3)
    fp32 = scores(data)
    found = evaluate_pairs(REQUEST, data, {"FP32": fp32, "INT8": fp32 + np.float32(0.1)})
    assert not found.few
    assert found.shift.value == pytest.approx(0.1, abs=1e-6) and found.shift_best.value == pytest.approx(0.1, abs=1e-6)
    assert found.shift.low == pytest.approx(0.1, abs=1e-6)  # float32
    int8 = found.decisive
    assert int8.model == "INT8" and int8.chosen.far.value <= 1e-2 < int8.chosen.far.value + 1 / found.different
    # 1 % of N(0, 0.1) is above 2.33 standard deviations.
    assert int8.chosen.threshold.value == pytest.approx(0.1 + 0.233, abs=0.03)
    assert found.changed == np.sum((fp32 >= 0.5) != (fp32 + np.float32(0.1) >= 0.5))
    assert set(int8.tar) == {"0.1", "0.01", "0.001"}, "7,020 pairs of different people are too few for a FAR of 1e-4"


def test_the_roc_and_the_histograms_contain_all_pairs():
    data = labeled(40, 3)
    figures = evaluate_pairs(REQUEST, data, {"FP32": scores(data)}).models[0]
    fars, tars = zip(*figures.roc, strict=True)
    assert list(fars) == sorted(fars) and list(tars) == sorted(tars) and figures.roc[-1] == (1, 1)
    assert fars[0] == 0 and fars[1] == pytest.approx(1 / 7020), "no accepted pair, then one"
    same, different = (sum(counts) for counts in figures.histograms)
    assert (same, different) == (120, 7020)


def test_too_few_pairs_are_reported_with_the_number_needed():
    data = labeled(5, 2)
    asked = replace(REQUEST, far=1e-3)
    found = evaluate_pairs(asked, data, {"FP32": scores(data)})
    assert found.shift is None and found.changed is None
    # The safe choice: no pair of different people is accepted, not a tenth of them.
    assert found.models[0].chosen.far.count == 0
    first, second, third = found.few
    assert "40 pairs of different people are too few for a FAR of 0.001, at least 1,000 are needed" in first
    assert "accepts none of them, and its FAR may be as high as 0.088" in first
    assert "5 pairs of one person" in second and "5 people" in third
    fewer = labeled(3, 2)
    found = evaluate_pairs(
        asked,
        replace(fewer, first=fewer.first[:8], second=fewer.second[:8], same=fewer.same[:8]),
        {"FP32": scores(fewer)[:8]},
    )
    assert found.models[0].folds is None and not found.models[0].tar
    to_html(found, fewer.crops), to_text(found)


def test_a_current_threshold_with_a_high_far_is_reported():
    data = labeled(40, 3)
    found = evaluate_pairs(replace(REQUEST, current=-1.0), data, {"FP32": scores(data)})
    assert found.models[0].current.far.value == 1
    assert any("has a FAR of 100.00%, but 0.01 is requested" in note for note in found.notes)
    assert not any("has a FAR of" in note for note in evaluate_pairs(REQUEST, data, {"FP32": scores(data)}).notes)


def test_a_far_from_few_accepted_pairs_is_reported_with_the_number_needed():
    data = labeled(40, 3)
    notes = evaluate_pairs(replace(REQUEST, far=1e-3), data, {"FP32": scores(data)}).notes
    assert any("is based on 7 accepted pairs" in note and "30,000 pairs" in note for note in notes)
    notes = evaluate_pairs(REQUEST, data, {"FP32": scores(data)}).notes
    assert not any("is based on" in note for note in notes), "70 accepted pairs are enough for a FAR of 1 %"


def test_a_model_that_cannot_tell_people_apart_has_an_eer_of_one_half():
    data = labeled(12, 3)
    flat = np.zeros(len(data.same), np.float32)
    found = evaluate_pairs(REQUEST, data, {"FP32": flat, "INT8": flat})
    assert found.models[0].eer.value == pytest.approx(0.5) and found.models[0].chosen.tar.value == 0
    to_html(found, data.crops), to_text(found)


def test_json_html_and_text_have_the_same_figures():
    data = labeled(40, 3)
    found = evaluate_pairs(REQUEST, data, {"FP32": scores(data), "INT8": scores(data)}, ["a <note>"])
    html, text = to_html(found, data.crops), to_text(found)
    json.loads(json.dumps(found.to_dict(), allow_nan=False))
    for figures in found.models:
        for value in (figures.accuracy.value, figures.chosen.tar.value, figures.tar["0.001"].low):
            assert f"{value:.2%}" in html and f"{value:.2%}" in text
        assert f"{figures.chosen.threshold.low:.4f}" in html
    assert html.count("<svg") == 2 and "http:" not in html and "https:" not in html and "a &lt;note&gt;" in html
    assert len(html) < 100_000
    alone = evaluate_pairs(REQUEST, data, {"FP32": scores(data)})
    json.dumps(alone.to_dict(), allow_nan=False)
    assert "INT8" not in to_html(alone, data.crops)
