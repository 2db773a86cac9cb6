"""Layers that stay in FP16: which layers these are, and that the real toolkit keeps them in FP16."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rkface.convert.hybrid import tensors_at_ends
from rkface.runtime.core.errors import WorkError
from rkface.runtime.core.manifest import Input

from .conftest import calibration

SIDE = 16


def chain(path):
    """Four convolutions of 8 channels with Relus; a shortcut with an Add goes around the third."""
    random = np.random.default_rng(4)
    nodes, weights, tensor = [], [], "input"
    for index in range(4):
        shape = (8, 3 if index == 0 else 8, 3, 3)
        weights.append(numpy_helper.from_array((random.normal(size=shape) / 5).astype(np.float32), f"w{index}"))
        nodes.append(helper.make_node("Conv", [tensor, f"w{index}"], [f"c{index}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{index}"], [f"r{index}"]))
        tensor = f"r{index}"
        if index == 2:
            nodes.append(helper.make_node("Add", ["r1", "r2"], ["sum"]))
            tensor = "sum"
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("r3", TensorProto.FLOAT, [1, 8, SIDE, SIDE])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_layers_are_counted_from_both_ends_together_with_their_activations(tmp_path):
    proto = onnx.load(str(chain(tmp_path / "chain.onnx")))
    assert tensors_at_ends(proto, 0, 1) == ("c3", "r3")
    assert tensors_at_ends(proto, 1, 0) == ("c0", "r0")
    assert tensors_at_ends(proto, 1, 2) == ("c0", "r0", "c2", "r2", "sum", "c3", "r3")
    assert tensors_at_ends(proto, 0, 3) == ("c1", "r1", "c2", "r2", "sum", "c3", "r3"), (
        "the longest way counts, not the bypass"
    )
    assert len(tensors_at_ends(proto, 4, 0)) == 9 and tensors_at_ends(proto, 0, 0) == ()
    proto.graph.node.insert(0, helper.make_node("Relu", ["input"], ["before"]))
    proto.graph.node[1].input[0] = "before"
    assert tensors_at_ends(proto, 0, 1) == ("c3", "r3") and tensors_at_ends(proto, 1, 0) == ("before", "c0", "r0")


def strided():
    """Four convolutions that each halve the grid: 16, 8, 4 and 2 cells a side. The last two have a head."""
    random, nodes, weights, tensor = np.random.default_rng(6), [], [], "input"
    for index in range(4):
        channels = 3 if index == 0 else 8
        weights.append(numpy_helper.from_array(random.normal(size=(8, channels, 2, 2)).astype(np.float32), f"w{index}"))
        nodes.append(helper.make_node("Conv", [tensor, f"w{index}"], [tensor := f"c{index}"], strides=[2, 2]))
    for grid in (2, 3):
        weights.append(numpy_helper.from_array(random.normal(size=(4, 8, 1, 1)).astype(np.float32), f"h{grid}"))
        nodes.append(helper.make_node("Conv", [f"c{grid}", f"h{grid}"], [f"head{grid}"]))
        nodes.append(helper.make_node("Transpose", [f"head{grid}"], [f"moved{grid}"], perm=[0, 2, 3, 1]))
        nodes.append(helper.make_node("Reshape", [f"moved{grid}", "rows"], [f"out{grid}"]))
    weights.append(numpy_helper.from_array(np.array([1, -1, 4], np.int64), "rows"))
    given = [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 32, 32])]
    outputs = [helper.make_tensor_value_info(f"out{grid}", TensorProto.FLOAT, [1, None, 4]) for grid in (2, 3)]
    graph = helper.make_graph(nodes, "strided", given, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def test_fp16_can_be_limited_to_the_coarse_grids_of_a_detector():
    proto = strided()
    fine, coarse = (("head2", "moved2", "out2"), ("head3", "moved3", "out3"))
    assert tensors_at_ends(proto, 0, 1) == (*fine, *coarse)
    assert tensors_at_ends(proto, 0, 1, 16) == coarse, "2 of 32 cells a side, whatever the shape of the result is"
    assert tensors_at_ends(proto, 0, 1, 8) == (*fine, *coarse)
    assert tensors_at_ends(proto, 0, 2, 16) == ("c3", *coarse)
    assert tensors_at_ends(proto, 1, 9, 16) == ("c0", "c3", *coarse), "the first layers count on every grid"


@pytest.fixture
def job(tmp_path, toolkit):
    from rkface.convert.toolkit.quantize import QuantizeJob

    random = np.random.default_rng(5)
    images = random.integers(0, 256, (6, SIDE, SIDE, 3), np.uint8)
    np.save(tmp_path / "asked.npy", images)
    return QuantizeJob(
        onnx=chain(tmp_path / "chain.onnx"),
        output=tmp_path / "out.rknn",
        target="rk3588",
        input=Input("input", SIDE, SIDE, (127.5,) * 3, (127.5,) * 3),
        custom_string='{"rkface":"here"}',
        dataset=calibration(tmp_path / "set", images),
        evaluate=tmp_path / "asked.npy",
        analyze=True,
    )


def test_fp16_layers_are_closer_to_fp32_and_every_layer_has_an_error(job, tmp_path):
    from rkface.convert.toolkit.quantize import quantize
    from rkface.runtime.backends.reference import open_reference

    backend = open_reference(job.onnx, job.input)
    (exact,) = backend.infer(np.load(job.evaluate)[:1])
    proto = onnx.load(str(job.onnx))
    errors = {}
    for name, fp16 in (("int8", ()), ("half", tensors_at_ends(proto, 1, 1)), ("fp16", tensors_at_ends(proto, 4, 0))):
        done = quantize(replace(job, fp16=fp16), tmp_path / f"{name}.log")
        errors[name] = float(np.linalg.norm(done.outputs[0][:1] - exact) / np.linalg.norm(exact))
        assert next(layer.name for layer in done.layers if layer.kind == "Relu") == "r0"
        assert all(0.9 < layer.single <= 1 and 0.9 < layer.cumulative <= 1 for layer in done.layers)
        assert b'{"rkface":"here"}' in job.output.read_bytes()[:4096], "the custom string is still in the model"
    # FP16 has 11 bits, INT8 has 8: with all layers in FP16, the error is a fraction of INT8's; with the two ends, in
    # between.
    assert errors["fp16"] < 0.2 * errors["int8"]
    assert errors["fp16"] < errors["half"] < errors["int8"]


def test_an_unknown_layer_is_an_error(job, tmp_path):
    from rkface.convert.toolkit.quantize import quantize

    with pytest.raises(WorkError, match="failed at build"):
        quantize(replace(job, fp16=("nowhere",)), tmp_path / "log.txt")
    assert "does not know any of the layers" in (tmp_path / "log.txt").read_text()


def test_a_second_hybrid_reuses_the_calibration_and_restores_biases(job, tmp_path):
    from rkface.convert.toolkit.quantize import quantize
    from rkface.runtime.backends.reference import open_reference

    (exact,) = open_reference(job.onnx, job.input).infer(np.load(job.evaluate)[:1])
    proto = onnx.load(str(job.onnx))
    plain, moved = np.zeros(8, np.float32), np.full(8, 0.5, np.float32)
    proto.graph.node[4].input.append("c2/bias")
    proto.graph.initializer.append(numpy_helper.from_array(moved, "c2/bias"))
    onnx.save(proto, tmp_path / "moved.onnx")
    job = replace(
        job,
        onnx=tmp_path / "moved.onnx",
        fp16=tensors_at_ends(proto, 4, 0),
        calibrated=tmp_path / "calibrated",
        analyze=False,
    )
    first = quantize(job, tmp_path / "first.log")
    assert "load" in first.seconds
    biases = {"c2/bias": (moved.tolist(), plain.tolist())}
    second = quantize(replace(job, biases=biases), tmp_path / "second.log")
    assert "load" not in second.seconds, "it was not calibrated again"
    # All layers are in FP16, whose 11 bits give an error below a thousandth of the largest value for each layer.
    np.testing.assert_allclose(second.outputs[0][:1], exact, atol=4e-3 * np.abs(exact).max())
    assert np.abs(first.outputs[0][:1] - exact).max() > 0.1 * np.abs(exact).max()
    wrong = {"c2/bias": (plain.tolist(), moved.tolist()), "gone/bias": (moved.tolist(), plain.tolist())}
    third = quantize(replace(job, biases=wrong), tmp_path / "third.log")
    assert np.array_equal(third.outputs[0], first.outputs[0])
    assert (tmp_path / "third.log").read_text().count("stays as tuned for INT8") == 2
