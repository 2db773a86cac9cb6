"""Scores keep their full range, whatever the calibration photos show."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rkface.convert.demo import measure
from rkface.convert.tuning.ranges import LOGIT, crowd_ranges, score_ranges, widest
from rkface.runtime.core.manifest import Input

from ..conftest import calibration

SIDE = 32


def head(path):
    """A logit of −6 for gray, black and white, and of +3 for red; then moves of data and a Sigmoid, as in SCRFD's
    heads."""
    weights = [
        numpy_helper.from_array(np.array([9 / 255, 0, -9 / 255], np.float32).reshape(1, 3, 1, 1), "w"),
        numpy_helper.from_array(np.array([-6], np.float32), "b"),
        numpy_helper.from_array(np.array([1, SIDE * SIDE, 1], np.int64), "shape"),
    ]
    nodes = [
        helper.make_node("Conv", ["input", "w", "b"], ["logits"]),
        helper.make_node("Transpose", ["logits"], ["rows"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["rows", "shape"], ["flat"]),
        helper.make_node("Sigmoid", ["flat"], ["score"]),
    ]
    graph = helper.make_graph(
        nodes,
        "head",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [1, SIDE * SIDE, 1])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_scores_and_their_logits_are_found(tmp_path):
    ranges = score_ranges(onnx.load(str(head(tmp_path / "head.onnx"))))
    assert ranges == {"score": (0, 1), "flat": (0, LOGIT), "rows": (0, LOGIT), "logits": (0, LOGIT)}
    demo = score_ranges(onnx.load(str(measure.__file__).replace("measure.py", measure.DETECTOR)))
    assert {name for name, (_, high) in demo.items() if high == 1} >= {"score_8", "score_16", "score_32"}
    assert not any(name.startswith(("bbox", "kps")) for name in demo)


def pieces(path, nodes, weights, output):
    """A network of ``nodes`` from "input", with a 3×SIDE×SIDE image, to ``output``."""
    shape = [1, 3, SIDE, SIDE]
    graph = helper.make_graph(
        nodes,
        "pieces",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.float32(value), name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return onnx.load(str(path))


@pytest.mark.parametrize("gain", [0.5, -0.5, 0.01])
def test_a_depthwise_convolution_before_a_score_gets_an_input_that_reaches_the_score(tmp_path, gain):
    # As in YuNet's heads: 1×1 to one channel, then 3×3, then the Sigmoid. The bias is 1.
    kernel = np.zeros((1, 1, 3, 3))
    kernel[0, 0, 1, :2] = gain, gain
    nodes = [
        helper.make_node("Conv", ["input", "first"], ["inner"]),
        helper.make_node("Conv", ["inner", "kernel", "bias"], ["logits"], pads=[1] * 4, group=1),
        helper.make_node("Sigmoid", ["logits"], ["score"]),
    ]
    weights = {"first": np.ones((1, 3, 1, 1)), "kernel": kernel, "bias": [1]}
    ranges = score_ranges(pieces(tmp_path / "m.onnx", nodes, weights, "score"))
    needed = (LOGIT - 1) / (2 * gain)
    # A gain near 0 says nothing about the input: the range would be far too wide.
    assert ranges["inner"] == pytest.approx({0.5: (0, needed), -0.5: (needed, 0), 0.01: (0, 0)}[gain])


def test_ranges_of_crowds_contain_what_shrunk_photos_cause(tmp_path):
    # A difference of neighbors: a photo of wide stripes has few, its mosaic of narrow stripes has larger ones.
    kernel = np.zeros((1, 3, 1, 9))
    kernel[0, :, 0, 0], kernel[0, :, 0, 8] = 1, -1
    nodes = [
        helper.make_node("Conv", ["input", "kernel"], ["edges"]),
        helper.make_node("Relu", ["edges"], ["found"]),
        helper.make_node("Conv", ["found", "scale"], ["logits"]),
        helper.make_node("Reshape", ["logits", "flat"], ["moved"]),
        helper.make_node("Sigmoid", ["moved"], ["score"]),
    ]
    proto = pieces(tmp_path / "m.onnx", nodes, {"kernel": kernel, "scale": -np.ones((1, 1, 1, 1))}, "score")
    proto.graph.initializer.append(numpy_helper.from_array(np.int64([1, -1, 1]), "flat"))
    ramp = np.broadcast_to(np.linspace(0, 250, SIDE, dtype=np.uint8)[None, :, None], (4, SIDE, SIDE, 3))
    found = crowd_ranges(proto, Input("input", SIDE, SIDE, (0.0,) * 3, (1.0,) * 3), ramp, tmp_path / "scratch.onnx")
    slope = 250 / (SIDE - 1) * 8 * 3  # of the photo itself, over nine columns and three channels
    assert found["found"][1] > 2 * slope and not (tmp_path / "scratch.onnx").exists()
    assert found["edges"] == found["found"]  # one layer on the NPU
    assert found["logits"] == found["moved"] == (0.0, 0.0)  # the lower end of logits does not count
    assert widest({"a": (0, 1)}, {"a": (-2, 0.5), "b": (0, 3)}) == {"a": (-2, 1), "b": (0, 3)}


def test_a_score_that_is_not_in_the_calibration_set_survives_int8(tmp_path, toolkit):
    from rkface.convert.toolkit.quantize import QuantizeJob, quantize

    gray = [np.full((SIDE, SIDE, 3), value, np.uint8) for value in (0, 128, 255)]  # scores of 0.002
    red = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    red[..., 0] = 255
    np.save(tmp_path / "asked.npy", red)
    job = QuantizeJob(
        onnx=head(tmp_path / "head.onnx"),
        output=tmp_path / "out.rknn",
        target="rk3588",
        input=Input("input", SIDE, SIDE, (0.0,) * 3, (1.0,) * 3),
        custom_string="{}",
        dataset=calibration(tmp_path / "set", gray),
        evaluate=tmp_path / "asked.npy",
    )
    (unaware,) = quantize(job, tmp_path / "log.txt").outputs
    ranges = score_ranges(onnx.load(str(job.onnx)))
    (aware,) = quantize(replace(job, ranges=ranges), tmp_path / "log.txt").outputs
    # A logit of 3 is a score of 0.953; INT8 has 256 steps from −6 to 4. From calibration alone, the range would end at
    # 0, which every INT8 range contains: a score of 0.5.
    assert unaware.max() < 0.51
    np.testing.assert_allclose(aware, 0.953, atol=0.01)
