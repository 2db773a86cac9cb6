"""A model that is kept ready is the model: the same numbers, whatever has happened to the cache."""

import os
import stat

import numpy as np
import pytest

from rkface.runtime.backends import reference
from rkface.runtime.backends.ready_models import KEPT, _sums
from rkface.runtime.core.errors import ModelError

from .small_model import run, save_model


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "LEAST_FILE", 1000)
    monkeypatch.setenv("RKFACE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache/ready"


@pytest.fixture
def model(tmp_path):
    return save_model(tmp_path / "model.onnx")


def test_the_second_opening_reads_only_the_ready_model_and_gives_the_same_numbers(cache, model):
    expected = run(model)
    assert not cache.exists()  # without a digest, nothing says that the file stays as it is
    assert run(model, digest="a" * 64) == expected
    [ready] = cache.iterdir()
    assert {path.name for path in ready.iterdir()} == {"model.onnx", "weights", "sums"}
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    model.write_bytes(bytes(model.stat().st_size))
    assert run(model, digest="a" * 64) == expected
    with pytest.raises(ModelError):  # another model
        run(model, digest="b" * 64)


def is_packed(session):
    try:
        return session.get_session_options().get_session_config_entry(reference.UNPACKED) != "1"
    except RuntimeError:  # it is not set
        return True


@pytest.mark.parametrize(("multiply", "packed"), [("Gemm", False), ("MatMul", True)])
def test_only_matrices_that_gain_from_it_are_copied_into_another_order(cache, tmp_path, multiply, packed):
    model = save_model(tmp_path / "model.onnx", multiply)
    ready = reference.open_session(model, ["cpu"], 1, digest="a" * 64)
    assert is_packed(ready) == packed
    expected, answer = (np.frombuffer(run(model, **given), np.float32) for given in ({}, {"digest": "a" * 64}))
    np.testing.assert_allclose(answer, expected, rtol=1e-5)


@pytest.mark.parametrize("file", ["model.onnx", "weights", "sums"])
@pytest.mark.parametrize("damage", ["a byte", "cut", "missing"])
def test_a_damaged_ready_model_is_made_again(cache, model, file, damage):
    expected = run(model, digest="a" * 64)
    [ready] = cache.iterdir()
    path = ready / file
    whole = path.read_bytes()
    content = bytearray(whole)
    content[len(content) // 2] ^= 1
    path.unlink() if damage == "missing" else path.write_bytes(content if damage == "a byte" else content[:-20])
    assert run(model, digest="a" * 64) == expected
    assert path.read_bytes() == whole


@pytest.mark.parametrize("end", [0, 1, 511])  # bytes behind the last whole sector
def test_each_damage_of_a_file_changes_its_checksum(tmp_path, end):
    content = np.random.default_rng(1).integers(0, 256, 8 * 512 + end, np.uint8)
    seen = set()

    def note(damaged):
        (tmp_path / "weights").write_bytes(damaged.tobytes())
        seen.add(_sums(tmp_path))

    note(content)
    swapped, cleared = content.copy(), content.copy()
    swapped[:1024] = np.roll(content[:1024], 512)  # two sectors
    cleared[512:1024] = 0
    note(swapped)
    note(cleared)
    note(content[:-1])
    for place in range(0, content.size, 97):
        flipped = content.copy()
        flipped[place] ^= 1 << place % 8
        note(flipped)
    assert len(seen) == 4 + len(range(0, content.size, 97))


def test_the_cache_keeps_the_models_that_were_used_last(cache, model):
    for number in range(KEPT):
        run(model, digest=str(number) * 64)
        for age, path in enumerate(sorted(cache.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)):
            os.utime(path, (1e9 - age, 1e9 - age))
    oldest = min(cache.iterdir(), key=lambda path: path.stat().st_mtime)
    run(model, digest="0" * 64)  # it is the oldest
    run(model, digest="9" * 64)
    assert oldest in cache.iterdir()
    assert len(list(cache.iterdir())) == KEPT


@pytest.mark.parametrize("mode", [0o500, 0o722])
def test_a_cache_that_is_read_only_or_open_to_others_is_not_used(cache, model, mode):
    if os.geteuid() == 0 and mode == 0o500:
        pytest.skip("root writes everywhere")
    cache.mkdir(parents=True)
    cache.chmod(mode)
    assert run(model, digest="a" * 64) == run(model)
    assert not list(cache.iterdir())
