"""What an evaluation says, on cosines that are known."""

import json
from dataclasses import replace

import numpy as np
import pytest

from rkface.convert.evaluate.evaluation import EvaluationRequest, evaluate_pairs
from rkface.convert.evaluate.labeled_faces import LabeledFaces, all_pairs
from rkface.convert.report.evaluation_report import to_html, to_text, verdict

RANDOM = np.random.default_rng(11)
ASKED = EvaluationRequest("test for rk3588", "0" * 64, False, 1e-2, 0.5)


def labeled(people, photos):
    """That many people; the crops are never looked at here."""
    owner = np.repeat(np.arange(people), photos)
    first, second, _ = all_pairs(owner)
    crops = np.zeros((len(owner), 1, 1, 3), np.uint8)
    return LabeledFaces("people", crops, owner, first, second, owner[first] == owner[second], len(owner))


def scores(data, spread=0.1):
    same = RANDOM.normal(0.6, spread, len(data.same))
    return np.where(data.same, same, RANDOM.normal(0, spread, len(same))).astype(np.float32)


def test_a_threshold_for_the_far_asked_and_what_int8_does_to_it():
    data = labeled(40, 3)
    fp32 = scores(data)
    found = evaluate_pairs(ASKED, data, {"FP32": fp32, "INT8": fp32 + np.float32(0.1)})
    assert not found.few
    assert found.shift.value == pytest.approx(0.1, abs=1e-6) and found.shift_best.value == pytest.approx(0.1, abs=1e-6)
    assert found.shift.low == pytest.approx(0.1, abs=1e-6)  # float32
    int8 = found.decisive
    assert int8.model == "INT8" and int8.chosen.far.value <= 1e-2 < int8.chosen.far.value + 1 / found.different
    # N(0, 0.1) leaves 1 % above 2.33 deviations.
    assert int8.chosen.threshold.value == pytest.approx(0.1 + 0.233, abs=0.03)
    assert found.changed == np.sum((fp32 >= 0.5) != (fp32 + np.float32(0.1) >= 0.5))
    assert set(int8.tar) == {"0.1", "0.01", "0.001"}, "7,020 pairs of different people know no FAR of 1e-4"


def test_the_roc_and_the_histograms_show_all_pairs():
    data = labeled(40, 3)
    figures = evaluate_pairs(ASKED, data, {"FP32": scores(data)}).models[0]
    fars, tars = zip(*figures.roc, strict=True)
    assert list(fars) == sorted(fars) and list(tars) == sorted(tars) and figures.roc[-1] == (1, 1)
    assert fars[0] == 0 and fars[1] == pytest.approx(1 / 7020), "from no pair accepted, and one"
    same, different = (sum(counts) for counts in figures.histograms)
    assert (same, different) == (120, 7020)


def test_too_few_pairs_are_called_that_with_what_it_takes():
    data = labeled(5, 2)
    asked = replace(ASKED, far=1e-3)
    found = evaluate_pairs(asked, data, {"FP32": scores(data)})
    assert found.shift is None and found.changed is None
    # The safe side: no pair of different people is accepted, rather than a tenth of them.
    assert found.models[0].chosen.far.count == 0
    first, second, third = found.few
    assert "40 pairs of different people say nothing about a FAR of 0.001, at least 1,000 are needed" in first
    assert "accepts none of them, and its FAR may be as high as 0.088" in first
    assert "5 pairs of one person" in second and "5 people" in third
    fewer = labeled(3, 2)
    found = evaluate_pairs(
        asked,
        replace(fewer, first=fewer.first[:8], second=fewer.second[:8], same=fewer.same[:8]),
        {"FP32": scores(fewer)[:8]},
    )
    assert found.models[0].folds is None and not found.models[0].tar
    to_html(found), to_text(found), verdict(found)


def test_a_threshold_below_all_the_data_is_told():
    data = labeled(40, 3)
    found = evaluate_pairs(replace(ASKED, current=-1.0), data, {"FP32": scores(data)})
    assert found.models[0].current.far.value == 1
    assert any("lets 100.00% of different people pass, 0.01 is asked" in note for note in found.notes)
    assert not any("lets" in note for note in evaluate_pairs(ASKED, data, {"FP32": scores(data)}).notes)


def test_a_far_that_rests_on_few_pairs_says_how_many_would_do():
    data = labeled(40, 3)
    notes = evaluate_pairs(replace(ASKED, far=1e-3), data, {"FP32": scores(data)}).notes
    assert any("rests on 7 accepted pairs" in note and "30,000 pairs" in note for note in notes)
    notes = evaluate_pairs(ASKED, data, {"FP32": scores(data)}).notes
    assert not any("rests on" in note for note in notes), "70 pairs are enough to know 1 %"


def test_models_that_tell_nobody_apart_are_reported_as_such():
    data = labeled(12, 3)
    flat = np.zeros(len(data.same), np.float32)
    found = evaluate_pairs(ASKED, data, {"FP32": flat, "INT8": flat})
    assert found.models[0].eer.value == pytest.approx(0.5) and found.models[0].chosen.tar.value == 0
    to_html(found), to_text(found)


def test_json_and_html_carry_the_same_figures():
    data = labeled(40, 3)
    found = evaluate_pairs(ASKED, data, {"FP32": scores(data), "INT8": scores(data)}, ["a <note>"])
    html, text = to_html(found), to_text(found)
    json.loads(json.dumps(found.to_dict(), allow_nan=False))
    for figures in found.models:
        for value in (figures.accuracy.value, figures.chosen.tar.value, figures.tar["0.001"].low):
            assert f"{value:.2%}" in html and f"{value:.2%}" in text
        assert f"{figures.chosen.threshold.low:.4f}" in html
    assert html.count("<svg") == 2 and "http" not in html and "a &lt;note&gt;" in html
    assert len(html) < 100_000
    alone = evaluate_pairs(ASKED, data, {"FP32": scores(data)})
    json.dumps(alone.to_dict(), allow_nan=False)
    assert "INT8" not in to_html(alone)
