"""The report of a conversion: its structure, its verdict, and file names that are not harmless."""

import json
from dataclasses import replace

import numpy as np
import pytest

from rkface.convert.evaluate.detector_errors import (
    DetectorEvidence,
    OutputError,
    SceneErrors,
    SizeErrors,
    ThresholdErrors,
)
from rkface.convert.evaluate.parity import DetectionParity, GroupParity, PairParity, Parity, compare_embeddings
from rkface.convert.recipe import TUNED, AccuracyBar
from rkface.convert.recipe_search import Grade, RecipeResult
from rkface.convert.report.conversion_report import ConversionReport
from rkface.convert.report.model_facts import FacePicture, ModelFacts, ReportImages
from rkface.convert.report.page import named_values
from rkface.convert.report.plot import ScatterPoint, scatter
from rkface.runtime.core.crop_template import ARCFACE_112
from rkface.runtime.core.manifest import Input, Manifest, Model, Output, RecognizerSpec, Source, Thresholds

from .parsed_page import ParsedPage

RANDOM = np.random.default_rng(5)
HOSTILE = "<script>alert(1)</script>\"'&\udcff.onnx"  # the last character is a byte that is not UTF-8
ORDER = ["accuracy", "worst-faces", "threshold", "notes", "detection", "recipes", "calibration", "models", "limits",
         "settings"]  # fmt: skip


def manifest(calibration=None):
    source = Source(HOSTILE, "0" * 64, 1000, "MIT")
    input = Input("x", 112, 112, (127.5,) * 3, (127.5,) * 3)
    model = Model("m.rknn", "reference/m.onnx", "int8", input, (Output("y", (1, 512)),), source)
    provenance = {
        "calibration": calibration,
        "match_threshold": {"by": "rkface evaluate", "accepted": {"same": {"low": 0.25}}, "interval": [0.5, 0.75]},
        "versions": {"onnx": "1.18.0"},
        "inputs": {"recognizer": {"mean": [1, 2.5], "order": HOSTILE, "doubt": ""}},
    }
    return Manifest(
        "test", False, "2026-01-01", "rk3588", "2.5.0", "0.1.0", model, RecognizerSpec(**vars(model), crop=ARCFACE_112),
        Thresholds(0.5, 0.4, 0.4321), provenance,
    )  # fmt: skip


def report(**changes):
    before = RANDOM.normal(size=(20, 64)).astype(np.float32)
    embedding = compare_embeddings(before, before + RANDOM.normal(size=(20, 64)).astype(np.float32) * 0.05)
    detection = DetectionParity(10, 20, 20, 19, 0, 1, 0.99, 0.9, 0.01, 0.02)
    scenes = SceneErrors(1, (ThresholdErrors(0.5, 20, 0, 0, 1, 0),), (SizeErrors(0, None, 20, 0, 0, 1, 0.99, 0.01),))
    output = OutputError("score", 8, 100, 0.0, 0.0, 0.0, (0.9, 0.9), 0.004)
    tried = RecipeResult(TUNED, 1.0, Grade(True, (1.0,), "close", 0.99), chosen=True)
    facts = [
        ModelFacts(role, 500, (10, 9), 0.0, {"build": 1.0}, 100.0, (f"{HOSTILE}: outliers",), (tried,))
        for role in ("detector", "recognizer")
    ]
    fields = {
        "manifest": manifest({"digest": "1" * 64, "faces": 30, "frames": 20}),
        "bar": AccuracyBar(),
        "parity": Parity(
            detection,
            embedding,
            embedding,
            PairParity(190, 0.4321, 2),
            groups={"in-domain": GroupParity(embedding, embedding)},
            out_of_domain=compare_embeddings(before[:0], before[:0]),
        ),
        "evidence": DetectorEvidence((output,), scenes, scenes),
        "models": tuple(facts),
        "notes": (f"{HOSTILE} is odd",),
    }
    return ConversionReport(**fields | changes)


def page(report):
    crop = np.zeros((112, 112, 3), np.uint8)
    faces = [FacePicture(crop, cosine, "in-domain") for cosine in sorted(report.parity.embedding.cosines)]
    return ParsedPage(report.to_html(ReportImages(faces, [FacePicture(crop, 0.9, "blurred")], [crop], crop, None)))


def test_every_section_is_in_the_contents_and_the_most_important_ones_come_first():
    seen = page(report())
    assert seen.sections == seen.contents == ORDER
    assert page(report(notes=())).sections == [one for one in ORDER if one != "notes"]


def test_names_of_files_are_text_and_never_markup():
    seen = page(report())
    assert not {"script", "iframe", "object"} & set(seen.tags)
    assert any("<script>alert(1)</script>\"'&?.onnx" in cell for cell in seen.cells)
    assert json.loads(report().to_json())["notes"] == ["<script>alert(1)</script>\"'&?.onnx is odd"]
    assert all(address.startswith(("data:", "#")) for address in seen.addresses)


def test_tables_have_values_and_no_json():
    seen = page(report())
    assert not [cell for cell in seen.cells if "{" in cell or "[" in cell or "0e+00" in cell]
    row = seen.cells.index("evidence: accepted: same: low")
    assert seen.cells[row + 1] == "0.25"
    assert seen.cells[seen.cells.index("inputs: recognizer: mean") + 1] == "1, 2.5"
    assert "inputs: recognizer: doubt" not in seen.cells, "it is empty"


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
    seen = page(report(fault=fault, bundle_written=written))
    assert seen.verdict[0] == level and seen.verdict[1].startswith(headline)
    assert fault is None or "The models differ" in seen.html


def test_the_figures_and_the_threshold_stand_before_the_first_section():
    found = report()
    top = page(found).html.split("<section")[0]
    for figure in (found.parity.embedding.mean, found.parity.embedding.minimum, 0.4321):
        assert f"{figure:.4f}" in top
    assert "evidence: see below" in top


def test_out_of_domain_figures_stand_beside_in_domain_figures():
    found = report()
    assert "out of domain: unlike</dt><dd>not measured" in page(found).html
    vectors = RANDOM.normal(size=(7, 64)).astype(np.float32)
    unlike = compare_embeddings(vectors, vectors + RANDOM.normal(size=(7, 64)).astype(np.float32) * 0.1)
    groups = {"unlike": GroupParity(unlike, unlike), **found.parity.groups}
    seen = page(replace(found, parity=replace(found.parity, groups=groups)))
    assert "not measured" not in seen.html.split("<section")[0]
    assert f"{unlike.mean:.4f} on 7 unlike faces (worst {unlike.minimum:.4f})" in seen.html
    at = seen.cells.index("unlike")
    assert seen.cells[at + 1 : at + 4] == ["7", f"{unlike.mean:.4f}", f"{unlike.minimum:.4f}"]
    assert seen.cells.index("unlike") < seen.cells.index("in-domain"), "those most like strangers come first"
    assert "required of unlike and in-domain" in seen.cells


def test_one_recipe_makes_no_plot_and_two_make_one():
    assert "<circle" not in page(report()).html
    points = [ScatterPoint("a", 1.0, 0.99), ScatterPoint("b", 2.0, 0.999, chosen=True)]
    assert scatter(points[:1], "x", "y", ".2f", 0.5) is None
    assert scatter([points[0], replace(points[1], y=float("nan"))], "x", "y", ".2f", 0.5) is None
    assert str(scatter(points, "x", "y", ".2f", 0.5)).count("<circle") == 2


def test_a_report_without_calibration_speaks_of_fp16():
    seen = page(report(manifest=manifest()))
    assert seen.verdict == ("good", "Accepted: FP16 is as close to FP32 as required, in the simulator.")
