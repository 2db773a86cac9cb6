"""The report of a conversion: its structure, its verdict, and file names that are not harmless."""

import json
from dataclasses import replace

import numpy as np
import pytest

from rkface.convert.evaluate.bootstrap import Estimate
from rkface.convert.evaluate.max_drop import MetricDrop
from rkface.convert.evaluate.parity import GroupParity, compare_embeddings, compare_liveness, compare_pairs
from rkface.convert.metric_bar import MetricBar
from rkface.convert.recipe import AccuracyBar
from rkface.convert.report.model_facts import ShapeFacts
from rkface.convert.report.page import named_values
from rkface.convert.report.plot import ScatterPoint, scatter
from rkface.convert.toolkit.quantize import LayerError
from rkface.runtime.core.manifest import UNMEASURED

from .described_keys import described_keys, keys_of
from .parsed_page import ParsedPage
from .samples import RANDOM, conversion_html, conversion_report, manifest

ORDER = ["accuracy", "worst-faces", "thresholds", "notes", "detection", "recipes", "calibration", "models", "limits",
         "settings"]  # fmt: skip


def page(report):
    return ParsedPage(conversion_html(report))


def test_every_section_is_in_the_contents_and_the_most_important_ones_come_first():
    seen = page(conversion_report())
    assert seen.sections == seen.contents == ORDER
    assert page(conversion_report(notes=())).sections == [one for one in ORDER if one != "notes"]


def test_names_of_files_are_text_and_never_markup():
    seen = page(conversion_report())
    assert not {"script", "iframe", "object"} & set(seen.tags)
    assert any("<script>alert(1)</script>\"'&?.onnx" in cell for cell in seen.cells)
    assert json.loads(conversion_report().to_json())["notes"] == ["<script>alert(1)</script>\"'&?.onnx is odd"]
    assert all(address.startswith(("data:", "#")) for address in seen.addresses)


def test_tables_have_values_and_no_json():
    seen = page(conversion_report())
    assert not [cell for cell in seen.cells if "{" in cell or "[" in cell or "0e+00" in cell]
    row = seen.cells.index("evidence: accepted: same: low")
    assert seen.cells[row + 1] == "0.25"
    assert seen.cells[seen.cells.index("inputs: recognizer: mean") + 1] == "1, 2.5"
    assert "inputs: recognizer: doubt" not in seen.cells, "it is empty"


def test_every_key_of_report_json_is_described():
    found = conversion_report()
    labels = [(0, 1, True), (0, 2, False)]
    vectors = np.eye(3, dtype=np.float32)
    parity = replace(
        found.parity,
        pairs=compare_pairs(vectors, vectors, 0.4, labels),
        drops=(MetricDrop("tar@0.1", "TAR", 1, 1, Estimate(0, 0, 0), 0.5, 1, 1, 3),),
        liveness=compare_liveness(np.ones(3, np.float32), np.ones(3, np.float32), 0.5),
    )
    layers = (LayerError("conv", "Conv", 0.99, 0.999),)
    required = AccuracyBar(max_drop=(MetricBar("tar", 0.5, 0.1),))
    models = (replace(found.models[0], layers=layers),)
    shapes = (ShapeFacts(640, 384, 2_167_574, parity.detection, 3.02),)
    data = replace(found, required=required, parity=parity, models=models, shapes=shapes).to_dict()
    assert data["required"]["mean"] is data["required"]["end_to_end"] is None, "cosines do not decide"
    found, described = keys_of(data), described_keys("report.json")
    assert found - described == set(), "add them to docs/report.md"
    assert described - found <= {"augmented", "unlike"}, "remove them from docs/report.md"


def test_other_shapes_of_the_detector_are_listed_with_their_figures():
    found = conversion_report()
    assert "Other shapes" not in conversion_html(found)
    page = conversion_html(replace(found, shapes=(ShapeFacts(640, 384, 2_167_574, found.parity.detection, 3.024),)))
    assert "Other shapes" in page
    cells = ParsedPage(page).cells
    assert "640×384" in cells and "3.02" in cells and "2.2" in cells


def test_values_of_any_depth_become_rows():
    rows = named_values({"a_b": {"c": None, "d": [True, 1.5]}, "e": [], "f": 0, "g": {}})
    assert rows == [("a b: d", "yes, 1.5"), ("f", "0")]


@pytest.mark.parametrize(
    "fault, written, level, headline",
    [
        (None, True, "good", "Accepted"),
        ("the models differ", False, "bad", "Refused"),
        ("the models differ", True, "warn", "Written with --accept"),
    ],
)
def test_the_color_of_the_verdict_is_that_of_its_words(fault, written, level, headline):
    seen = page(conversion_report(fault=fault, bundle_written=written))
    assert seen.verdict[0] == level and seen.verdict[1].startswith(headline)
    assert fault is None or "The models differ" in seen.html


def test_the_figures_and_the_threshold_stand_before_the_first_section():
    found = conversion_report()
    top = page(found).html.split("<section")[0]
    for figure in (found.parity.embedding.mean, found.parity.embedding.minimum, 0.4321):
        assert f"{figure:.4f}" in top
    assert "evidence: see below" in top


def test_out_of_domain_figures_stand_beside_in_domain_figures():
    found = conversion_report()
    assert "unlike (out of domain)</dt><dd>no group" in page(found).html
    assert "Fewer than 5 held-out faces are unlike" in found.verdict().text
    vectors = RANDOM.normal(size=(7, 64)).astype(np.float32)
    unlike = compare_embeddings(vectors, vectors + RANDOM.normal(size=(7, 64)).astype(np.float32) * 0.1)
    groups = {"unlike": GroupParity(unlike, unlike), **found.parity.groups}
    seen = page(replace(found, parity=replace(found.parity, groups=groups)))
    assert "no group" not in seen.html.split("<section")[0]
    assert f"{unlike.mean:.4f} on 7 unlike faces (worst {unlike.minimum:.4f})" in seen.html
    at = seen.cells.index("unlike")
    assert seen.cells[at + 1 : at + 4] == ["7", f"{unlike.mean:.4f}", f"{unlike.minimum:.4f}"]
    assert seen.cells.index("unlike") < seen.cells.index("in-domain"), "those most like strangers come first"
    assert "required of unlike and in-domain" in seen.cells and "Fewer than 5 held-out faces" not in seen.html


def test_an_unmeasured_threshold_is_named_in_the_verdict():
    found = conversion_report()
    provenance = {**found.manifest.provenance, "match_threshold": UNMEASURED}
    seen = conversion_report(manifest=replace(found.manifest, provenance=provenance))
    assert "threshold is not measured" in seen.verdict().text
    assert "threshold is not measured" not in found.verdict().text


def test_one_recipe_makes_no_plot_and_two_make_one():
    assert "<circle" not in page(conversion_report()).html
    points = [ScatterPoint("a", 1.0, 0.99), ScatterPoint("b", 2.0, 0.999, chosen=True)]
    assert scatter(points[:1], "x", "y", ".2f", 0.5) is None
    assert scatter([points[0], replace(points[1], y=float("nan"))], "x", "y", ".2f", 0.5) is None
    assert str(scatter(points, "x", "y", ".2f", 0.5)).count("<circle") == 2


def test_pairs_of_models_are_shown_if_there_was_a_choice():
    found = conversion_report()
    assert "Detector and recognizer together" in page(found).html
    assert "Detector and recognizer together" not in page(replace(found, model_pairs=found.model_pairs[:1])).html


def test_a_report_without_calibration_speaks_of_fp16():
    seen = page(conversion_report(manifest=manifest()))
    assert seen.verdict == ("good", "Accepted: FP16 is as close to FP32 as required, in the simulator.")
