"""A recognizer from which a constant was taken off computes what numpy computes, whatever its last layer is."""

import numpy as np
import onnxruntime
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper

from rkface.convert.prepare.subtract_center import append_subtraction, subtract_center

D = 8
RANDOM = np.random.default_rng(0)


def weights(*shape):
    return RANDOM.normal(0, 0.5, shape).astype(np.float32)


# name: (nodes behind x of 1×4×1×1, constants, how many nodes the subtraction adds)
LAST = {
    "Gemm with a bias": (["Flatten x f", "Gemm f,w,b y"], {"w": weights(4, D), "b": weights(D)}, 0),
    "Gemm without a bias": (["Flatten x f", "Gemm f,w y"], {"w": weights(4, D)}, 0),
    "Gemm with transposed weights": (
        ["Flatten x f", "Gemm:transB=1 f,w,b y"], {"w": weights(D, 4), "b": weights(1, D)}, 0,
    ),
    "Gemm with one number as bias": (["Flatten x f", "Gemm f,w,b y"], {"w": weights(4, D), "b": weights(1)}, 1),
    "Gemm with a scaled bias": (["Flatten x f", "Gemm:beta=0.5 f,w,b y"], {"w": weights(4, D), "b": weights(D)}, 1),
    "matrix and addition": (["Flatten x f", "MatMul f,w m", "Add m,b y"], {"w": weights(4, D), "b": weights(D)}, 0),
    "addition, constants first": (
        ["Flatten x f", "MatMul f,w m", "Add b,m y"], {"w": weights(4, D), "b": weights(D)}, 0,
    ),
    "matrix": (["Flatten x f", "MatMul f,w y"], {"w": weights(4, D)}, 1),
    "convolution": (["Conv x,w,b c", "Flatten c y"], {"w": weights(D, 4, 1, 1), "b": weights(D)}, 0),
    "convolution without a bias": (["Conv x,w c", "Flatten c f", "Identity f y"], {"w": weights(D, 4, 1, 1)}, 0),
    "convolution with several places": (["Conv:pads=0.0.0.1 x,w c", "Flatten c y"], {"w": weights(D // 2, 4, 1, 1)}, 1),
    "bias that another layer reads": (
        ["Flatten x f", "Gemm f,w,b z", "Add z,b u", "Relu u v", "Gemm v,q,b y"],
        {"w": weights(4, D), "b": weights(D), "q": weights(D, D)}, 0,
    ),
    "normalization": (
        ["Flatten x f", "Gemm f,w g", "BatchNormalization g,s,b,m,v y"],
        {"w": weights(4, D), "s": weights(D), "b": weights(D), "m": weights(D), "v": np.ones(D, np.float32)}, 1,
    ),
    "skip around the last layer": (
        ["Flatten x f", "Gemm f,w,b g", "Flatten g h", "Relu g r", "Add h,r y"],
        {"w": weights(4, D), "b": weights(D)}, 1,
    ),
}  # fmt: skip


def model(nodes, constants):
    made = []
    for text in nodes:
        kind, inputs, output = text.split()
        kind, _, attribute = kind.partition(":")
        name = attribute.partition("=")[0]
        values = {"": {}, "pads": {"pads": [0, 0, 0, 1]}, "transB": {"transB": 1}, "beta": {"beta": 0.5}}[name]
        made.append(helper.make_node(kind, inputs.split(","), [output], **values))
    graph = helper.make_graph(
        made, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 1, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, D])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def embed(proto, images):
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"x": image})[0] for image in images]).astype(np.float64)


def cosines(embeddings):
    units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    return units @ units.T


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", LAST)
def test_the_model_computes_what_numpy_computes(name, seed):
    nodes, constants, added = LAST[name]
    random = np.random.default_rng(seed)
    images = random.normal(0, 1, (12, 1, 4, 1, 1)).astype(np.float32)
    proto = model(nodes, constants)
    raw, center = embed(proto, images), random.normal(0, 3, D)
    before = len(proto.graph.node)
    subtract_center(proto, center)
    onnx.checker.check_model(proto, full_check=True)
    assert len(proto.graph.node) == before + added
    assert [output.name for output in proto.graph.output] == ["y"]
    np.testing.assert_allclose(embed(proto, images), raw - center, atol=1e-5)
    np.testing.assert_allclose(cosines(embed(proto, images)), cosines(raw - center), atol=1e-5)


@pytest.mark.parametrize("name", LAST)
def test_the_appended_subtraction_computes_the_same(name):
    nodes, constants, _ = LAST[name]
    images = np.random.default_rng(5).normal(0, 1, (4, 1, 4, 1, 1)).astype(np.float32)
    proto, center = model(nodes, constants), np.arange(D) / 7
    raw = embed(proto, images)
    append_subtraction(proto, center)
    np.testing.assert_allclose(embed(proto, images), raw - center, atol=1e-5)
