"""With the real toolkit: the color order of a written set is that of inference."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

import cv2
from onnx import TensorProto, helper, numpy_helper

from rkface.calibration.write_set import Provenance, write_set
from rkface.convert.toolkit.quantize import QuantizeJob, quantize
from rkface.runtime.core.crop_template import ARCFACE_112
from rkface.runtime.core.manifest import Input

RAW = Input("input", 112, 112, (0.0,) * 3, (1.0,) * 3)


def sees_red(path):
    """A 1×1 convolution that returns the first of three channels, which is red for an RGB model."""
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input", "w"], ["c"]), helper.make_node("Relu", ["c"], ["output"])],
        "red",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 112, 112])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, 112, 112])],
        [numpy_helper.from_array(np.float32([1, 0, 0]).reshape(1, 3, 1, 1), "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_color_order_of_a_written_set_is_that_of_inference(tmp_path, make_face, toolkit):
    random = np.random.default_rng(0)
    red = lambda: np.dstack([random.integers(0, 20, (112, 112, 2)), random.integers(0, 256, (112, 112))])  # noqa: E731
    faces = [make_face(seed, crop=red().astype(np.uint8)) for seed in range(20)]
    cv2.imwrite(str(tmp_path / "frame.png"), faces[0].crop)
    made = write_set(
        tmp_path / "set",
        faces,
        [tmp_path / "frame.png"],
        112,
        112,
        provenance=Provenance(tmp_path, "0" * 64, 0.5, ARCFACE_112),
    )
    asked = np.stack([np.full((112, 112, 3), (level, 10, 20), np.uint8) for level in (255, 128, 0)])
    np.save(tmp_path / "ask.npy", asked)
    for dataset in (made.recognizer, made.detector):  # both lists, as the toolkit reads them
        job = QuantizeJob(
            onnx=sees_red(tmp_path / "red.onnx"),
            output=tmp_path / "red.rknn",
            target="rk3588",
            input=RAW,
            custom_string="{}",
            dataset=dataset,
            evaluate=tmp_path / "ask.npy",
        )
        (seen,) = quantize(job, tmp_path / "log.txt").outputs
        # With blue instead of red, ranges would end at 19, and 255 and 128 would be clipped to it. A step of 256 is 1.
        np.testing.assert_allclose(seen.mean(axis=(1, 2, 3)), [255, 128, 0], atol=1.5)
