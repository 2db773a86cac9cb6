"""Scores that are logits become probabilities, and probabilities stay as they are."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper

from rkface.convert.prepare.score_output import add_probabilities, computes_logits

from .graphs import CONV, IMAGE, KERNEL, answer, pieces


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
    add_probabilities(model, "y", "Sigmoid")
    assert not computes_logits(model, "y")
    assert [node.op_type for node in model.graph.node] == ["Conv", "Sigmoid", move]
    np.testing.assert_allclose(answer(model, image)[0], 1 / (1 + np.exp(-logits)), atol=1e-6)


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
        add_probabilities(model, "y", "Sigmoid")
        found, *kept = answer(model, IMAGE / 255)
        np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits)), atol=1e-6)
        for one, before in zip(kept, others, strict=True):
            np.testing.assert_array_equal(one, before)
