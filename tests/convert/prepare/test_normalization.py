"""The normalization inside a model is read from its first operators."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import helper, numpy_helper

from rkface.convert.prepare.normalization import read_normalization
from rkface.convert.prepare.standardize import standardize

from .graphs import IMAGE, answer, channels_last, recognizer

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
        "reversed channels": (
            {"mean": column(MEAN[::-1]), "std": column(STD[::-1])},
            [
                helper.make_node("Gather", ["raw", "reversed"], ["r"], axis=1),
                helper.make_node("Sub", ["r", "mean"], ["m"]),
                helper.make_node("Div", ["m", "std"], ["x"]),
            ],
        ),
        "reversed slice": (
            {"gain": 1 / column(STD), "bias": -column(MEAN[::-1]) / column(STD[::-1])},
            [
                helper.make_node("Mul", ["raw", "gain"], ["m"]),
                helper.make_node("Slice", ["m", "last", "before", "channels", "back"], ["r"]),
                helper.make_node("Add", ["r", "bias"], ["x"]),
            ],
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
    places = {"reversed": [2, 1, 0], "last": [-1], "before": [-(2**63)], "channels": [1], "back": [-1]}
    model.graph.initializer.extend(numpy_helper.from_array(np.int64(value), name) for name, value in places.items())
    for index, node in enumerate(nodes):
        model.graph.node.insert(index, node)
    return model


WAYS = (
    "Sub and Div", "Mul and Add", "BatchNormalization", "Conv", "depthwise Conv", "fractions first",
    "reversed channels", "reversed slice",
)  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_the_normalization_inside_a_model_is_read_for_each_channel(way):
    model = normalizing(way)
    standardize(model, "recognizer")
    found = read_normalization(model, "raw")
    assert found.of_bytes and not found.of_fractions and found.reverses == ("reversed" in way)
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


@pytest.mark.parametrize(
    ("operator", "value", "kind"), [("Sub", 117, "bytes"), ("Mul", 255, "fractions"), ("Mul", 2, "unknown")]
)
def test_one_operator_is_enough_if_only_one_kind_of_values_fits_it(operator, value, kind):
    model = recognizer()
    model.graph.input[0].name = "raw"
    model.graph.initializer.append(numpy_helper.from_array(np.float32(value), "value"))
    model.graph.node.insert(0, helper.make_node(operator, ["raw", "value"], ["x"]))
    found = read_normalization(model, "raw")
    assert (found.of_bytes, found.of_fractions) == (kind == "bytes", kind == "fractions")


def test_channels_that_are_chosen_in_another_way_are_not_read():
    model = recognizer()
    model.graph.input[0].name = "raw"
    model.graph.initializer.append(numpy_helper.from_array(np.int64([0, 0, 1]), "places"))
    model.graph.node.insert(0, helper.make_node("Gather", ["raw", "places"], ["x"], axis=1))
    assert read_normalization(model, "raw") is None
