"""A model whose weights are mapped is the model: the same numbers, whatever the file is like."""

import numpy as np
import onnx
import pytest

from rkface.runtime.backends.reference import open_reference
from rkface.runtime.core import mapped_weights
from rkface.runtime.core.manifest import Input
from rkface.runtime.core.mapped_weights import refer_to_weights

INPUT = Input("x", 8, 8, (0.0,) * 3, (1.0,) * 3)


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A model with large weights, small ones, and weights that are not raw data."""
    monkeypatch.setattr(mapped_weights, "LEAST_FILE", 1000)
    monkeypatch.setattr("rkface.runtime.backends.reference.LEAST_FILE", 1000)
    monkeypatch.setenv("RKFACE_CACHE", "/proc/no cache")
    random = np.random.default_rng(0)
    make = onnx.numpy_helper.from_array
    weights = [
        make(random.normal(size=(16, 3, 3, 3)).astype(np.float32), "w"),
        onnx.helper.make_tensor("b", onnx.TensorProto.FLOAT, [16], random.normal(size=16).tolist()),
        make(random.normal(size=(16 * 36, 5)).astype(np.float32), "d"),
    ]
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w", "b"], ["c"]),
        onnx.helper.make_node("Flatten", ["c"], ["f"]),
        onnx.helper.make_node("MatMul", ["f", "d"], ["y"]),
    ]
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(nodes, "g", [info("x", 1, [1, 3, 8, 8])], [info("y", 1, [1, 5])], weights)
    path = tmp_path / "with space.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def run(path, **options):
    image = np.random.default_rng(1).integers(0, 256, (1, 8, 8, 3), np.uint8)
    backend = open_reference(path, INPUT, threads=1, **options)
    try:
        return backend.infer(image)[0].tobytes()
    finally:
        backend.close()


def test_the_numbers_are_the_same_and_the_weights_are_not_copied(model):
    source = refer_to_weights(model)
    assert len(source) < 1000 + 1024 < model.stat().st_size
    external = {one.name: one.data_location for one in onnx.ModelProto.FromString(source).graph.initializer}
    assert external == {"w": 1, "b": 0, "d": 1}
    assert run(model, digest="0" * 64) == run(model)


def test_an_onnx_runtime_that_cannot_map_loads_the_file(model, monkeypatch):
    monkeypatch.setattr("rkface.runtime.backends.reference.WEIGHTS_FOLDER", "session.unknown")
    monkeypatch.chdir("/")
    assert run(model, digest="0" * 64) == run(model)


@pytest.mark.parametrize("cut", [1, 700, 2000, -1])
def test_a_damaged_file_is_left_to_onnx_runtime(model, cut):
    model.write_bytes(model.read_bytes()[:cut] + bytes(9000))
    assert refer_to_weights(model) is None


def test_a_small_model_is_not_changed(model, monkeypatch):
    monkeypatch.setattr(mapped_weights, "LEAST_FILE", 1 << 20)
    assert refer_to_weights(model) is None
