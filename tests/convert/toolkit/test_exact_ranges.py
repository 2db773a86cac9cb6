"""The toolkit uses the ranges that a job states, instead of those of the calibration images."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rkface.convert.toolkit.quantize import QuantizeJob, quantize
from rkface.runtime.core.manifest import Input

from ..conftest import calibration

SIDE = 16


def test_exact_ranges_cut_values_off_and_leave_finer_steps(tmp_path, toolkit):
    weights = [numpy_helper.from_array(np.full((1, 3, 1, 1), 1 / 765, np.float32), "w")]
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Relu", ["c"], ["y"])]
    shape = [1, 3, SIDE, SIDE]
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, SIDE, SIDE])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "m.onnx")
    grays = [np.full((SIDE, SIDE, 3), value, np.uint8) for value in (0, 51, 255)]
    np.save(tmp_path / "asked.npy", np.stack(grays))
    job = QuantizeJob(
        onnx=tmp_path / "m.onnx",
        output=tmp_path / "m.rknn",
        target="rk3588",
        input=Input("x", SIDE, SIDE, (0.0,) * 3, (1.0,) * 3),
        custom_string="{}",
        dataset=calibration(tmp_path / "set", grays),
        evaluate=tmp_path / "asked.npy",
        exact={"c": (0.0, 0.5), "y": (0.0, 0.5)},
        calibrated=tmp_path / "calibrated",
    )
    outputs = quantize(job, tmp_path / "log").outputs[0].reshape(3, -1)
    assert outputs[:, 0] == pytest.approx([0, 0.2, 0.5], abs=0.005)  # the mean of a picture, cut off at 0.5
    free = quantize(replace(job, exact={}), tmp_path / "log").outputs[0].reshape(3, -1)
    assert free[:, 0] == pytest.approx([0, 0.2, 1], abs=0.01)
