"""Harmless variants of a recognizer and of a detector become one form, and compute the same."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from rkface.convert.catalog import DEMO
from rkface.convert.prepare.normalization import read_normalization
from rkface.convert.prepare.score_output import add_sigmoid, computes_logits
from rkface.convert.prepare.standardize import standardize

IMAGE = np.random.default_rng(4).integers(0, 256, (1, 3, 24, 24)).astype(np.float32)


def recognizer():
    """Conv, PRelu, pooling, Gemm: N×3×24×24 to N×96, with random weights."""
    random = np.random.default_rng(3)
    weights = {
        "kernel": random.normal(0, 0.02, (8, 3, 3, 3)),
        "slope": np.linspace(0.1, 0.8, 8).reshape(8, 1, 1),
        "last": random.normal(0, 0.3, (8, 96)),
    }
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["c"], pads=[1] * 4),
        helper.make_node("PRelu", ["c", "slope"], ["a"]),
        helper.make_node("GlobalAveragePool", ["a"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "last"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "recognizer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 96])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def answer(model, image=IMAGE):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image})


def retype(model, kind):
    """All weights of another float type, float32 at both ends."""
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if kind == TensorProto.BFLOAT16:
            bits = (values.view(np.uint32) >> 16).astype(np.uint16)
            tensor.CopyFrom(helper.make_tensor(tensor.name, kind, values.shape, bits.tobytes(), raw=True))
        else:
            tensor.CopyFrom(numpy_helper.from_array(values.astype(helper.tensor_dtype_to_np_dtype(kind)), tensor.name))
    for node in model.graph.node:
        node.input[:] = ["x16" if name == "x" else name for name in node.input]
        node.output[:] = ["y16" if name == "y" else name for name in node.output]
    model.graph.node.insert(0, helper.make_node("Cast", ["x"], ["x16"], to=kind))
    model.graph.node.append(helper.make_node("Cast", ["y16"], ["y"], to=TensorProto.FLOAT))


def channels_last(model, between=()):
    del model.graph.input[:]
    model.graph.input.append(helper.make_tensor_value_info("image", TensorProto.FLOAT, [None, None, None, 3]))
    source = "image"
    for operator, value in between:
        name = f"{operator}-constant"
        model.graph.initializer.append(numpy_helper.from_array(np.float32(value), name))
        model.graph.node.insert(
            len(source.split("/")) - 1, helper.make_node(operator, [source, name], [f"{source}/{operator}"])
        )
        source = f"{source}/{operator}"
    model.graph.node.insert(len(between), helper.make_node("Transpose", [source], ["x"], perm=[0, 3, 1, 2]))


def after(model, *nodes, output, shape):
    """Let ``nodes`` compute the ``output`` of this shape from "y"."""
    model.graph.node.extend(nodes)
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, shape))


def variant(name):  # noqa: PLR0912 - one branch for each habit of an exporter
    model = recognizer()
    if name in ("FP16", "BF16", "FP64"):
        retype(model, {"FP16": TensorProto.FLOAT16, "BF16": TensorProto.BFLOAT16, "FP64": TensorProto.DOUBLE}[name])
    elif name == "FP16 at both ends":
        retype(model, TensorProto.FLOAT16)
        del model.graph.node[0], model.graph.node[-1]
        model.graph.input[0].name, model.graph.output[0].name = "x16", "y16"
        for entry in (*model.graph.input, *model.graph.output):
            entry.type.tensor_type.elem_type = TensorProto.FLOAT16
    elif name == "IR":
        model.ir_version = 12
    elif name == "opset":
        model.opset_import[0].version = 22
    elif name == "slopes":
        model.graph.initializer[1].CopyFrom(
            numpy_helper.from_array(np.linspace(0.1, 0.8, 8).astype(np.float32), "slope")
        )
    elif name == "slopes as constant":
        values = numpy_helper.from_array(np.linspace(0.1, 0.8, 8).astype(np.float32))
        del model.graph.initializer[1]
        model.graph.node.insert(0, helper.make_node("Constant", [], ["slope"], value=values))
    elif name == "channels last":
        channels_last(model)
    elif name == "bytes":
        model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
        model.graph.input[0].name = "bytes"
        model.graph.node.insert(0, helper.make_node("Cast", ["bytes"], ["x"], to=TensorProto.FLOAT))
    elif name == "four dimensions":
        model.graph.initializer.append(numpy_helper.from_array(np.int64([0, 96, 1, 1]), "shape"))
        after(model, helper.make_node("Reshape", ["y", "shape"], ["z"]), output="z", shape=["n", 96, 1, 1])
    elif name == "one dimension":
        model.graph.initializer.append(numpy_helper.from_array(np.int64([96]), "shape"))
        after(model, helper.make_node("Reshape", ["y", "shape"], ["z"]), output="z", shape=[96])
    elif name == "several outputs":
        model.graph.output.append(helper.make_tensor_value_info("p", TensorProto.FLOAT, ["n", 8, 1, 1]))
    elif name == "weights as inputs":
        model.ir_version = 3
        for tensor in model.graph.initializer:
            model.graph.input.append(helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.dims))
    elif name == "leftovers":
        after(
            model,
            helper.make_node("Identity", ["y"], ["i"]),
            helper.make_node("Dropout", ["i"], ["z"]),
            output="z",
            shape=["n", 96],
        )
    return model


VARIANTS = (
    "FP16", "BF16", "FP64", "FP16 at both ends", "IR", "opset", "slopes", "slopes as constant", "channels last",
    "bytes", "four dimensions", "one dimension", "several outputs", "weights as inputs", "leftovers",
)  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_becomes_the_form_that_the_conversion_takes(name):
    expected = answer(recognizer())[0]
    model = variant(name)
    changes = standardize(model, "recognizer")
    (entry,) = model.graph.input
    dims = [dim.dim_value for dim in entry.type.tensor_type.shape.dim]
    assert entry.type.tensor_type.elem_type == TensorProto.FLOAT and (len(dims), dims[1]) == (4, 3)
    assert model.ir_version <= 10 and model.opset_import[0].version <= 19
    assert not any(node.op_type == "Cast" for node in model.graph.node)
    (found,) = answer(model)
    assert found.shape == (1, 96)
    half = 2e-2 if "16" in name else 1e-5  # as a share of the largest value: the weights were rounded
    np.testing.assert_allclose(found, expected, atol=half * np.abs(expected).max())
    assert bool(changes) or name in ("weights as inputs", "leftovers"), "what was rewritten is said"


def test_a_model_in_the_right_form_stays_as_it_is():
    for role in ("detector", "recognizer"):
        model = onnx.load(DEMO / f"{role}.onnx")
        before = answer(
            model, np.zeros([dim.dim_value or 1 for dim in model.graph.input[0].type.tensor_type.shape.dim], np.float32)
        )
        assert standardize(model, role) == ()
        image = np.zeros([dim.dim_value or 1 for dim in model.graph.input[0].type.tensor_type.shape.dim], np.float32)
        for one, other in zip(before, answer(model, image), strict=True):
            np.testing.assert_array_equal(one, other)


def unit_length(model, way):
    """``model`` with a final scaling to unit length, as three exporters write it."""
    constants = {"axis": np.int64([1]), "tiny": np.float32(1e-12), "two": np.float32(2)}
    nodes = {
        "torch": [
            helper.make_node("ReduceL2", ["y"], ["length"], axes=[1], keepdims=1),
            helper.make_node("Clip", ["length", "tiny"], ["safe"]),
            helper.make_node("Shape", ["y"], ["like"]),
            helper.make_node("Expand", ["safe", "like"], ["wide"]),
            helper.make_node("Div", ["y", "wide"], ["z"]),
        ],
        "tensorflow": [
            helper.make_node("Mul", ["y", "y"], ["square"]),
            helper.make_node("ReduceSum", ["square", "axis"], ["sum"], keepdims=1),
            helper.make_node("Max", ["sum", "tiny"], ["safe"]),
            helper.make_node("Sqrt", ["safe"], ["root"]),
            helper.make_node("Reciprocal", ["root"], ["inverse"]),
            helper.make_node("Mul", ["y", "inverse"], ["z"]),
        ],
        "operator": [helper.make_node("LpNormalization", ["y"], ["z"], axis=1, p=2)],
    }[way]
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    after(model, *nodes, output="z", shape=["n", 96])


@pytest.mark.parametrize("way", ["torch", "tensorflow", "operator"])
def test_a_final_scaling_to_unit_length_is_removed(way):
    model = recognizer()
    unit_length(model, way)
    (expected,) = answer(model)
    assert "unit length" in " ".join(standardize(model, "recognizer"))
    (found,) = answer(model)
    assert not np.isclose(np.linalg.norm(found), 1)
    np.testing.assert_allclose(found / np.linalg.norm(found), expected, atol=1e-6)


def test_a_division_by_something_else_stays():
    model = recognizer()
    model.graph.initializer.append(numpy_helper.from_array(np.linspace(1, 2, 96).astype(np.float32), "scale"))
    after(model, helper.make_node("Div", ["y", "scale"], ["z"]), output="z", shape=["n", 96])
    assert standardize(model, "recognizer") == ()


MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def normalizing(way):
    """A recognizer that normalizes by itself, as exporters and onnxsim write it."""
    model = recognizer()
    model.graph.input[0].name = "raw"
    column = lambda values: np.float32(values).reshape(1, 3, 1, 1)  # noqa: E731
    std = np.float32(STD)
    constants, nodes = {
        "Sub and Div": (
            {"mean": column(MEAN), "std": column(STD)},
            [helper.make_node("Sub", ["raw", "mean"], ["m"]), helper.make_node("Div", ["m", "std"], ["x"])],
        ),
        "Mul and Add": (
            {"gain": 1 / column(STD), "bias": -column(MEAN) / column(STD)},
            [helper.make_node("Mul", ["gain", "raw"], ["m"]), helper.make_node("Add", ["m", "bias"], ["x"])],
        ),
        "BatchNormalization": (
            {
                "gain": 1 / std,
                "bias": np.zeros(3, np.float32),
                "mean": np.float32(MEAN),
                "variance": np.ones(3, np.float32),
            },
            [helper.make_node("BatchNormalization", ["raw", "gain", "bias", "mean", "variance"], ["x"], epsilon=0.0)],
        ),
        "Conv": (
            {"kernel1": np.diag(1 / std).reshape(3, 3, 1, 1), "bias": -np.float32(MEAN) / std},
            [helper.make_node("Conv", ["raw", "kernel1", "bias"], ["x"])],
        ),
        "depthwise Conv": (
            {"kernel1": (1 / std).reshape(3, 1, 1, 1), "bias": -np.float32(MEAN) / std},
            [helper.make_node("Conv", ["raw", "kernel1", "bias"], ["x"], group=3)],
        ),
        "fractions first": (
            {"byte": np.float32(255), "mean": column(MEAN) / 255, "std": column(STD) / 255},
            [
                helper.make_node("Div", ["raw", "byte"], ["b"]),
                helper.make_node("Identity", ["b"], ["i"]),
                helper.make_node("Sub", ["i", "mean"], ["m"]),
                helper.make_node("Div", ["m", "std"], ["x"]),
            ],
        ),
    }[way]
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()
    )
    for index, node in enumerate(nodes):
        model.graph.node.insert(index, node)
    return model


@pytest.mark.parametrize(
    "way", ["Sub and Div", "Mul and Add", "BatchNormalization", "Conv", "depthwise Conv", "fractions first"]
)
def test_the_normalization_inside_a_model_is_read_for_each_channel(way):
    model = normalizing(way)
    standardize(model, "recognizer")
    found = read_normalization(model, "raw")
    assert found.of_bytes and not found.of_fractions
    np.testing.assert_allclose(found.mean, MEAN, rtol=1e-4)
    np.testing.assert_allclose(found.std, STD, rtol=1e-4)
    assert str(found) == "(x − (123.675, 116.28, 103.53)) / (58.395, 57.12, 57.375)"


def test_a_normalization_before_the_channels_are_moved_is_read():
    model = recognizer()
    channels_last(model, between=(("Sub", MEAN), ("Div", STD)))
    (expected,) = answer(model, np.ascontiguousarray(IMAGE.transpose(0, 2, 3, 1)))
    standardize(model, "recognizer")
    np.testing.assert_allclose(read_normalization(model, "image").mean, MEAN, rtol=1e-4)
    assert not any(node.op_type == "Transpose" for node in model.graph.node)
    np.testing.assert_allclose(answer(model)[0], expected, atol=1e-5)


def test_values_of_fractions_are_told_from_bytes_and_a_learned_layer_from_both():
    model = recognizer()
    model.graph.input[0].name = "raw"
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.5), "half"))
    model.graph.node.insert(0, helper.make_node("Sub", ["raw", "half"], ["m"]))
    model.graph.node.insert(1, helper.make_node("Div", ["m", "half"], ["x"]))
    found = read_normalization(model, "raw")
    assert found.of_fractions and not found.of_bytes
    numpy = numpy_helper.from_array(np.float32(-0.03), "half")
    model.graph.initializer[-1].CopyFrom(numpy)
    model.graph.node[1].op_type = "Add"
    model.graph.node[0].op_type = "Add"
    found = read_normalization(model, "raw")
    assert not found.of_fractions and not found.of_bytes
    assert read_normalization(recognizer(), "x") is None


@pytest.mark.parametrize("move", ["Reshape", "Transpose"])
def test_logits_become_probabilities_where_they_are_computed(move):
    random = np.random.default_rng(1)
    kernel = numpy_helper.from_array(random.normal(size=(2, 3, 1, 1)).astype(np.float32), "k")
    shape = numpy_helper.from_array(np.int64([1, -1, 1]), "shape")
    nodes = [helper.make_node("Conv", ["x", "k"], ["c"])]
    nodes += [
        helper.make_node("Reshape", ["c", "shape"], ["y"])
        if move == "Reshape"
        else helper.make_node("Transpose", ["c"], ["y"], perm=[0, 2, 3, 1])
    ]
    graph = helper.make_graph(
        nodes,
        "scores",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 24, 24])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [kernel, shape],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    image = IMAGE / 255
    (logits,) = answer(model, image)
    assert computes_logits(model, "y")
    add_sigmoid(model, "y")
    assert not computes_logits(model, "y")
    assert [node.op_type for node in model.graph.node] == ["Conv", "Sigmoid", move]
    np.testing.assert_allclose(answer(model, image)[0], 1 / (1 + np.exp(-logits)), atol=1e-6)


def pieces(*nodes, output, weights=None, shape=None):
    """A model with the input "x", 1×3×24×24."""
    graph = helper.make_graph(
        nodes,
        "pieces",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 24, 24])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


KERNEL = np.random.default_rng(1).normal(size=(24, 3, 1, 1)).astype(np.float32)
SLOPES = np.linspace(0, 1, 24).astype(np.float32)
CONV = helper.make_node("Conv", ["x", "k"], ["c"])
LEGAL = {
    "a comparison that becomes a number": (
        helper.make_node("Greater", ["x", "half"], ["b"]),
        helper.make_node("Cast", ["b"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "x"], ["y"]),
    ),
    "places that become numbers": (
        helper.make_node("TopK", ["x", "three"], ["v", "i"]),
        helper.make_node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["v", "f"], ["y"]),
    ),
    "a graph inside a node that reads a conversion": (
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node(
            "If",
            ["yes"],
            ["y"],
            then_branch=helper.make_graph(
                [helper.make_node("Neg", ["f"], ["t"])],
                "then",
                [],
                [helper.make_tensor_value_info("t", TensorProto.FLOAT, None)],
            ),
            else_branch=helper.make_graph(
                [helper.make_node("Abs", ["f"], ["e"])],
                "else",
                [],
                [helper.make_tensor_value_info("e", TensorProto.FLOAT, None)],
            ),
        ),
    ),
    "slopes for channels in the last place": (
        CONV,
        helper.make_node("Transpose", ["c"], ["l"], perm=[0, 2, 3, 1]),
        helper.make_node("PRelu", ["l", "slopes"], ["y"]),
    ),
    "slopes behind a mean": (
        CONV,
        helper.make_node("ReduceMean", ["c"], ["m"], axes=[2, 3], keepdims=0),
        helper.make_node("PRelu", ["m", "slopes"], ["y"]),
    ),
}


@pytest.mark.parametrize("name", LEGAL)
def test_what_only_looks_like_a_variant_computes_the_same(name):
    weights = {
        "half": np.float32(0.5),
        "three": np.int64([3]),
        "k": KERNEL,
        "slopes": SLOPES,
        "yes": np.array(True),
        "wide": np.float64(1),  # so that there is something to widen
    }
    model = pieces(*LEGAL[name], output="y", weights=weights)
    image = IMAGE / 255 - 0.5
    (expected,) = answer(model, image)
    standardize(model, "detector")
    np.testing.assert_allclose(answer(model, image)[0], expected, atol=1e-6)


def test_bytes_that_stay_integers_are_not_made_floats():
    model = recognizer()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    model.graph.input[0].name = "bytes"
    model.graph.initializer.append(numpy_helper.from_array(np.int32(16), "step"))
    model.graph.node.insert(0, helper.make_node("Cast", ["bytes"], ["i"], to=TensorProto.INT32))
    model.graph.node.insert(1, helper.make_node("Div", ["i", "step"], ["d"]))
    model.graph.node.insert(2, helper.make_node("Cast", ["d"], ["x"], to=TensorProto.FLOAT))
    (expected,) = answer(model, IMAGE.astype(np.uint8))
    assert standardize(model, "recognizer") == ()
    np.testing.assert_array_equal(answer(model, IMAGE.astype(np.uint8))[0], expected)


def test_a_constant_without_a_value_stays_for_the_checks_behind():
    model = recognizer()
    model.graph.node.append(helper.make_node("Constant", [], ["empty"]))
    standardize(model, "recognizer")
    assert model.graph.node[-1].op_type == "Constant"


def test_probabilities_that_are_multiplied_or_scaled_are_no_logits():
    sigmoid = helper.make_node("Sigmoid", ["c"], ["p"])
    weights = {"k": KERNEL, "half": np.float32(0.5)}
    product = pieces(CONV, sigmoid, helper.make_node("Mul", ["p", "p"], ["y"]), output="y", weights=weights)
    scaled = pieces(CONV, sigmoid, helper.make_node("Mul", ["half", "p"], ["y"]), output="y", weights=weights)
    moved = pieces(CONV, helper.make_node("Add", ["half", "c"], ["y"]), output="y", weights=weights)
    assert [computes_logits(model, "y") for model in (product, scaled, moved)] == [False, False, True]


def test_joined_logits_and_logits_with_another_reader_get_one_sigmoid_at_the_end():
    other = helper.make_node("Relu", ["c"], ["r"])
    shape = {"k": KERNEL, "shape": np.int64([1, -1, 1])}
    joined = pieces(CONV, other, helper.make_node("Concat", ["c", "r"], ["y"], axis=1), output="y", weights=shape)
    shared = pieces(CONV, other, helper.make_node("Reshape", ["c", "shape"], ["y"]), output="y", weights=shape)
    shared.graph.output.append(helper.make_tensor_value_info("r", TensorProto.FLOAT, None))
    for model in (joined, shared):
        logits, *others = answer(model, IMAGE / 255)
        add_sigmoid(model, "y")
        found, *kept = answer(model, IMAGE / 255)
        np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits)), atol=1e-6)
        for one, before in zip(kept, others, strict=True):
            np.testing.assert_array_equal(one, before)
