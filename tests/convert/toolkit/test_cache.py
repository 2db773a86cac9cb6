"""The cache of conversions: an entry comes back complete, or not at all."""

import os

import numpy as np
import pytest

from rkface.convert.toolkit.cache import KEPT, cache_key, load_cached, store
from rkface.convert.toolkit.quantize import LayerError, QuantizedModel


@pytest.fixture
def done(tmp_path):
    (tmp_path / "model.rknn").write_bytes(b"RKNN of a test")
    outputs = (np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((2, 1), np.float32))
    layers = (LayerError("conv", "Conv", 0.98, 0.99),)
    return QuantizedModel(tmp_path / "model.rknn", outputs, {"build": 1.5}, 800.0, "2.5.0", ("outliers",), layers)


def test_a_stored_conversion_comes_back_complete(done, tmp_path):
    store(tmp_path / "cache", "key", done)
    back = load_cached(tmp_path / "cache", "key", tmp_path / "again.rknn")
    assert back.rknn.read_bytes() == done.rknn.read_bytes() and back.rknn == tmp_path / "again.rknn"
    for one, other in zip(back.outputs, done.outputs, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (back.seconds, back.toolkit, back.warnings, back.layers) == (
        done.seconds,
        done.toolkit,
        done.warnings,
        done.layers,
    )
    assert load_cached(tmp_path / "cache", "other", tmp_path / "x.rknn") is None
    assert (tmp_path / "cache").stat().st_mode & 0o077 == 0, "only the owner may read embeddings"


@pytest.mark.parametrize("name", ["model.rknn", "outputs.npz", "result.json"])
def test_a_damaged_entry_does_not_come_back(done, tmp_path, name):
    store(tmp_path / "cache", "key", done)
    path = tmp_path / "cache/key" / name
    path.write_bytes(path.read_bytes()[:-1])
    assert load_cached(tmp_path / "cache", "key", tmp_path / "again.rknn") is None


def test_the_oldest_entries_are_removed(done, tmp_path):
    for index in range(KEPT + 2):
        store(tmp_path / "cache", f"key{index}", done)
        os.utime(tmp_path / f"cache/key{index}", (index, index))
        load_cached(tmp_path / "cache", "key0", tmp_path / "used.rknn")  # the one in use stays
    left = {path.name for path in (tmp_path / "cache").iterdir()}
    assert len(left) == KEPT and "key0" in left and {"key1", "key2"}.isdisjoint(left)


def test_keys_depend_on_the_limits_between_parts():
    assert cache_key(["ab", "c"]) != cache_key(["a", "bc"]) and cache_key([b"ab"]) == cache_key(["ab"])
