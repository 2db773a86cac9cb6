"""Simplification fixes shapes and keeps the function; models that cannot have their role are refused."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxsim")

from onnx import TensorProto, helper, numpy_helper

from rkface.convert.compare_models import check_scores
from rkface.convert.packs.pack import DEMO
from rkface.convert.same_outputs import check_same_outputs, max_difference
from rkface.convert.simplify import fix_input, simplify
from rkface.runtime.backends.reference import open_reference
from rkface.runtime.core.errors import ModelError, WorkError
from rkface.runtime.core.manifest import Output
from rkface.runtime.vision.detectors import find_layout

DETECTOR, RECOGNIZER = DEMO / "detector.onnx", DEMO / "recognizer.onnx"
RANDOM = np.random.default_rng(2)


def noise(input, count=2):
    return RANDOM.integers(0, 256, (count, input.height, input.width, 3), np.uint8)


def small(path, nodes, shape, output, constants=(), *, extra_inputs=(), kind=TensorProto.FLOAT):
    """A model of ``nodes`` with the input "x" and the output "y"."""
    inputs = [helper.make_tensor_value_info("x", kind, shape)]
    inputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in extra_inputs]
    graph = helper.make_graph(
        nodes,
        "small",
        inputs,
        [helper.make_tensor_value_info("y", kind, output)],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in dict(constants).items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def embedder(path, shape=(1, 3, 112, 112), numbers=128, last="Identity", **more):
    nodes = [
        helper.make_node("AveragePool", ["x"], ["p"], kernel_shape=[16, 16], strides=[16, 16]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["g"]),
        helper.make_node(last, ["g"], ["y"]),
    ]
    return small(path, nodes, shape, [shape[0], numbers], {"w": RANDOM.normal(size=(147, numbers))}, **more)


@pytest.mark.parametrize("size", [None, (640, 384), (256, 320)])
def test_detector_at_any_size_computes_the_same(tmp_path, shared, size):
    model = fix_input(shared / "models/scrfd_500m_kps.onnx", "detector", size)
    assert (model.input.width, model.input.height) == (size or (640, 640))
    simplified = simplify(model, tmp_path / "d.onnx")
    assert simplified.nodes[1] < simplified.nodes[0]
    assert check_same_outputs(model, simplified, noise(model.input)) <= 1e-4
    anchors = sorted(output.shape[-2] for output in simplified.outputs)
    assert sum(anchors) == 3 * 2 * model.input.width * model.input.height * (1 / 64 + 1 / 256 + 1 / 1024)


def test_simplified_demo_models_compute_the_same(tmp_path):
    for path, role in ((DETECTOR, "detector"), (RECOGNIZER, "recognizer")):
        model = fix_input(path, role)
        assert check_same_outputs(model, simplify(model, tmp_path / f"{role}.onnx"), noise(model.input)) <= 1e-4


@pytest.mark.parametrize("batch", ["batch", None])
def test_open_dimensions_are_fixed(tmp_path, batch):
    model = fix_input(embedder(tmp_path / "open.onnx", (batch, 3, "height", "width")), "recognizer")
    simplified = simplify(model, tmp_path / "closed.onnx")
    assert simplified.outputs[0].shape == (1, 128)
    (entry,) = onnx.load(simplified.path).graph.input
    assert [dim.dim_value for dim in entry.type.tensor_type.shape.dim] == [1, 3, 112, 112]


def test_a_model_that_computes_something_else_is_refused(tmp_path):
    model = fix_input(RECOGNIZER, "recognizer")
    simplified = simplify(model, tmp_path / "r.onnx")
    proto = onnx.load(simplified.path)
    weight = next(tensor for tensor in proto.graph.initializer if len(tensor.dims) == 4)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 1.01, weight.name))
    onnx.save(proto, simplified.path)
    with pytest.raises(WorkError, match="differs from the original"):
        check_same_outputs(model, simplified, noise(model.input))


def test_a_model_that_normalizes_its_input_is_not_normalized_again(tmp_path):
    nodes = [helper.make_node("Sub", ["x", "m"], ["s"]), helper.make_node("Mul", ["s", "d"], ["n"])]
    nodes += [helper.make_node("GlobalAveragePool", ["n"], ["p"]), helper.make_node("Flatten", ["p"], ["f"])]
    nodes += [helper.make_node("Gemm", ["f", "w"], ["y"])]
    constants = {"m": 127.5, "d": 1 / 127.5, "w": RANDOM.normal(size=(3, 64))}
    path = small(tmp_path / "inside.onnx", nodes, [1, 3, 112, 112], [1, 64], constants)
    assert fix_input(path, "recognizer").input.std == (1.0,) * 3
    assert fix_input(embedder(tmp_path / "outside.onnx"), "recognizer").input.std == (127.5,) * 3


def bad(tmp_path, name):
    path = tmp_path / f"{name}.onnx"
    if name == "text":
        path.write_text("no model at all")
    elif name == "empty":
        path.touch()
    elif name == "cut":
        path.write_bytes(RECOGNIZER.read_bytes()[:-5000])
    elif name == "two inputs":
        embedder(path, extra_inputs=["mask"])
    elif name == "shapeless":
        embedder(path)
        proto = onnx.load(path)
        proto.graph.input[0].type.tensor_type.ClearField("shape")
        onnx.save(proto, path)
    elif name == "int8":
        embedder(path, kind=TensorProto.INT8)
    elif name == "gray":
        embedder(path, (1, 1, 112, 112))
    elif name == "224":
        embedder(path, (1, 3, 224, 224))
    elif name == "softmax":
        embedder(path, last="Softmax")
    elif name == "classes":
        embedder(path, numbers=21_841)
    return path


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("absent", "no such model file"),
        ("text", "not an ONNX model"),
        ("empty", "not an ONNX model"),
        ("cut", "not an ONNX model"),
        ("two inputs", r"has 2 inputs \(x, mask\)"),
        ("shapeless", "its input is no shape"),
        ("int8", "is int8, not float"),
        ("gray", r"1×1×112×112; a recognizer takes one RGB image"),
        ("224", "224×224, and the crops that rkface knows are arcface-112 .*--recognizer-crop"),
        ("softmax", "looks like a classifier"),
        ("classes", "looks like a classifier"),
    ],
)
def test_models_that_cannot_be_a_recognizer_are_refused(tmp_path, name, says):
    with pytest.raises(ModelError, match=says) as caught:
        simplify(fix_input(bad(tmp_path, name), "recognizer"), tmp_path / "out.onnx")
    assert f"{name}.onnx" in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_is_not_a_model(tmp_path):
    with pytest.raises(ModelError, match=r"the model cannot be read: Is a directory$"):
        fix_input(tmp_path, "recognizer")


def test_models_that_cannot_be_a_detector_are_refused(tmp_path):
    classifier = embedder(tmp_path / "classifier.onnx", (1, 3, "h", "w"))
    with pytest.raises(ModelError, match=r"classifier\.onnx"):
        simplify(fix_input(classifier, "detector", (640, 640)), tmp_path / "out.onnx")
    with pytest.raises(ModelError, match="multiples of 32"):
        fix_input(DETECTOR, "detector", (330, 320))
    proto = onnx.load(DETECTOR)
    kept = [output for output in proto.graph.output if "kps" not in output.name]
    del proto.graph.output[:]
    proto.graph.output.extend(kept)
    onnx.save(proto, tmp_path / "bare.onnx")
    with pytest.raises(ModelError, match="not a face detector with landmarks"):
        simplify(fix_input(tmp_path / "bare.onnx", "detector"), tmp_path / "out.onnx")


def without_sigmoid(path):
    """The demo detector, whose scores are logits."""
    proto = onnx.load(DETECTOR)
    for node in [node for node in proto.graph.node if node.op_type == "Sigmoid"]:
        node.op_type = "Identity"
    onnx.save(proto, path)
    return path


def test_a_detector_that_outputs_logits_gets_a_sigmoid(tmp_path):
    model = fix_input(without_sigmoid(tmp_path / "logits.onnx"), "detector")
    simplified = simplify(model, tmp_path / "d.onnx")
    assert "are logits, so a Sigmoid was added to each" in " ".join(simplified.changes)
    images = noise(model.input, 1)
    assert check_same_outputs(model, simplified, images) <= 1e-4
    usual = simplify(fix_input(DETECTOR, "detector"), tmp_path / "usual.onnx")
    assert usual.changes == ()
    assert max_difference(onnx.load(usual.path), onnx.load(simplified.path), model.input, images) <= 1e-4


def with_own_preprocessing(path, steps, shape=(1, 3, 192, 192), kind=TensorProto.FLOAT):
    """The demo detector behind ``steps``, each an operator, its constants and its attributes; returns its size."""
    proto = onnx.load(DETECTOR)
    (entry,) = proto.graph.input
    nodes, name = [], "raw"
    for index, (operator, constants, attributes) in enumerate(steps):
        places = [f"constant-{index}-{place}" for place in range(len(constants))]
        proto.graph.initializer.extend(
            numpy_helper.from_array(np.asarray(value), place) for value, place in zip(constants, places, strict=True)
        )
        made = entry.name if index == len(steps) - 1 else f"step-{index}"
        nodes.append(helper.make_node(operator, [name, *places], [made], **attributes))
        name = made
    for node in reversed(nodes):
        proto.graph.node.insert(0, node)
    entry.CopyFrom(helper.make_tensor_value_info("raw", kind, shape))
    onnx.save(proto, path)
    return path


REVERSE = ("Gather", [np.int64([2, 1, 0])], {"axis": 1})
CENTER = [("Sub", [np.float32(127.5)], {}), ("Div", [np.float32(128)], {})]
PREPROCESSINGS = {
    "normalizes": (CENTER, "RGB, values of 0..255, which it normalizes itself"),
    "normalizes after reversing": ([REVERSE, *CENTER], "BGR, values of 0..255, which it normalizes itself"),
    "reverses": ([REVERSE], "BGR, (x − 127.5) / 128"),
    "reverses twice": ([REVERSE, REVERSE], "RGB, (x − 127.5) / 128"),
    "takes fractions": ([("Mul", [np.float32(255)], {}), *CENTER], "RGB, (x − 0) / 255"),
    "takes fractions, as 127.5": (
        [("Sub", [np.float32(0.5)], {}), ("Mul", [np.float32(255 / 128)], {})],
        "RGB, (x − 0) / 255",
    ),
    "takes bytes, as OpenCV gives them": (
        [
            ("Gather", [np.int64([2, 1, 0])], {"axis": 3}),
            ("Cast", [], {"to": TensorProto.FLOAT}),
            *CENTER,
            ("Transpose", [], {"perm": [0, 3, 1, 2]}),
        ],
        "BGR, values of 0..255, which it normalizes itself",
    ),
}


@pytest.mark.parametrize("name", PREPROCESSINGS)
def test_a_detector_gets_what_its_own_first_operators_leave_to_do(tmp_path, name):
    usual = simplify(fix_input(DETECTOR, "detector", (192, 192)), tmp_path / "usual.onnx")
    steps, says = PREPROCESSINGS[name]
    bytes_first = any(operator == "Cast" for operator, *_ in steps)
    kind, shape = (TensorProto.UINT8, (1, 192, 192, 3)) if bytes_first else (TensorProto.FLOAT, (1, 3, 192, 192))
    model = fix_input(with_own_preprocessing(tmp_path / "own.onnx", steps, shape, kind), "detector")
    assert str(model.preprocessing) == says
    simplified = simplify(model, tmp_path / "d.onnx")
    images = noise(model.input, 1)
    assert check_same_outputs(model, simplified, images) <= 1e-4
    answers = [open_reference(one.path, one.input).infer(images) for one in (usual, simplified)]
    for expected, found in zip(*answers, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_model_that_rkface_has_turned_is_not_turned_again(tmp_path):
    steps, _ = PREPROCESSINGS["reverses"]
    turned = simplify(
        fix_input(with_own_preprocessing(tmp_path / "bgr.onnx", steps), "detector"), tmp_path / "rgb.onnx"
    )
    again = fix_input(turned.path, "detector")
    assert str(again.preprocessing) == "RGB, (x − 127.5) / 128"


def test_scores_that_cannot_be_probabilities_are_refused():
    shapes = [(2 * (32 // stride) ** 2, size) for stride in (8, 16, 32) for size in (1, 4, 10)]
    layout = find_layout([Output(str(index), shape) for index, shape in enumerate(shapes)], 32, 32)
    outputs = [np.full((1, *shape), 0.5, np.float32) for shape in shapes]
    check_scores("d.onnx", layout, outputs)
    outputs[3][0, 0, 0] = 1.84
    with pytest.raises(ModelError, match=r"d\.onnx: its scores are 0\.50 to 1\.84 .* Sigmoid"):
        check_scores("d.onnx", layout, outputs)
