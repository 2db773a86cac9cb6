"""A small model with all kinds of weights, and what it computes."""

import numpy as np
import onnx

from rkface.runtime.backends.reference import open_reference
from rkface.runtime.core.manifest import Input

INPUT = Input("x", 8, 8, (0.0,) * 3, (1.0,) * 3)


def save_model(path, multiply="MatMul"):
    """A convolution, whose weights ONNX Runtime reorders, with a bias that is not raw data, and a large matrix for the
    operator ``multiply``."""
    random = np.random.default_rng(0)
    make = onnx.numpy_helper.from_array
    weights = [
        make(random.normal(size=(32, 3, 3, 3)).astype(np.float32), "w"),
        onnx.helper.make_tensor("b", onnx.TensorProto.FLOAT, [32], random.normal(size=32).tolist()),
        make(random.normal(size=(32 * 36, 5)).astype(np.float32), "d"),
    ]
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w", "b"], ["c"]),
        onnx.helper.make_node("Relu", ["c"], ["r"]),
        onnx.helper.make_node("Flatten", ["r"], ["f"]),
        onnx.helper.make_node(multiply, ["f", "d"], ["y"]),
    ]
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(nodes, "g", [info("x", 1, [1, 3, 8, 8])], [info("y", 1, [1, 5])], weights)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def run(path, **options):
    """The bytes that the model at ``path`` answers to one image."""
    image = np.random.default_rng(1).integers(0, 256, (1, 8, 8, 3), np.uint8)
    backend = open_reference(path, INPUT, threads=1, **options)
    try:
        return backend.infer(image)[0].tobytes()
    finally:
        backend.close()
