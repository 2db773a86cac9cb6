"""ONNX files of detectors and recognizers without a bundle: what is accepted, and the errors for other models."""

import importlib

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper

from rkface.runtime.core.crop_template import ARCFACE_112
from rkface.runtime.core.errors import InputError, ModelError
from rkface.runtime.vision.bare_onnx import open_detector, open_recognizer
from rkface.runtime.vision.detect import Detector

IMAGE = [1, 3, "height", "width"]


def save(path, nodes, inputs, outputs, *, constants=(), kind=TensorProto.FLOAT):
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        list(constants),
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def scrfd_like(path, image=IMAGE, channels=(1, 4, 10)):
    """The outputs of SCRFD without its weights: two anchors per cell, rows of 1, 4 and 10, at strides 8, 16, 32."""
    nodes, constants, outputs = [], [], []
    for stride in (8, 16, 32):
        nodes.append(
            helper.make_node("AveragePool", ["in"], [f"p{stride}"], kernel_shape=[stride] * 2, strides=[stride] * 2)
        )
        for width in channels:
            tag = f"{stride}-{width}"
            weights = np.zeros((2 * width, 3, 1, 1), np.float32)
            shape = np.array([-1, width], np.int64)
            constants += [numpy_helper.from_array(weights, f"w{tag}"), numpy_helper.from_array(shape, f"s{tag}")]
            nodes += [
                helper.make_node("Conv", [f"p{stride}", f"w{tag}"], [f"c{tag}"]),
                helper.make_node("Transpose", [f"c{tag}"], [f"t{tag}"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"t{tag}", f"s{tag}"], [f"o{tag}"]),
            ]
            outputs.append(f"o{tag}")
    return save(path, nodes, {"in": image}, outputs, constants=constants)


@pytest.mark.parametrize(("asked", "size"), [((None, None), (640, 640)), ((320, 256), (320, 256))])
def test_a_dynamic_input_gets_the_requested_size(tmp_path, asked, size):
    backend, input, outputs = open_detector(scrfd_like(tmp_path / "d.onnx"), *asked)
    assert (input.width, input.height) == size and len(outputs) == 9
    detector = Detector(backend, input, outputs)
    assert len(detector.detect(np.zeros((90, 120, 3), np.uint8))) == 0


def test_a_fixed_input_keeps_its_size(tmp_path):
    path = scrfd_like(tmp_path / "d.onnx", [1, 3, 384, 640])
    for asked in ((None, None), (640, 384)):
        _, input, _ = open_detector(path, *asked)
        assert (input.width, input.height) == (640, 384)
    with pytest.raises(InputError, match="fixed at 640×384"):
        open_detector(path, 384, 640)


def test_a_detector_without_keypoints_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"d\.onnx: not a face detector with landmarks.*as SCRFD, it would"):
        open_detector(scrfd_like(tmp_path / "d.onnx", channels=(1, 4)))


def identity(path, **kinds):
    return save(path, [helper.make_node("Identity", ["a"], ["b"])], outputs=["b"], **kinds)


def test_a_model_that_is_not_a_detector_is_refused(tmp_path):
    path = tmp_path / "m.onnx"
    add = [helper.make_node("Add", ["a", "b"], ["c"])]
    two = {"a": [1, 3, 64, 64], "b": [1, 3, 64, 64]}
    for make, says in (
        (lambda: save(path, add, two, ["c"]), "one float image.*takes a 1×3.*; b"),
        (lambda: identity(path, inputs={"a": [1, 64]}), "one float image"),
        (lambda: identity(path, inputs={"a": [1, 64, 64, 3]}), "one float image"),
        (lambda: identity(path, inputs={"a": [1, 3, 64, 64]}, kind=TensorProto.DOUBLE), "one float image"),
        (lambda: identity(path, inputs={"a": [4, 3, 64, 64]}), "4 images at once"),
        (lambda: path.write_bytes(b"not an onnx file"), "is not an ONNX model"),
    ):
        make()
        with pytest.raises(ModelError, match=says) as caught:
            open_detector(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_model_that_crashes_onnxruntime_is_an_error(tmp_path, monkeypatch):
    module = ("import os, signal", "def run_once(*given, progress):", "    os.kill(os.getpid(), signal.SIGFPE)")
    (tmp_path / "rkface_run_of_a_test.py").write_text("\n".join(module))
    monkeypatch.syspath_prepend(tmp_path)
    run_once = importlib.import_module("rkface_run_of_a_test").run_once
    monkeypatch.setattr("rkface.runtime.vision.bare_onnx._run_once", run_once)
    path = scrfd_like(tmp_path / "d.onnx")
    for open_model in (open_detector, open_recognizer):
        with pytest.raises(ModelError, match=r"d\.onnx: ONNX Runtime was killed by SIGFPE"):
            open_model(path)


def test_weights_outside_of_the_folder_are_refused(tmp_path):
    path = tmp_path / "m" / "d.onnx"
    path.parent.mkdir()
    proto = onnx.load(scrfd_like(tmp_path / "d.onnx"))
    onnx.save(proto, path, save_as_external_data=True, size_threshold=100, location="weights.data")
    open_detector(path)
    (tmp_path / "weights.data").write_bytes((path.parent / "weights.data").read_bytes())
    proto = onnx.load(path, load_external_data=False)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            entry.value = "../weights.data" if entry.key == "location" else entry.value
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match="outside the model's folder"):
        open_detector(path)


def test_a_size_at_which_the_model_fails_is_reported(tmp_path):
    # A reshape to the number of anchors of 320×320 fails at any other size.
    reshape = [helper.make_node("Reshape", ["a", "s"], ["b"])]
    shape = numpy_helper.from_array(np.array([1, 3, 320, 320], np.int64), "s")
    path = save(tmp_path / "m.onnx", reshape, {"a": IMAGE}, ["b"], constants=[shape])
    with pytest.raises(ModelError, match="does not run at 640×640"):
        open_detector(path)
    with pytest.raises(ModelError, match="not a face detector"):  # it runs
        open_detector(path, 320, 320)


def arcface_like(path, image=("n", 3, 112, 112)):
    """The mean color of each quarter, as an "embedding" of 12 numbers."""
    nodes = [
        helper.make_node("AveragePool", ["in"], ["p"], kernel_shape=[56, 56], strides=[56, 56]),
        helper.make_node("Flatten", ["p"], ["out"]),
    ]
    return save(path, nodes, {"in": list(image)}, ["out"])


def test_a_bare_recognizer_embeds(tmp_path):
    for image in (("n", 3, 112, 112), (1, 3, "height", "width")):
        found = open_recognizer(arcface_like(tmp_path / "r.onnx", image))
        assert (found.input.width, found.input.height, found.crop, found.dimensions) == (112, 112, ARCFACE_112, 12)
        crop = np.full((112, 112, 3), 127, np.uint8)
        crop[:56, :56, 2] = 255  # red, and the crop is BGR: the first number belongs to it
        (vector,) = found.embedder().embed([crop])
        assert int(np.argmax(np.abs(vector))) == 0


def test_a_model_that_is_not_a_recognizer_is_refused(tmp_path):
    path = tmp_path / "m.onnx"
    for make, says in (
        (lambda: arcface_like(path, (1, 3, 224, 224)), "224×224, and the crops that rkface knows are arcface-112"),
        (lambda: identity(path, inputs={"a": [1, 3, 112, 112]}), "one output, 1×D: this model has 1×3×112×112"),
        (lambda: identity(path, inputs={"a": [1, 64]}), "a recognizer takes one float image"),
    ):
        make()
        with pytest.raises(ModelError, match=says) as caught:
            open_recognizer(path)
        assert str(path) in str(caught.value)
