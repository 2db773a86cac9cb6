"""A model whose weights are mapped is the model: the same numbers, whatever the file is like."""

import onnx
import pytest

from rkface.runtime.core import mapped_weights
from rkface.runtime.core.mapped_weights import refer_to_weights

from .small_model import run, save_model


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A model with large weights, small ones, and weights that are not raw data."""
    monkeypatch.setattr(mapped_weights, "LEAST_FILE", 1000)
    monkeypatch.setattr("rkface.runtime.backends.reference.LEAST_FILE", 1000)
    monkeypatch.setenv("RKFACE_CACHE", "/proc/no cache")
    return save_model(tmp_path / "with space.onnx")


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
