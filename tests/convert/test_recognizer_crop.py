"""Recognizers of other sizes than ArcFace's: they are prepared, describe their crop, and embed crops of that size."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rkface.convert.datasets import faces_of_set, prepare_datasets
from rkface.convert.demo.render import CALIBRATE, write_photos
from rkface.convert.face_finder import FaceFinder, PhotoOptions
from rkface.convert.model_role import describe_role
from rkface.convert.packs.pack import DEMO
from rkface.convert.prepared_model import build_embedder, prepare_model
from rkface.runtime.cli.main import main
from rkface.runtime.core.crop_template import ARCFACE_112, CUSTOM, TEMPLATES
from rkface.runtime.core.errors import InputError, ModelError
from rkface.runtime.core.faces import Faces
from rkface.runtime.core.manifest import contract
from rkface.runtime.vision.bare_onnx import open_detector
from rkface.runtime.vision.detect import Detector

POINTS = ((60.0, 80.0), (140.0, 80.0), (100.0, 120.0), (70.0, 150.0), (130.0, 150.0))  # in a crop of 200×224


def recognizer(path, width, height, *, last=False, open_size=False):
    """The colors of a grid of 7×7, and the colors' mean: 128 numbers. ``last``: the channels are the last dimension."""
    shape = [1, height, width, 3] if last else [1, 3, "h" if open_size else height, "w" if open_size else width]
    kernel = [height // 7, width // 7]
    nodes = [helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2])] if last else []
    nodes += [
        helper.make_node("AveragePool", ["t" if last else "x"], ["p"], kernel_shape=kernel, strides=kernel),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["y"]),
    ]
    weights = np.random.default_rng(0).normal(0, 1, (147, 128)).astype(np.float32)
    graph = helper.make_graph(
        nodes, "tiny", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 128])], [numpy_helper.from_array(weights, "w")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


@pytest.mark.parametrize("last", [False, True], ids=["NCHW", "NHWC"])
@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_a_model_of_a_known_size_takes_the_crop_of_that_size(tmp_path, template, last):
    path = recognizer(tmp_path / "r.onnx", template.width, template.height, last=last)
    model = prepare_model(path, "recognizer", tmp_path)
    assert model.fixed.crop == template
    assert (model.input.width, model.input.height) == (template.width, template.height)
    assert describe_role(onnx.load(str(path)))[0] == "recognizer"
    said = json.loads(contract("recognizer", model.input, "0" * 64, model.fixed.crop, model.fixed.center))
    assert said["crop"].startswith(template.name)
    crops = np.random.default_rng(1).integers(0, 256, (3, template.height, template.width, 3), np.uint8)
    vectors = build_embedder(model).embed(list(crops))
    assert vectors.shape == (3, 128)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    with pytest.raises(InputError, match=rf"takes {template.height}×{template.width}×3 uint8 crops, and crop 0"):
        build_embedder(model).embed([np.zeros((template.width + 1, template.height, 3), np.uint8)])


def test_a_stated_crop_decides_where_the_size_does_not(tmp_path):
    other = recognizer(tmp_path / "o.onnx", 200, 224)
    open_size = recognizer(tmp_path / "d.onnx", 112, 112, open_size=True)
    crop = prepare_model(other, "recognizer", tmp_path, crop=POINTS).fixed.crop
    assert (crop.name, crop.width, crop.height, crop.points) == (CUSTOM, 200, 224, POINTS)
    assert prepare_model(open_size, "recognizer", tmp_path).fixed.crop == ARCFACE_112
    stated = TEMPLATES["arcface-112x96"]
    with pytest.raises(InputError, match=r"its input is 200×224, but the crop arcface-112x96 is 96×112"):
        prepare_model(other, "recognizer", tmp_path, crop=stated)
    with pytest.raises(ModelError, match=r"200×224, and the crops that rkface knows .*--recognizer-crop 'x,y"):
        prepare_model(other, "recognizer", tmp_path)
    with pytest.raises(InputError, match=r"--recognizer-crop: the point 300,80 lies outside the crop of 200×224"):
        prepare_model(other, "recognizer", tmp_path, crop=(POINTS[0], (300.0, 80.0), *POINTS[2:]))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("dlib-15", "must be arcface-112 .112×112., .* or five points"),
        ("1,2 3,4 5,6 7,8", "five points 'x,y"),
        ("1,2 3,4 5,6 7,8 9", "five points 'x,y"),
        ("1,2,3 3,4 5,6 7,8 9,9", "five points 'x,y"),
    ],
)
def test_an_option_that_names_no_crop_is_refused(capsys, value, says):
    with pytest.raises(SystemExit) as caught:
        main(["convert", "--recognizer", "r.onnx", "--recognizer-crop", value])
    assert caught.value.code == 2
    error = " ".join(capsys.readouterr().err.split())
    assert value in error
    assert re.search(says, error), error


def test_the_option_needs_a_model_of_the_users_own(capsys):
    assert main(["convert", "--pack", "demo", "--recognizer-crop", "dlib-150"]) == 2
    assert "--recognizer-crop describes the model of --recognizer" in capsys.readouterr().err


def test_photos_become_crops_of_the_recognizer_and_a_set_for_another_crop_is_refused(tmp_path):
    write_photos(photos := tmp_path / "photos", CALIBRATE[:24], 1, seed=0)
    write_photos(others := tmp_path / "others", CALIBRATE[24:40], 1, seed=1)
    known = cv2.imread(str(min(photos.glob("*.jpg"))))
    cv2.imwrite(str(others / "copy.png"), cv2.resize(known, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA))
    template = TEMPLATES["arcface-112x96"]
    detector = Detector(*(opened := open_detector(DEMO / "detector.onnx")))

    def finder(name):
        crop = TEMPLATES[name]
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        path = recognizer(folder / "r.onnx", crop.width, crop.height)
        model = prepare_model(path, "recognizer", folder)
        return FaceFinder(detector, opened[1], build_embedder(model), "0" * 64)

    given = PhotoOptions(photos, others, count=40, one_look=True)  # more than all faces
    found = prepare_datasets(given, finder(template.name), tmp_path / "set")
    assert found.calibration.crop == template
    assert found.evaluation.crops.shape[1:] == (112, 96, 3)
    copied = "1 face left out of the evaluation as copies (1 of faces to calibrate on)"
    assert any(copied in note for note in found.evaluation.notes)
    finished = prepare_datasets(PhotoOptions(tmp_path / "set", others, one_look=True), finder(template.name), tmp_path)
    assert any(copied in note for note in finished.evaluation.notes), "the set itself shows the copied face"
    seen = faces_of_set(found.calibration, finder(template.name))
    assert len(seen.chosen) == len(found.calibration_faces) and len(seen.posed) >= 15
    originals = {face.crop.tobytes(): face for face in found.calibration_faces}
    for face in seen.posed:
        pose, before = face.appearance, originals[face.crop.tobytes()].appearance
        assert pose.yaw == pytest.approx(before.yaw, abs=12) and pose.roll == pytest.approx(before.roll, abs=6)
    nothing = Faces(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))
    blind = replace(finder(template.name), detector=SimpleNamespace(threshold=0.5, detect=lambda *_: nothing))
    unseen = faces_of_set(found.calibration, blind)
    assert len(unseen.chosen) == len(seen.chosen) and unseen.posed == (), "crops count, also if no frame shows a face"
    again = PhotoOptions(tmp_path / "set", others, one_look=True)
    with pytest.raises(InputError, match=r"faces in the crop arcface-112x96 \(96×112\), .*takes the crop dlib-150"):
        prepare_datasets(again, finder("dlib-150"), tmp_path / "other")
