"""Which inner tensors a debug build shows; and that showing them changes nothing in the real toolkit's result."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rkface.convert import demo
from rkface.convert.debug_layers import MOST, choose_outputs, write_with_outputs
from rkface.convert.npu_layers import find_layers
from rkface.convert.targets import find_target
from rkface.runtime.backends.reference import open_reference
from rkface.runtime.core.manifest import Input

from .conftest import calibration

SIDE, CHANNELS, EMBEDDING = 8, 8, 16
RAW = Input("input", SIDE, SIDE, (127.5,) * 3, (127.5,) * 3)
RK3588 = find_target("rk3588", quantized=True)


def residual(path, blocks=2):
    """A recognizer in small: a stem, residual blocks as in IResNet, a BatchNormalization, Flatten and Gemm."""
    rng, nodes, constants = np.random.default_rng(4), [], []

    def constant(name, value):
        constants.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def conv(name, data, inputs=CHANNELS):
        weights = constant(f"{name}_w", rng.normal(size=(CHANNELS, inputs, 3, 3)) / 8)
        nodes.append(helper.make_node("Conv", [data, weights], [name], pads=[1, 1, 1, 1]))
        return name

    def prelu(name, data):
        nodes.append(helper.make_node("PRelu", [data, constant(f"{name}_s", np.full((CHANNELS, 1, 1), 0.25))], [name]))
        return name

    def normalization(name, data):
        values = (np.ones(CHANNELS), np.zeros(CHANNELS), rng.normal(size=CHANNELS), np.ones(CHANNELS) * 2)
        parameters = [constant(f"{name}_{at}", value) for at, value in enumerate(values)]
        nodes.append(helper.make_node("BatchNormalization", [data, *parameters], [name]))
        return name

    tensor = prelu("stem", conv("stem_c", "input", 3))
    for block in range(blocks):
        inner = prelu(f"p{block}", conv(f"a{block}", normalization(f"n{block}", tensor)))
        nodes.append(helper.make_node("Add", [conv(f"b{block}", inner), tensor], [f"sum{block}"]))
        tensor = f"sum{block}"
    nodes.append(helper.make_node("Flatten", [normalization("last", tensor)], ["flat"]))
    weights = constant("gemm_w", rng.normal(size=(EMBEDDING, CHANNELS * SIDE * SIDE)) / 20)
    nodes.append(
        helper.make_node("Gemm", ["flat", weights, constant("gemm_b", np.zeros(EMBEDDING))], ["out"], transB=1)
    )
    graph = helper.make_graph(
        nodes,
        "residual",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, EMBEDDING])],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def chosen(path, role="recognizer"):
    return choose_outputs(onnx.load(str(path)), path.name, role, RK3588)


def test_the_ends_of_blocks_are_shown_with_the_layers_between_them(tmp_path):
    out, *inner = chosen(residual(tmp_path / "model.onnx"))
    assert [one.tensor for one in inner] == ["stem", "sum0", "sum1"]
    assert inner[1].op == "Conv+Add" and inner[1].shape == (1, CHANNELS, SIDE, SIDE)
    assert inner[1].reads == ("stem",) and inner[0].reads == ("input",)
    assert inner[1].inside == ("BatchNormalization n0", "Conv+PRelu p0", "Conv+Add sum0")
    assert out.reads == ("sum1",) and out.inside[-1] == "Gemm out"


def test_a_tensor_that_is_only_moved_to_become_the_output_is_not_shown(tmp_path):
    proto = onnx.load(str(residual(tmp_path / "model.onnx")))
    shape = numpy_helper.from_array(np.array([1, CHANNELS, SIDE, SIDE]), "shape")
    del proto.graph.node[-2:]  # Flatten and Gemm
    proto.graph.node[-1].CopyFrom(helper.make_node("Relu", ["sum1"], ["last"]))
    proto.graph.node.append(helper.make_node("Reshape", ["last", "shape"], ["out"]))
    proto.graph.initializer.append(shape)
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, CHANNELS, SIDE, SIDE]))
    shown = choose_outputs(proto, "m", "recognizer", RK3588)
    assert [one.tensor for one in shown] == ["out", "stem", "sum0"]
    assert shown[0].inside[-1] == "Reshape out" and shown[0].reads == ("sum0",)


def test_recipes_that_keep_a_layer_in_fp16_are_named(tmp_path):
    out, stem, *_ = chosen(residual(tmp_path / "model.onnx", blocks=16))
    assert (out.recipe, stem.recipe) == ("hybrid3", "hybrid7")
    middle = chosen(tmp_path / "model.onnx")[12]
    assert middle.recipe == ""
    without_fp16 = choose_outputs(
        onnx.load(str(tmp_path / "model.onnx")), "m", "recognizer", find_target("rv1106", quantized=True)
    )
    assert {one.recipe for one in without_fp16} == {""}


def test_large_models_show_a_limited_number_of_tensors_spread_over_them(tmp_path):
    inner = chosen(residual(tmp_path / "model.onnx", blocks=80))[1:]
    numbers = [one.number for one in inner]
    assert len(inner) == MOST and numbers == sorted(numbers)
    assert inner[0].tensor == "stem" and inner[-1].tensor == "sum79"
    assert max(np.diff(numbers)) <= 12  # three blocks


@pytest.mark.parametrize("role", ["detector", "recognizer"])
def test_every_layer_of_the_demo_models_is_behind_exactly_one_shown_tensor_of_its_way(role):
    path = Path(demo.__file__).parent / f"{role}.onnx"
    proto = onnx.load(str(path))
    outputs, layers = chosen(path, role), find_layers(proto, role)
    named = [layer for one in outputs for layer in one.inside]
    assert {f"{layer.op} {layer.writes[0].name}" for layer in layers} == set(named)
    shown = {one.tensor for one in outputs} | {proto.graph.input[0].name}
    assert all(set(one.reads) <= shown for one in outputs)
    assert [one.tensor for one in outputs][: len(proto.graph.output)] == [one.name for one in proto.graph.output]


def test_showing_tensors_changes_no_bit_of_the_result(tmp_path, toolkit):
    from rkface.convert.toolkit.quantize import QuantizeJob, quantize

    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)
    dataset = calibration(tmp_path / "set", images)
    np.save(tmp_path / "images.npy", images)
    plain, shown = residual(tmp_path / "model.onnx"), tmp_path / "shown.onnx"
    inner = chosen(plain)[1:]
    write_with_outputs(plain, inner, shown)
    before, after = (
        quantize(
            QuantizeJob(
                path, tmp_path / f"{path.stem}.rknn", "rk3588", RAW, "{}", dataset, evaluate=tmp_path / "images.npy"
            ),
            tmp_path / "log.txt",
        )
        for path in (plain, shown)
    )
    np.testing.assert_array_equal(before.outputs[0], after.outputs[0])
    expected = open_reference(shown, RAW).infer(images)
    for one, ours, fp32 in zip(inner, after.outputs[1:], expected[1:], strict=True):
        assert ours.shape[1:] == one.shape[1:]
        assert np.corrcoef(ours.ravel(), fp32.ravel())[0, 1] > 0.99, one.tensor
