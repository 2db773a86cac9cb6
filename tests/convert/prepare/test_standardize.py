"""Harmless variants of a recognizer and of a detector become one form, and compute the same."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper

from rkface.convert.packs.pack import DEMO
from rkface.convert.prepare.standardize import standardize

from .graphs import CONV, IMAGE, KERNEL, SLOPES, answer, channels_last, pieces, recognizer


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
    elif name == "bytes in another order":
        model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
        model.graph.input[0].name = "bytes"
        model.graph.initializer.append(numpy_helper.from_array(np.int64([2, 1, 0]), "reversed"))
        for place, node in enumerate(
            (
                helper.make_node("Gather", ["bytes", "reversed"], ["bgr"], axis=1),
                helper.make_node("Gather", ["bgr", "reversed"], ["rgb"], axis=1),
                helper.make_node("Cast", ["rgb"], ["x"], to=TensorProto.FLOAT),
            )
        ):
            model.graph.node.insert(place, node)
    elif name == "open sides as -1":
        for dim, side in zip(model.graph.input[0].type.tensor_type.shape.dim, (-1, 3, 0, -1), strict=True):
            dim.dim_value = side
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
    "bytes", "bytes in another order", "open sides as -1", "four dimensions", "one dimension", "several outputs",
    "weights as inputs", "leftovers",
)  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_becomes_the_form_that_the_conversion_takes(name):
    expected = answer(recognizer())[0]
    model = variant(name)
    changes = standardize(model, "recognizer")
    (entry,) = model.graph.input
    dims = [dim.dim_value for dim in entry.type.tensor_type.shape.dim]
    assert entry.type.tensor_type.elem_type == TensorProto.FLOAT and (len(dims), dims[1], min(dims)) == (4, 3, 0)
    assert model.ir_version <= 10 and model.opset_import[0].version <= 19
    assert not any(node.op_type == "Cast" for node in model.graph.node)
    (found,) = answer(model)
    assert found.shape == (1, 96)
    half = 2e-2 if "16" in name else 1e-5  # as a share of the largest value: the weights were rounded
    np.testing.assert_allclose(found, expected, atol=half * np.abs(expected).max())
    assert bool(changes) or name in ("weights as inputs", "leftovers", "open sides as -1"), "what was rewritten is said"


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


@pytest.mark.parametrize("behind", ["dimensions", "factor", "both"])
def test_a_final_scaling_is_removed_if_only_dimensions_or_a_factor_come_behind_it(behind):
    model = recognizer()
    unit_length(model, "operator")
    model.graph.initializer.append(numpy_helper.from_array(np.float32(64), "factor"))
    nodes = {
        "dimensions": [helper.make_node("Unsqueeze", ["z", "axis"], ["u"]), helper.make_node("Flatten", ["u"], ["v"])],
        "factor": [helper.make_node("Mul", ["factor", "z"], ["v"])],
        "both": [helper.make_node("Flatten", ["z"], ["u"]), helper.make_node("Mul", ["u", "factor"], ["v"])],
    }[behind]
    after(model, *nodes, output="v", shape=["n", 96])
    (expected,) = answer(model)
    assert "unit length" in " ".join(standardize(model, "recognizer"))
    (found,) = answer(model)
    length = np.linalg.norm(found)
    assert not any(np.isclose(length, unit) for unit in (1, 64))
    np.testing.assert_allclose(found / length, expected / np.linalg.norm(expected), atol=1e-6)


def test_a_division_by_something_else_stays():
    model = recognizer()
    model.graph.initializer.append(numpy_helper.from_array(np.linspace(1, 2, 96).astype(np.float32), "scale"))
    after(model, helper.make_node("Div", ["y", "scale"], ["z"]), output="z", shape=["n", 96])
    assert standardize(model, "recognizer") == ()


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
