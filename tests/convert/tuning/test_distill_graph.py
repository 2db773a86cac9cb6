"""The torch graph computes what ONNX Runtime computes, and rounds as the NPU does."""

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from rkface.convert.native_steps import open_session
from rkface.convert.tuning import tune
from rkface.convert.tuning.distill.fake_quant import round_activations, round_weights
from rkface.convert.tuning.distill.graph import read_graph, rounded_tensors
from rkface.convert.tuning.distill.operators import OPERATORS
from rkface.runtime.core.errors import WorkError

RANDOM = np.random.default_rng(0)
SHAPE = (4, 9, 10)


def model(nodes, constants=None, shape=SHAPE, opset=17):
    """A ModelProto of ``nodes`` from "x", of ``shape`` with a batch of 1, to "y"."""
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def floats(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def integers(*values):
    return np.array(values, np.int64)


# name of the case → (operator, attributes, constants after "x", options of ``model``)
CASES = {
    "Add": ("Add", {}, [floats(4, 1, 1)], {}),
    "AveragePool": ("AveragePool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4}, [], {}),
    "AveragePool, counted": (
        "AveragePool",
        {"kernel_shape": [3, 2], "pads": [1, 0, 2, 1], "count_include_pad": 1},
        [],
        {},
    ),
    "BatchNormalization": (
        "BatchNormalization",
        {"epsilon": 1e-3},
        [floats(4), floats(4), floats(4), np.abs(floats(4)) + 0.1],
        {},
    ),
    "Clip": ("Clip", {}, [np.float32(-0.3), np.float32(0.8)], {}),
    "Clip, opset 9": ("Clip", {"min": 0.0, "max": 0.5}, [], {"opset": 9}),
    "Concat": ("Concat", {"axis": 1}, [floats(1, 2, 9, 10)], {}),
    "Conv": (
        "Conv",
        {"strides": [2, 1], "pads": [1, 2, 1, 2], "dilations": [1, 2], "group": 2},
        [floats(6, 2, 3, 3), floats(6)],
        {},
    ),
    "Conv, uneven padding": ("Conv", {"strides": [2, 2], "pads": [0, 0, 1, 1]}, [floats(3, 4, 3, 3)], {}),
    "Div": ("Div", {}, [np.float32(3)], {}),
    "Flatten": ("Flatten", {}, [], {}),
    "Gemm": ("Gemm", {"transB": 1}, [floats(5, 7), floats(5)], {"shape": (7,)}),
    "Gemm, scaled": ("Gemm", {"alpha": 0.5, "beta": 2.0}, [floats(7, 5), floats(5)], {"shape": (7,)}),
    "GlobalAveragePool": ("GlobalAveragePool", {}, [], {}),
    "HardSigmoid": ("HardSigmoid", {"alpha": 1 / 6}, [], {}),
    "Identity": ("Identity", {}, [], {}),
    "LeakyRelu": ("LeakyRelu", {"alpha": 0.2}, [], {}),
    "MatMul": ("MatMul", {}, [floats(7, 5)], {"shape": (7,)}),
    "MaxPool": ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]}, [], {}),
    "MaxPool, ceil": ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, [], {}),
    "Mul": ("Mul", {}, [floats(4, 1, 1)], {}),
    "PRelu": ("PRelu", {}, [floats(4, 1, 1)], {}),
    "PRelu, one slope": ("PRelu", {}, [floats(1)], {}),
    "Pad": ("Pad", {}, [integers(0, 2, 1, 0, 0, 0, 2, 3), np.float32(0.5)], {}),
    "ReduceMean": ("ReduceMean", {"axes": [2, 3]}, [], {}),
    "Relu": ("Relu", {}, [], {}),
    "Reshape": ("Reshape", {}, [integers(1, -1)], {}),
    "Reshape, kept axis": ("Reshape", {}, [integers(0, 2, -1)], {}),
    "Resize": ("Resize", {"mode": "linear"}, [np.zeros(0, np.float32), np.float32([1, 1, 1.5, 2])], {}),
    "Resize, nearest": (
        "Resize",
        {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
        [np.zeros(0, np.float32), np.float32([1, 1, 2, 2])],
        {},
    ),
    "Sigmoid": ("Sigmoid", {}, [], {}),
    "Slice": ("Slice", {}, [integers(1, -6), integers(9, 2**31), integers(2, 3), integers(2, 1)], {}),
    "Squeeze": ("Squeeze", {}, [integers(2, 3)], {"shape": (7, 1, 1)}),
    "Sub": ("Sub", {}, [floats(4, 1, 1)], {}),
    "Transpose": ("Transpose", {"perm": [0, 2, 3, 1]}, [], {}),
    "Unsqueeze": ("Unsqueeze", {}, [integers(2, 3)], {"shape": (7,)}),
}


@pytest.mark.parametrize("name", CASES)
def test_every_operator_computes_what_onnx_runtime_computes(name):
    operator, attributes, given, options = CASES[name]
    constants = {f"c{index}": value for index, value in enumerate(given)}
    proto = model([helper.make_node(operator, ["x", *constants], ["y"], **attributes)], constants, **options)
    image = floats(1, *options.get("shape", SHAPE))
    expected = open_session(proto.SerializeToString()).run(None, {"x": image})[0]
    graph = read_graph(proto)
    found = graph.run(torch.from_numpy(image), graph.constants)["y"].numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_every_operator_has_a_case():
    assert {case[0] for case in CASES.values()} == set(OPERATORS)


def test_a_batch_is_what_its_images_are_alone():
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Reshape", ["c", "s"], ["f"]),
        helper.make_node("Gemm", ["f", "g"], ["y"], transB=1),
    ]
    graph = read_graph(model(nodes, {"w": floats(2, 4, 3, 3), "s": integers(1, -1), "g": floats(5, 112)}))
    images = torch.from_numpy(floats(3, *SHAPE))
    alone = torch.cat([graph.run(image[None], graph.constants)["y"] for image in images])
    torch.testing.assert_close(graph.run(images, graph.constants)["y"], alone)


@pytest.mark.parametrize(
    ("node", "names"),
    [
        (helper.make_node("Erf", ["x"], ["y"]), "the operator Erf"),
        (helper.make_node("Conv", ["x", "w"], ["y"], auto_pad="SAME_UPPER"), "auto_pad"),
        (helper.make_node("Resize", ["x", "", "s"], ["y"], mode="cubic"), "Resize with cubic"),
    ],
)
def test_what_is_not_supported_is_named(node, names):
    constants = {"w": floats(4, 4, 3, 3), "s": np.float32([1, 1, 2, 2])}
    with pytest.raises(WorkError, match=f"cannot be distilled: {names}"):
        graph = read_graph(model([node], constants))
        graph.run(torch.from_numpy(floats(1, *SHAPE)), graph.constants)


@pytest.mark.parametrize(("low", "high"), [(-1.31, 2.1), (0.0, 6.0), (-0.5, 0.0)])
def test_activations_are_rounded_as_by_quantize_and_dequantize_linear(low, high):
    values = floats(1, 5000) * 2
    scale = np.float32((high - low) / 255)
    constants = {"s": scale, "z": np.uint8(np.round(-low / scale))}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    proto = model(nodes, constants, (5000,))
    expected = open_session(proto.SerializeToString()).run(None, {"x": values})[0]
    found = round_activations(torch.from_numpy(values), torch.tensor(low), torch.tensor(high)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_gradients_reach_values_inside_the_range_and_the_ends_that_cut_values_off():
    values = torch.tensor([-5.0, 0.31, 0.62, 7.0, 9.0], requires_grad=True)
    low, high = (torch.tensor(end, requires_grad=True) for end in (-1.0, 1.0))
    round_activations(values, low, high).sum().backward()
    assert values.grad.tolist() == [0, 1, 1, 0, 0]
    # Inside, a longer range moves each rounded value by at most half a step in 255.
    assert low.grad.item() == pytest.approx(1, abs=0.01) and high.grad.item() == pytest.approx(2, abs=0.01)


@pytest.mark.parametrize(("shape", "axis"), [((6, 4, 3, 3), 0), ((8, 5), 1)])
def test_weights_are_rounded_as_tuning_takes_the_toolkit_to_do_it(shape, axis):
    weights = torch.from_numpy(floats(*shape)).requires_grad_()
    rounded = round_weights(weights, axis)
    expected = np.moveaxis(tune.round_weights(np.moveaxis(weights.detach().numpy(), axis, 0)), 0, axis)
    np.testing.assert_allclose(rounded.detach().numpy(), expected, atol=1e-6)
    rounded.sum().backward()
    assert bool((weights.grad == 1).all())


def test_the_npu_rounds_after_fused_activations_and_once_for_what_only_moves():
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["fused"]),
        helper.make_node("Relu", ["fused"], ["relu"]),
        helper.make_node("Pad", ["relu", "pads"], ["padded"]),
        helper.make_node("Conv", ["padded", "w"], ["before"]),
        helper.make_node("PRelu", ["before", "slope"], ["prelu"]),
        helper.make_node("Add", ["prelu", "relu"], ["sum"]),
        helper.make_node("Flatten", ["sum"], ["y"]),
    ]
    constants = {"w": floats(4, 4, 1, 1), "pads": integers(*[0] * 8), "slope": floats(4, 1, 1)}
    found = rounded_tensors(read_graph(model(nodes, constants)))
    assert found == {"x": (), "relu": ("fused", "padded"), "prelu": (), "sum": ("y",)}
