"""The report of an evaluation: its structure, its verdict, and the worst pairs, for known cosines."""

import json
from dataclasses import replace

import numpy as np
import pytest

from rkface.convert.evaluate.evaluation import evaluate_pairs
from rkface.convert.evaluate.worst_pairs import find_worst_pairs
from rkface.convert.report.evaluation_report import to_html, verdict

from .described_keys import described_keys, keys_of
from .parsed_page import ParsedPage
from .samples import REQUEST, labeled_faces, scores

HOSTILE = "a/<img src=x onerror=alert(1)>\u202e\udcff.jpg"


def test_the_worst_pairs_of_both_kinds_the_worst_first():
    data = labeled_faces(3, 2)
    cosines = np.where(data.same, 0.9, 0.1).astype(np.float32) + np.arange(len(data.same), dtype=np.float32) / 1000
    found = find_worst_pairs(data, {"FP32": cosines * 0, "INT8": cosines}, 2)
    assert [one.same for one in found] == [True, True, False, False]
    same, different = np.flatnonzero(data.same), np.flatnonzero(~data.same)
    for pair, place in zip(found, [*same[:2], *different[::-1][:2]], strict=True):
        assert pair.faces == (data.first[place], data.second[place])
        assert pair.photos == tuple(data.names[face] for face in pair.faces)
        assert pair.cosines == {"FP32": 0.0, "INT8": pytest.approx(float(cosines[place]), abs=1e-5)}


def test_the_page_shows_the_faces_of_the_worst_pairs_and_its_contents():
    data = labeled_faces()
    found = evaluate_pairs(REQUEST, data, {"FP32": scores(data), "INT8": scores(data)}, ["a note"])
    page = ParsedPage(to_html(found, data.crops))
    assert page.sections == page.contents == ["worst-pairs", "notes", "figures", "roc", "scores", "sources"]
    assert page.html.count("data:image/jpeg") == 32, "8 pairs of each kind, two faces each"
    without = ParsedPage(to_html(replace(found, worst_pairs=()), data.crops))
    assert "worst-pairs" not in without.sections and "data:" not in "".join(without.addresses)


def test_names_of_photos_are_text_and_never_markup():
    data = labeled_faces(12, 2, name=HOSTILE)
    found = evaluate_pairs(REQUEST, data, {"FP32": scores(data)})
    html = to_html(found, data.crops)
    html.encode()
    page = ParsedPage(html)
    assert page.tags.count("img") == 32 and "<img src=x" not in html and "a/&lt;img src=x" in html
    assert "\u202e" not in html, "a mark of the direction of writing would show the rest of the name backwards"
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    "people, threshold, level, words",
    [
        (40, 0.3, "good", "keeps the requested FAR"),
        (5, 0.3, "bad", "too few"),
        (40, 0.1, "bad", "Change the threshold"),
        (40, 0.65, "warn", "higher than the requested FAR needs"),
    ],
)
def test_the_color_of_the_verdict_is_that_of_its_words(people, threshold, level, words):
    data = labeled_faces(people)
    found = evaluate_pairs(replace(REQUEST, current=threshold), data, {"FP32": scores(data)})
    assert verdict(found).level == level and words in verdict(found).headline
    assert ParsedPage(to_html(found, data.crops)).verdict == (level, verdict(found).headline)


def test_every_key_of_the_json_is_described():
    data = labeled_faces()
    groups = np.array(["one", "two"])[data.people % 2]
    found = evaluate_pairs(REQUEST, data, {"FP32": scores(data), "INT8": scores(data)}, groups=groups).to_dict()
    assert keys_of(found) == described_keys("The JSON of an evaluation"), "docs/report.md"


def test_a_far_that_may_be_the_requested_one_is_a_warning():
    data = labeled_faces()
    cosines = scores(data)
    limit = np.sort(cosines[~data.same])[-75]  # 75 of 7,020 pairs: 1.07 %, where 1 % is requested
    found = evaluate_pairs(replace(REQUEST, current=float(limit)), data, {"FP32": cosines})
    assert found.models[0].current.far.low < 0.01 < found.models[0].current.far.value
    assert verdict(found).level == "warn" and "may accept too many" in verdict(found).headline
