"""Equalizing through pools, pads and Flatten, as at the stem and at the end of a residual network."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rkface.convert.same_outputs import max_difference
from rkface.convert.tuning.equalize import equalize
from rkface.convert.tuning.observe import observe_tensors

from .test_tune import IMAGES, INPUT, SIDE, apart

CHANNELS = 8


def pooled(*, pads=(0, 0, 1, 1, 0, 0, 1, 1), value=0.0, every=1, norm=False):
    """Conv → Relu → MaxPool → Pad → AveragePool, then Flatten → Gemm; its channels differ by a factor of 30.

    ``every``: the pools leave a grid of so many cells. ``norm``: BatchNormalization between Flatten and Gemm.
    """
    random = np.random.default_rng(7)
    loud = np.geomspace(1, 1 / 30, CHANNELS).reshape(-1, 1, 1, 1)
    wide = CHANNELS * every**2
    weights = {
        "w1": random.normal(0, 0.5, (CHANNELS, 3, 3, 3)) * loud,
        "w2": random.normal(0, 0.5, (4, wide)),
        "b2": np.zeros(4),
        "value": np.float32(value),
        **{f"n{part}": random.uniform(0.5, 1.5, wide) for part in ("gamma", "beta", "mean", "var")},
    }
    side = (SIDE // 2 + 2) // every
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["c1"], pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["a1"]),
        helper.make_node("MaxPool", ["a1"], ["m1"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Pad", ["m1", "pads", "value"], ["p1"]),
        helper.make_node("AveragePool", ["p1"], ["g1"], kernel_shape=[side] * 2, strides=[side] * 2),
        helper.make_node("Flatten", ["g1"], ["f1"]),
        *([helper.make_node("BatchNormalization", ["f1", "ngamma", "nbeta", "nmean", "nvar"], ["b1"])] if norm else []),
        helper.make_node("Gemm", ["b1" if norm else "f1", "w2", "b2"], ["out"], transB=1),
    ]
    tensors = [numpy_helper.from_array(np.asarray(array, np.float32), name) for name, array in weights.items()]
    tensors.append(numpy_helper.from_array(np.array(pads, np.int64), "pads"))
    graph = helper.make_graph(
        nodes,
        "pooled",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 4])],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("every", [1, 2])
def test_channels_are_equalized_from_the_convolution_to_the_layer_behind_flatten(tmp_path, every, norm):
    before, model = pooled(every=every, norm=norm), pooled(every=every, norm=norm)
    seen = observe_tensors(model, INPUT, IMAGES, tmp_path / "scratch.onnx")
    scales = equalize(model, seen)
    assert {"c1", "a1", "m1", "p1", "g1", "f1"} <= set(scales) and len(scales["f1"]) == CHANNELS * every**2
    assert max_difference(before, model, INPUT, IMAGES) < 1e-5
    after = observe_tensors(model, INPUT, IMAGES, tmp_path / "scratch.onnx")
    assert apart(seen["m1"]) > 10
    if norm:  # it has a scale for each channel
        assert apart(after["m1"]) < 2
    else:  # a channel that is quiet on these images may be loud on others: it gets hardly louder
        assert max(scales["m1"]) == pytest.approx(2**0.25) and min(scales["m1"]) == 1
    onnx.checker.check_model(model)


@pytest.mark.parametrize("unusual", [{"value": 0.5}, {"pads": (0, 1, 0, 0, 0, 0, 2, 2)}])
def test_a_pad_with_other_values_or_with_new_channels_ends_it(tmp_path, unusual):
    if "pads" in unusual:  # one channel more
        model = pooled(**unusual)
        model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.zeros((4, CHANNELS + 1), np.float32), "w2"))
    else:
        model = pooled(**unusual)
    assert not equalize(model, observe_tensors(model, INPUT, IMAGES, tmp_path / "scratch.onnx"))
