"""Damaged and hostile models end in one line that says what is wrong and where, and no native code sees them."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper

from rkface.convert.check_graph import check_graph
from rkface.convert.packs.pack import DEMO
from rkface.runtime.core.errors import ModelError


def model():
    """Conv → Relu → MaxPool → Flatten → Gemm, from "x" to "y"."""
    weights = {
        "w": np.ones((4, 3, 3, 3), np.float32),
        "b": np.zeros(4, np.float32),
        "m": np.ones((4 * 4 * 4, 8), np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], "first", pads=[1, 1, 1, 1], group=1),
        helper.make_node("Relu", ["c"], ["r"], "second"),
        helper.make_node("MaxPool", ["r"], ["p"], "third", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"], "fourth"),
        helper.make_node("Gemm", ["f", "m"], ["y"], "fifth"),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def attribute(node, name, value):
    for one in node.attribute:
        if one.name == name:
            one.CopyFrom(helper.make_attribute(name, value))


def nest(proto, depth):
    graph = proto.graph
    for _ in range(depth):
        inner = helper.make_graph([helper.make_node("Identity", ["x"], ["z"])], "inner", [], [])
        inner.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
        graph.node.append(helper.make_node("If", ["x"], [f"if{id(inner)}"], then_branch=inner, else_branch=inner))
        graph = graph.node[-1].attribute[0].g


def call_itself(proto):
    node = helper.make_node("Again", ["a"], ["b"], domain="mine")
    proto.functions.append(helper.make_function("mine", "Again", ["a"], ["b"], [node], [helper.make_opsetid("", 13)]))


def not_a_number(proto):
    values = numpy_helper.to_array(proto.graph.initializer[0]).copy()
    values[0, 0, 0, 0] = np.nan
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(values, "w"))


def train_dropout(proto):
    proto.graph.initializer.extend(
        [numpy_helper.from_array(np.float32(0.4), "share"), numpy_helper.from_array(np.array(True), "training")]
    )
    proto.graph.node[4].input[0] = "d"
    proto.graph.node.insert(4, helper.make_node("Dropout", ["f", "share", "training"], ["d"], "drops"))


def train_norm(proto, *, opset):
    """BatchNormalization in training mode, as opset 13 and later ones write it."""
    proto.opset_import[0].version = opset
    proto.graph.initializer.append(numpy_helper.from_array(np.ones(4, np.float32), "one"))
    more = {"outputs": ["n", "m1", "v1"], "training_mode": 1} if opset > 13 else {"outputs": ["n", *"1234"]}
    proto.graph.node[1].input[0] = "n"
    proto.graph.node.insert(
        1, helper.make_node("BatchNormalization", ["c", *["one"] * 4], more.pop("outputs"), "norm", **more)
    )


def quantize(proto):
    proto.graph.initializer.append(numpy_helper.from_array(np.float32(0.1), "step"))
    proto.graph.node[1].input[0] = "float"
    proto.graph.node.insert(1, helper.make_node("QuantizeLinear", ["c", "step"], ["q"], "rounds"))
    proto.graph.node.insert(2, helper.make_node("DequantizeLinear", ["q", "step"], ["float"]))


DAMAGES = {
    "output that nothing makes": (lambda p: setattr(p.graph.output[0], "name", "lost"), "output 'lost' is made by no"),
    "removed node": (lambda p: p.graph.node.pop(1), "MaxPool 'third' reads 'r', which no node makes"),
    "loop": (lambda p: p.graph.node[0].input.__setitem__(0, "f"), "nodes form a loop: .*Conv 'first'"),
    "reads itself": (lambda p: p.graph.node[1].input.__setitem__(0, "r"), "nodes form a loop: Relu 'second'"),
    "made twice": (lambda p: p.graph.node[1].output.__setitem__(0, "c"), "Relu 'second' makes 'c', which another"),
    "makes a weight": (lambda p: p.graph.node[1].output.__setitem__(0, "w"), "Relu 'second' makes 'w'"),
    "two weights": (lambda p: p.graph.initializer.append(p.graph.initializer[0]), "two of its weights are called 'w'"),
    "unknown operator": (lambda p: setattr(p.graph.node[1], "op_type", "Swoosh"), "Swoosh 'second': ONNX has no such"),
    "unknown domain": (lambda p: setattr(p.graph.node[1], "domain", "evil.org"), "'evil.org' has no such operator"),
    "opset of the future": (lambda p: setattr(p.opset_import[0], "version", 999), "uses opset 999"),
    "no opset": (lambda p: p.ClearField("opset_import"), "does not say which version"),
    "no operators": (lambda p: p.graph.ClearField("node"), "has no operators"),
    "short weights": (
        lambda p: setattr(p.graph.initializer[0], "raw_data", b"1234"),
        "weights 'w' contain 4 bytes, but their shape 4×3×3×3 needs 432",
    ),
    "negative side": (lambda p: p.graph.initializer[0].dims.__setitem__(0, -4), "impossible shape -4×3×3×3"),
    "huge weights": (lambda p: p.graph.initializer[0].dims.__setitem__(0, 1 << 40), "impossible shape"),
    "huge input": (
        lambda p: setattr(p.graph.input[0].type.tensor_type.shape.dim[2], "dim_value", 1 << 40),
        "'x' has the impossible shape",
    ),
    "unknown type": (
        lambda p: setattr(p.graph.initializer[0], "data_type", 77),
        r"that are unknown \(type 77",
    ),
    "weights that are NaN": (not_a_number, "weights 'w' of Conv 'first' contain 1 numbers that are NaN or infinite"),
    "group of zero": (lambda p: attribute(p.graph.node[0], "group", 0), r"attribute 'group' of Conv 'first' is \[0\]"),
    "stride of zero": (lambda p: attribute(p.graph.node[2], "strides", [0, 0]), "attribute 'strides' of MaxPool"),
    "huge padding": (lambda p: attribute(p.graph.node[0], "pads", [1 << 40] * 4), "attribute 'pads' of Conv 'first'"),
    "wrong attribute": (lambda p: attribute(p.graph.node[0], "group", "one"), "'group' of Conv 'first' has the wrong"),
    "lacking attribute": (lambda p: p.graph.node[2].ClearField("attribute"), "lacks its attribute 'kernel_shape'"),
    "lacking input": (lambda p: p.graph.node[0].input.__setitem__(1, ""), "Conv 'first' lacks its input 'W'"),
    "lacking input of another maker's operator": (
        lambda p: p.graph.node[1].MergeFrom(helper.make_node("PRelu", [], [], domain="com.microsoft")),
        "PRelu 'second' has 1 inputs",
    ),
    "too many inputs": (lambda p: p.graph.node[1].input.append("w"), "Relu 'second' has 2 inputs"),
    "nested graphs": (lambda p: nest(p, 40), "nested more than"),
    "Dropout in training mode": (train_dropout, r"training mode: Dropout 'drops' depends .* model.eval\(\)"),
    "BatchNormalization in training mode": (lambda p: train_norm(p, opset=15), "training mode: BatchNormalization"),
    "the same before opset 14": (lambda p: train_norm(p, opset=13), "training mode: BatchNormalization 'norm'"),
    "quantized": (quantize, r"is quantized \(QuantizeLinear 'rounds'\), .* give the FP32 model"),
    "endless function": (call_itself, "function 'Again' calls itself"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_model_is_refused_with_the_place(name):
    proto = model()
    damage, says = DAMAGES[name]
    damage(proto)
    with pytest.raises(ModelError, match=says) as caught:
        check_graph(proto, "photos/my.onnx")
    assert str(caught.value).startswith("photos/my.onnx: ") and "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_sound_models_pass():
    check_graph(model(), "small.onnx")
    for path in DEMO.glob("*.onnx"):
        check_graph(onnx.load(path), path)


def test_nodes_in_another_order_are_sorted():
    proto = model()
    names = [node.name for node in proto.graph.node]
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in reversed(proto.graph.node)]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    check_graph(proto, "reversed.onnx")
    assert [node.name for node in proto.graph.node] == names


def test_infinite_bounds_of_clip_are_sound():
    proto = model()
    proto.graph.initializer.append(numpy_helper.from_array(np.array(np.inf, np.float32), "most"))
    proto.graph.node[1].CopyFrom(helper.make_node("Clip", ["c", "", "most"], ["r"]))
    check_graph(proto, "clip.onnx")


def test_names_in_messages_cannot_change_the_terminal():
    proto = model()
    proto.graph.output[0].name = "\x1b[2J\u202e" + "z" * 10_000
    with pytest.raises(ModelError) as caught:
        check_graph(proto, "small.onnx")
    assert "\x1b" not in str(caught.value) and "\u202e" not in str(caught.value) and len(str(caught.value)) < 400
