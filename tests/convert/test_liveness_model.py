"""The conversion of a liveness model: its profile, the exact swap of color channels, and its required accuracy."""

import io
import json
import re
import shutil
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxsim")

from onnx import TensorProto, helper, numpy_helper

from rkface.convert.catalog import LIVENESS_PROFILES
from rkface.convert.evaluate.grades import find_fault, grade_liveness
from rkface.convert.evaluate.parity import LivenessParity, compare_liveness
from rkface.convert.liveness_model import choose_profile, explain_profile
from rkface.convert.recipe import AccuracyBar
from rkface.convert.same_outputs import check_same_outputs, max_difference
from rkface.convert.simplify import fix_input, simplify
from rkface.runtime.cli.main import main
from rkface.runtime.core.bundle import read_bundle
from rkface.runtime.core.errors import InputError, ModelError, WorkError
from rkface.runtime.inference.open_bundle import open_bundle
from rkface.runtime.vision.image import read_image
from rkface.runtime.vision.liveness import probabilities

from .conftest import ONE_SHAPE, OWN
from .evaluate.test_parity import parity

OWN_PROFILE = {"scale": 2.0, "live": 0, "bgr": True}


def classifier(path, side=80, classes=3, first="Conv", last="Gemm"):
    """A small classifier with random weights: it distinguishes all channels and all positions."""
    random = np.random.default_rng(11)
    weights = {
        "first": random.normal(0, 0.02, (8, 3, 3, 3)),
        "slope": np.full((8, 1, 1), 0.25),
        "second": random.normal(0, 0.2, (12, 8, 3, 3)),
        "last": random.normal(0, 0.3, (12, classes)),
        "shift": np.float32([0.5, 0.1, -0.2]).reshape(1, 3, 1, 1),
    }
    nodes = [
        *([helper.make_node("Sub", ["x", "shift"], ["shifted"])] if first == "Sub" else []),
        *([helper.make_node("Abs", ["x"], ["shifted"])] if first == "Abs" else []),
        helper.make_node(
            "Conv", ["x" if first == "Conv" else "shifted", "first"], ["c1"], pads=[1] * 4, strides=[2, 2]
        ),
        helper.make_node("PRelu", ["c1", "slope"], ["a1"]),
        helper.make_node("Conv", ["a1", "second"], ["c2"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["c2"], ["a2"]),
        helper.make_node("GlobalAveragePool", ["a2"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "last"], ["y" if last == "Gemm" else "logits"]),
        *([helper.make_node("Softmax", ["logits"], ["y"], axis=1)] if last == "Softmax" else []),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", classes])],
        [
            numpy_helper.from_array(np.asarray(value, np.float32), name)
            for name, value in weights.items()
            if name != "shift" or first == "Sub"
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_a_model_like_minifasnet_gets_its_profile_and_options_change_it(tmp_path):
    two, four = (
        classifier(tmp_path / name) for name in ("2.7_80x80_MiniFASNetV2.onnx", "4_0_0_80x80_MiniFASNetV1SE.onnx")
    )
    assert choose_profile(two, {}) == LIVENESS_PROFILES[0] and choose_profile(four, {}) == LIVENESS_PROFILES[1]
    assert [(one.scale, one.live, one.bgr, one.classes) for one in LIVENESS_PROFILES] == [
        (2.7, 1, True, 3),
        (4.0, 1, True, 3),
    ]
    own = choose_profile(two, {"scale": 3.0, "bgr": False, "std": (255.0,) * 3})
    assert own == replace(LIVENESS_PROFILES[0], scale=3.0, bgr=False, std=(255.0,) * 3)
    explained = explain_profile(own)
    assert "treated as MiniFASNetV2: input 3 × the face's box, RGB, (x − 0,0,0) / 255,255,255;" in explained
    assert "outputs logits, class 1 of 3 is live" in explained


def test_the_profile_of_any_other_model_must_be_given(tmp_path):
    other = classifier(tmp_path / "own.onnx", side=64, classes=2, last="Softmax")
    with pytest.raises(InputError, match=r"64×64 and 2 classes.* --live-scale, --live-class, --live-color"):
        choose_profile(other, {})
    found = choose_profile(other, OWN_PROFILE)
    assert (found.size, found.classes, found.logits, found.threshold) == ((64, 64), 2, False, 0.5)
    with pytest.raises(InputError, match="has classes 0 to 1, so --live-class cannot be 2"):
        choose_profile(other, OWN_PROFILE | {"live": 2})
    with pytest.raises(ModelError, match="one output with a number for each of its classes"):
        choose_profile(classifier(tmp_path / "score.onnx", classes=1), OWN_PROFILE)
    with pytest.raises(ModelError, match="no such model file"):
        choose_profile(tmp_path / "absent.onnx", OWN_PROFILE)


@pytest.mark.parametrize("first", ["Conv", "Sub", "Abs"], ids=["weights", "weights and constants", "gather"])
def test_a_model_that_takes_bgr_computes_the_same_from_rgb(tmp_path, first):
    profile = replace(
        choose_profile(classifier(tmp_path / "m.onnx", first=first), {}), mean=(1.0, 2.0, 3.0), std=(9.0, 8.0, 7.0)
    )
    model = fix_input(tmp_path / "m.onnx", "liveness", profile=profile)
    assert (model.input.mean, model.input.std) == ((3.0, 2.0, 1.0), (7.0, 8.0, 9.0)), "in RGB order"
    # One color on one side of the image, so that swapped channels or sides are noticed.
    images = np.zeros((2, 80, 80, 3), np.uint8)
    images[0, :, :30, 0] = images[1, 50:, :, 2] = 230
    simplified = simplify(model, tmp_path / "s.onnx")
    kinds = [node.op_type for node in onnx.load(simplified.path).graph.node]
    assert ("Gather" in kinds) is (first == "Abs")
    assert check_same_outputs(model, simplified, images) < 1e-5
    turned = max_difference(model.proto, onnx.load(simplified.path), model.input, images)
    assert turned > 0.01, "the check would notice channels that were not swapped"
    onnx.save(model.proto, simplified.path)
    with pytest.raises(WorkError, match="differs from the original"):
        check_same_outputs(model, simplified, images)


def test_grades_of_liveness_models():
    fp32 = np.float32([0.9, 0.1, 0.51, 0.2] * 25)
    near = compare_liveness(fp32, fp32 + np.float32(0.01), 0.5)
    assert (near.faces, near.changed, near.live) == (100, 0, 50) and grade_liveness(near).clears
    assert near.mean == pytest.approx(0.01, abs=1e-6) and near.worst == pytest.approx(0.01, abs=1e-6)
    flipped = fp32.copy()
    flipped[2:14:4] = 0.49  # three of a hundred, by a tiny difference
    assert not grade_liveness(compare_liveness(fp32, flipped, 0.5)).clears
    assert grade_liveness(compare_liveness(fp32[:4], flipped[:4], 0.5)).clears, "one face may be decided differently"
    far = fp32.copy()
    far[0] = 0.7
    assert not grade_liveness(compare_liveness(fp32, far, 0.5)).clears
    assert grade_liveness(near).rank > grade_liveness(compare_liveness(fp32, flipped, 0.5)).rank


def test_a_liveness_model_below_the_bar_is_a_fault():
    good, bad = LivenessParity(50, 0.01, 0.1, 0.5, 0, 40), LivenessParity(50, 0.05, 0.1, 0.5, 0, 40)
    assert find_fault(replace(parity(), liveness=good), AccuracyBar()) is None
    assert "liveness model is too far from FP32: probability differs by 0.050 on average" in find_fault(
        replace(parity(), liveness=bad), AccuracyBar()
    )
    assert not grade_liveness(replace(bad, mean=float("nan"))).clears


@pytest.fixture(scope="module")
def with_liveness(small_conversion, tmp_path_factory):
    """The small conversion again with a third model; the other two come from the cache."""
    folder = tmp_path_factory.mktemp("liveness")
    shutil.copytree(small_conversion.work, folder / "out.work")
    model = classifier(folder / "2.7_80x80_MiniFASNetV2.onnx")
    command = ["convert", *OWN, *ONE_SHAPE, *small_conversion.photos, "--recipe", "fast", "--liveness", str(model)]
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as error:
        code = main([*command, "--out", str(folder / "out")])
    assert code == 0, error.getvalue()
    return folder / "out", subprocess.CompletedProcess(command, code, out.getvalue(), error.getvalue())


def test_it_is_quantized_and_compared_like_the_others(with_liveness):
    folder, done = with_liveness
    assert done.stderr.count("from an earlier run") >= 2
    assert not re.search(r"(detector|recognizer): \S+ rk3588", done.stderr), "the other two come from the cache"
    assert "treated as MiniFASNetV2: input 2.7 × the face's box, BGR" in done.stderr
    assert re.search(r"liveness +\d.* int8 +probability differs by 0\.0\d\d on average", done.stdout)
    bundle = read_bundle(folder, soc="rk3588")
    model, provenance = bundle.manifest.liveness, bundle.manifest.provenance
    assert (model.precision, model.scale, model.live, model.logits, model.threshold) == ("int8", 2.7, 1, True, 0.5)
    assert b'"role":"liveness"' in bundle.path("liveness").read_bytes()[:4096]
    assert provenance["parity"]["liveness"]["mean"] <= 0.02 and provenance["liveness"]["bgr"] is True
    assert provenance["recipes"]["liveness"]["dtype"].startswith("w8a8")
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert '<section id="liveness">' in report and "liveness: where the time would go" in report
    figures = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert [facts["role"] for facts in figures["models"]] == ["detector", "recognizer", "liveness"]


def test_the_bundle_gives_the_same_probabilities_as_the_original_model(with_liveness, converted, capsys):
    """From photo to probability: box, crop, RGB, swapped weights; compared with the original model, fed with BGR."""
    import onnxruntime

    folder, _ = with_liveness
    original = onnxruntime.InferenceSession(folder.parent / "2.7_80x80_MiniFASNetV2.onnx")
    with open_bundle(folder, "reference") as pipeline:
        image = read_image(sorted((converted.work / "photos/evaluation").glob("*.jpg"))[0])
        crop = pipeline.liveness.crop(image, pipeline.detect(image).boxes[0])
        fed = [one.astype(np.float32).transpose(2, 0, 1)[None] for one in (crop, crop[..., ::-1])]
        right, swapped = (probabilities(original.run(None, {"x": one})[0], 1, logits=True)[0] for one in fed)
        assert abs(right - swapped) > 0.01, "the test would notice the wrong order"
        assert pipeline.liveness.live_probabilities([crop])[0] == pytest.approx(right, abs=1e-4)
    assert main(["selftest", "--bundle", str(folder), "--backend", "reference", "--runs", "1"]) == 0
    assert "liveness" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--live-scale", "2"], "also give --liveness, or leave them out"),
        (["--liveness", "absent.onnx"], "no such model file"),
        (["--liveness", "MODEL", "--live-class", "7"], "cannot be 7"),
        (["--liveness", "MODEL", "--live-std", "0"], "greater than 0"),
    ],
)
def test_wrong_options_are_refused(capsys, tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    classifier(tmp_path / "MODEL")
    assert main(["convert", *arguments]) == 2
    assert re.search(says, capsys.readouterr().err)
    assert [path.name for path in tmp_path.iterdir()] == ["MODEL"]


def test_a_finished_calibration_set_is_refused_because_it_has_no_surroundings(converted, tmp_path, rkface_here):
    model, photos = classifier(tmp_path / "m.onnx"), converted.work / "photos/evaluation"
    done = rkface_here("convert", *ONE_SHAPE, "--calibration", converted.work / "calibration", "--evaluation", photos,
                       "--liveness", model, "--out", tmp_path / "out")  # fmt: skip
    assert done.returncode == 2 and "give the photos with --calibration" in done.stderr
    assert not (tmp_path / "out").exists()
