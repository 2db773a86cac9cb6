"""The parts of a twin, and errors if they are not available."""

import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.util import cache_from_source
from pathlib import Path

import pytest

from rkface.boards.profile import find_profile
from rkface.boards.twin import board, ingredients
from rkface.boards.twin.answers import read_quantization
from rkface.boards.twin.ingredients import Ingredients, UnavailableError
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.manifest import Output


def test_without_apt_there_is_no_twin_and_the_cache_stays_clean(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UnavailableError, match="apt-get is not installed here"):
        ingredients.gather_ingredients(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_two_want_at_the_same_time_is_fetched_once(tmp_path, monkeypatch):
    begun, again, fetched = threading.Event(), threading.Event(), []

    def download(packages, into, _settings):
        fetched.append(packages)
        (again if begun.is_set() else begun).set()
        again.wait(0.2)  # somebody who does not wait fetches meanwhile
        (into / "file").touch()

    monkeypatch.setattr(ingredients, "apt_settings", lambda *_: {})
    monkeypatch.setattr(ingredients, "_download", download)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(ingredients.unpack_packages, tmp_path / "files", ["package"])
        begun.wait()
        second = pool.submit(ingredients.unpack_packages, tmp_path / "files", ["package"])
    assert [file.name for one in (first, second) for file in one.result().iterdir()] == ["file", "file"]
    assert fetched == [["package"]]


def test_a_board_without_a_python_runtime_has_no_twin(tmp_path):
    nothing = Ingredients(*[tmp_path] * 5)
    with pytest.raises(InputError, match=r"Luckfox.*rknn-toolkit-lite2 does not run on it"):
        board.build_twin(nothing, tmp_path / "board", find_profile("luckfox-pico-max"), [], tmp_path)


def test_the_emulated_python_has_nothing_to_compile(tmp_path):
    modules = list(board.install_runtime(tmp_path / "packages").rglob("*.py"))
    assert len(modules) > 100 and all(Path(cache_from_source(str(module))).is_file() for module in modules)


def test_ranges_are_read_as_the_toolkit_writes_them():
    # Copied from a .rknn file of toolkit 2.5.0.
    entry = (
        b"\x00{'score_8': {'is_output': True, 'idx': 0}, 'score_8': {'name': 'score_8', 'dtype': 'float32', 'qmethod': "
        b"'layer', 'qtype': 'asym', 'min': [0.0], 'max': [1.0], 'custom': {}}, 'bbox_8': {'name': 'bbox_8',"
        b" 'dtype': 'float32', 'qmethod': 'layer', 'qtype': 'asym', 'min': [-1.5], 'max': [6.15]}}"
    )
    score, box, none = read_quantization(entry, [Output(name, (1,)) for name in ("score_8", "bbox_8", "kps_8")])
    assert score is not None and (score.zero_point, score.scale) == (-128, pytest.approx(1 / 255))
    assert box is not None and (box.zero_point, box.scale) == (-78, pytest.approx(0.03))
    assert none is None
