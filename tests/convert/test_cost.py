"""The cost model, compared with figures by hand, with published sizes of models, and with rknn-toolkit2's own
compiler."""

import re
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rkface.convert.cost import estimate_cost
from rkface.convert.npu_layers import LayerTensor, MacKernel, find_layers, read_layers
from rkface.convert.packs.pack import DEMO
from rkface.convert.targets import TARGETS
from rkface.runtime.cli.main import main
from rkface.runtime.core.errors import ModelError

RK3588 = TARGETS["rk3588"]


def graph(nodes, shape, outputs, weights):
    """A model with input "x" of ``shape``; ``weights``: name → shape."""
    initializers = [numpy_helper.from_array(np.ones(size, np.float32), name) for name, size in weights.items()]
    entries = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    made = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)], entries, initializers
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)])


def block(readers=()):
    """Conv → PRelu → depthwise Conv with stride → Conv + Add of a shortcut → Relu, like the blocks of MobileFaceNet."""
    return graph(
        [
            helper.make_node("Conv", ["x", "w0"], ["a"], pads=[1, 1, 1, 1]),
            helper.make_node("PRelu", ["a", "slope"], ["b"]),
            helper.make_node("Conv", ["b", "w1"], ["c"], group=64, strides=[2, 2], pads=[1, 1, 1, 1]),
            helper.make_node("Conv", ["c", "w2"], ["d"]),
            helper.make_node("Conv", ["c", "w3"], ["e"]),
            helper.make_node("Add", ["d", "e"], ["f"]),
            helper.make_node("Relu", ["f"], ["g"]),
        ],
        [1, 3, 16, 16],
        ["g", *readers],
        {"w0": (64, 3, 3, 3), "slope": (64, 1, 1), "w1": (64, 1, 3, 3), "w2": (32, 64, 1, 1), "w3": (32, 64, 1, 1)},
    )


def test_macs_and_elements_by_hand():
    first, depthwise, plain, last = find_layers(block(), "block")
    assert [layer.op for layer in (first, depthwise, plain, last)] == ["Conv+PRelu", "Conv", "Conv", "Conv+Add+Relu"]
    assert first.macs == 16 * 16 * 64 * 27 and first.weights == 64 * 27 + 64
    assert depthwise.macs == 8 * 8 * 64 * 9 and depthwise.weights == 64 * 9
    assert last.macs == 8 * 8 * 64 * 32
    # The shortcut is read again, but tensors between fused nodes are not.
    assert [tensor.name for tensor in last.reads] == ["c", "d"] and last.inner == ("e", "f", "g")
    assert [tensor.elements for tensor in last.writes] == [8 * 8 * 32]


def test_a_tensor_that_another_node_reads_is_not_fused():
    ops = [layer.op for layer in find_layers(block(readers=["a", "f"]), "block")]
    assert ops == ["Conv", "PRelu", "Conv", "Conv", "Conv+Add", "Relu"]


def test_matrix_products_and_nodes_after_a_convolution():
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("BatchNormalization", ["a", "s", "s", "s", "s"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["c"], ["d"]),
        helper.make_node("Gemm", ["d", "m"], ["e"], transB=1),
        helper.make_node("MatMul", ["e", "n"], ["f"]),
    ]
    weights = {"w": (16, 16, 1, 1), "s": (16,), "m": (32, 256), "n": (32, 8)}
    found = find_layers(graph(nodes, [1, 16, 8, 8], ["f"], weights), "net")
    assert [(layer.op, layer.macs) for layer in found] == [
        ("Conv", 64 * 16 * 16),
        ("MaxPool", 0),
        ("Flatten", 0),
        ("Gemm", 256 * 32),
        ("MatMul", 32 * 8),
    ]
    assert found[0].weights == 256, "BatchNormalization is folded into the kernel"


def test_cycles_by_hand():
    npu = RK3588.npu
    # 1024 MAC per cycle at 8 bits and 512 at 16 bits, if all channels are used.
    assert MacKernel(256, 9, 128, 128).cycles(npu, "w8a8") == 256 * 9 * 128 * 128 / 1024
    assert MacKernel(256, 9, 128, 128).cycles(npu, "fp16") == 256 * 9 * 128 * 128 / 512
    # 12 channels take as long as 32.
    assert MacKernel(256, 9, 12, 12).cycles(npu, "w8a8") == MacKernel(256, 9, 32, 32).cycles(npu, "w8a8")
    # 64 channels of a depthwise convolution per cycle and tap; 49 pixels take as long as 64.
    assert MacKernel(49, 9, 1, 1, 256).cycles(npu, "w8a8") == 64 * 9 * 4


def test_a_layer_takes_the_longer_of_arithmetic_and_memory():
    found = find_layers(block(), "block")
    cost = estimate_cost(found, RK3588)
    for layer in cost.layers:
        assert layer.milliseconds == max(layer.compute_ms, layer.memory_ms)
        assert layer.memory_ms == pytest.approx(layer.bytes / 23.65e9 * 1e3)
    assert cost.milliseconds == pytest.approx(sum(layer.milliseconds for layer in cost.layers))
    # The image without padding, 64 output channels, one byte each, and the weights.
    assert cost.layers[0].bytes == 16 * 16 * (3 + 64) + found[0].weights
    assert LayerTensor("t", 12, 10).bytes("w8a8", 16) == 160 and LayerTensor("t", 12, 10).bytes("fp16", 16) == 320


def test_half_precision_costs_twice_the_memory_traffic_and_at_least_the_same_time():
    found = read_layers(DEMO / "recognizer.onnx")
    int8, half = estimate_cost(found, RK3588), estimate_cost(found, RK3588, "fp16")
    assert int8.macs == half.macs and half.bytes == pytest.approx(2 * int8.bytes, rel=0.01)  # padded channels
    # If few channels leave half of the array unused at 8 bits, 16 bits need the same number of cycles.
    assert 1.2 * int8.milliseconds < half.milliseconds <= 2 * int8.milliseconds
    # On RK3566, the array processes a quarter as many channels at 16 bits.
    wide, rk3566 = MacKernel(256, 9, 128, 128), TARGETS["rk3566"].npu
    assert wide.cycles(rk3566, "fp16") == 4 * wide.cycles(rk3566, "w8a8")


def test_a_hybrid_model_costs_more_than_int8_and_less_than_fp16():
    found = read_layers(DEMO / "recognizer.onnx")
    most = estimate_cost(found, RK3588, "fp16").milliseconds
    costs = [
        estimate_cost(found, RK3588, kept={layer.name: "fp16" for layer in found[:count]}).milliseconds
        for count in (0, 1, 4, 8)
    ]
    assert costs == sorted(costs) and len(set(costs)) == 4 and costs[-1] < most
    # A single layer has a change of precision on both sides; two neighbors share the two changes.
    changes = [
        sum(layer.op == "Convert" for layer in estimate_cost(found, RK3588, kept=dict.fromkeys(names, "fp16")).layers)
        for names in ([found[3].name], [found[3].name, found[4].name])
    ]
    assert changes[0] >= 2 and changes[1] < 2 * changes[0]
    assert not [layer for layer in estimate_cost(found, RK3588).layers if layer.op == "Convert"]


def test_a_type_that_the_chip_does_not_support_is_an_error():
    found = find_layers(block(), "block")
    for name, dtype in (("rk2118", "w8a8"), ("rv1106b", "fp16"), ("rk3588", "w3a3")):
        with pytest.raises(ValueError, match=dtype):
            estimate_cost(found, TARGETS[name], dtype)


def test_the_error_for_a_dynamic_model_contains_its_name():
    with pytest.raises(ModelError, match=r"net.onnx: the shape of .* is not fixed"):
        find_layers(graph([helper.make_node("Relu", ["x"], ["y"])], [1, 3, "h", "w"], ["y"], {}), "net.onnx")


@pytest.mark.parametrize(
    ("file", "gmac", "weights"),
    # The names of SCRFD models count MACs at 640×480 without landmarks, which add 3 and 10 %. MobileFaceNet's paper
    # (1804.07573) gives 0.22 GMAC and 0.99 M parameters for 112×112 and an embedding of 128 numbers.
    [("scrfd_2.5g_kps.onnx", 2.57, 0.82), ("scrfd_500m_kps.onnx", 0.55, 0.63), ("mobilefacenet_128.onnx", 0.234, 0.99)],
)
def test_macs_and_weights_of_published_models(shared, tmp_path, file, gmac, weights):
    from rkface.convert.simplify import fix_input, simplify

    role = "detector" if "scrfd" in file else "recognizer"
    path = simplify(fix_input(shared / "models" / file, role, (640, 480)), tmp_path / "m.onnx").path
    found = read_layers(path)
    assert estimate_cost(found, RK3588).macs / 1e9 == pytest.approx(gmac, rel=0.01)
    assert sum(layer.weights for layer in found) / 1e6 == pytest.approx(weights, rel=0.01)


def test_iresnet50_has_the_macs_of_w600k_r50(iresnet50):
    found = read_layers(iresnet50)
    # InsightFace: 6.3 GFLOPs (a multiplication and an addition count as one), 174 MB at 4 bytes per weight.
    assert estimate_cost(found, RK3588).macs / 1e9 == pytest.approx(6.3, rel=0.01)
    assert sum(layer.weights for layer in found) * 4 / 1e6 == pytest.approx(174.3, rel=0.01)


VERBOSE = """
import sys
from rknn.api import RKNN
rknn = RKNN(verbose=True)
rknn.config(mean_values=[[127.5] * 3], std_values=[[127.5] * 3], target_platform=sys.argv[2])
assert rknn.load_onnx(sys.argv[1]) == 0 and rknn.build(do_quantization=False) == 0
"""


def test_the_compiler_of_the_toolkit_counts_the_same_cycles(tmp_path, toolkit):
    path = DEMO / "recognizer.onnx"
    done = subprocess.run(
        [sys.executable, "-c", VERBOSE, str(path), "rk3588"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    table = re.findall(r"\d+ +(Conv\w*) +FLOAT16 +NPU .* (\d+)/(\d+)/(\d+) +\d", done.stdout + done.stderr)
    ours = [layer for layer in estimate_cost(read_layers(path), RK3588, "fp16").layers if layer.macs]
    assert len(table) == len(ours) == 16, "the same nodes are fused"
    for layer, (_, memory, compute, total) in zip(ours, table, strict=True):
        if layer.op != "Gemm":  # the compiler turns it into a 7×7 convolution, which also waits for weights
            assert layer.compute_ms * 1e6 == pytest.approx(int(compute)), layer.name
        # The compiler adds a few bytes per channel for scales.
        assert layer.memory_ms * 1e6 == pytest.approx(int(memory), rel=0.03, abs=100), layer.name
        assert layer.milliseconds * 1e6 == pytest.approx(int(total), rel=0.03, abs=100), layer.name


def test_a_model_without_work_costs_nothing(tmp_path, capsys):
    path = tmp_path / "identity.onnx"
    model = graph([helper.make_node("Identity", ["x"], ["y"])], [1, 3, 8, 8], ["y"], {})
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 8, 8]))
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())
    assert main(["cost", str(path)]) == 0
    assert re.search(r"all .* 0\.000 ms +0%", capsys.readouterr().out)


def total(path, capsys, *options):
    """The last line of the table of ``rkface cost``."""
    assert main(["cost", str(path), *options]) == 0
    return re.search(r"^all .*", capsys.readouterr().out, re.MULTILINE)[0]


def test_a_size_is_used_whatever_the_model_says_of_its_own(tmp_path, capsys):
    usual = onnx.load(DEMO / "detector.onnx")
    sides = usual.graph.input[0].type.tensor_type.shape.dim
    sides[2].dim_value = sides[3].dim_value = 320
    fixed, open_, minus = (tmp_path / f"{name}.onnx" for name in ("fixed", "open", "minus"))
    onnx.save(usual, fixed)
    for side in sides:
        side.dim_value = -1
    onnx.save(usual, minus)
    for side in sides:
        side.dim_param = "open"
    onnx.save(usual, open_)
    expected = total(fixed, capsys, "--size", "320x320")
    assert total(fixed, capsys) == total(open_, capsys, "--size", "320x320") == expected
    assert total(minus, capsys, "--size", "320x320") == expected
    assert total(fixed, capsys, "--size", "192x192") == total(open_, capsys, "--size", "192x192") != expected
    assert main(["cost", str(open_)]) == 2 and "give --size" in capsys.readouterr().err


def test_a_model_is_counted_in_the_form_in_which_it_is_converted(tmp_path, capsys):
    model = onnx.load(DEMO / "recognizer.onnx")
    (entry,) = model.graph.input
    sides = [dim.dim_value for dim in entry.type.tensor_type.shape.dim]
    turn = helper.make_node("Transpose", ["image"], [entry.name], perm=[0, 3, 1, 2])
    entry.CopyFrom(helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, *sides[2:], 3]))
    model.graph.node.insert(0, turn)
    onnx.save(model, tmp_path / "last.onnx")
    assert total(tmp_path / "last.onnx", capsys) == total(DEMO / "recognizer.onnx", capsys)
