"""Requirements and wheels for a board."""

import hashlib
import re

import pytest

from rkface.boards.deploy.dependencies import (
    board_requirements,
    fetch_wheels,
    pinned_requirements,
    service_requirements,
)
from rkface.boards.deploy.runtime_wheel import build_runtime_wheel
from rkface.runtime.core.errors import WorkError


def test_requirements_depend_on_the_board():
    def names(*arguments, reference=False):
        return {one.split("=")[0].split(">")[0] for one in board_requirements("2.5.0", *arguments, reference=reference)}

    assert "rknn-toolkit-lite2==2.5.0" in board_requirements("2.5.0", "aarch64", "3.11", reference=False)
    assert "rknn-toolkit-lite2" not in names("x86_64", "3.11")
    assert "onnxruntime" in names("x86_64", "3.11", reference=True) and "tomli" in names("aarch64", "3.10")
    assert "onnxruntime" not in names("aarch64", "3.11"), "it would add 18 MB that the NPU does not need"


def test_a_board_gets_the_numpy_of_rknn_toolkit_lite2_and_opencv_without_windows():
    needed = board_requirements("2.5.0", "aarch64", "3.11", reference=False)
    assert "numpy==1.26.4" in needed and "tomli>=2" not in needed
    (opencv,) = (one for one in needed if one.startswith("opencv"))
    assert sorted(opencv.removeprefix("opencv-python-headless").split(",")) == ["<5", ">=4.14"]


@pytest.mark.parametrize("python", ["3.13", "3.14"])
def test_a_python_without_rknn_toolkit_lite2_gets_the_direct_binding_and_numpy_2(python):
    needed = board_requirements("2.5.0", "aarch64", python, reference=False)
    names = {re.split("[=<>]", one)[0] for one in needed}
    assert names == {"numpy", "opencv-python-headless", "pip"} and "numpy==1.26.4" not in needed


def test_the_service_gets_its_extras():
    names = {one.split(">")[0] for one in service_requirements()}
    assert names == {"fastapi", "uvicorn", "websockets", "argon2-cffi", "paho-mqtt", "python-multipart", "cryptography"}


def test_a_wheel_that_pip_cannot_get_is_an_error_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", f"file://{tmp_path / 'none'}")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    with pytest.raises(WorkError, match=r"no wheels for Python 3\.11 on aarch64: .*numpy"):
        fetch_wheels(["numpy==1.26.4"], "aarch64", "3.11", tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_wheels_are_pinned_by_their_hashes(tmp_path):
    wheel = build_runtime_wheel(tmp_path)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert pinned_requirements([wheel]) == f"rkface=={wheel.name.split('-')[1]} --hash=sha256:{digest}\n"
