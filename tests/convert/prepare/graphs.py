"""Small models for the tests of this folder."""

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

IMAGE = np.random.default_rng(4).integers(0, 256, (1, 3, 24, 24)).astype(np.float32)
KERNEL = np.random.default_rng(1).normal(size=(24, 3, 1, 1)).astype(np.float32)
SLOPES = np.linspace(0, 1, 24).astype(np.float32)
CONV = helper.make_node("Conv", ["x", "k"], ["c"])


def recognizer():
    """Conv, PRelu, pooling, Gemm: N×3×24×24 to N×96, with random weights."""
    random = np.random.default_rng(3)
    weights = {
        "kernel": random.normal(0, 0.02, (8, 3, 3, 3)),
        "slope": np.linspace(0.1, 0.8, 8).reshape(8, 1, 1),
        "last": random.normal(0, 0.3, (8, 96)),
    }
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["c"], pads=[1] * 4),
        helper.make_node("PRelu", ["c", "slope"], ["a"]),
        helper.make_node("GlobalAveragePool", ["a"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "last"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "recognizer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 96])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def answer(model, image=IMAGE):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image})


def pieces(*nodes, output, weights=None, shape=None):
    """A model with the input "x", 1×3×24×24."""
    graph = helper.make_graph(
        nodes,
        "pieces",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 24, 24])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def channels_last(model, between=()):
    del model.graph.input[:]
    model.graph.input.append(helper.make_tensor_value_info("image", TensorProto.FLOAT, [None, None, None, 3]))
    source = "image"
    for operator, value in between:
        name = f"{operator}-constant"
        model.graph.initializer.append(numpy_helper.from_array(np.float32(value), name))
        model.graph.node.insert(
            len(source.split("/")) - 1, helper.make_node(operator, [source, name], [f"{source}/{operator}"])
        )
        source = f"{source}/{operator}"
    model.graph.node.insert(len(between), helper.make_node("Transpose", [source], ["x"], perm=[0, 3, 1, 2]))
