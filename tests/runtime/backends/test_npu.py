"""The NPU backend where there is no NPU; what it does with one is held on the twin (tests/twin)."""

import os
import sys

import pytest

from rkface.runtime.backends.npu import open_npu
from rkface.runtime.backends.npu_errors import closed_node, open_error
from rkface.runtime.core.bundle import contract, read_bundle
from rkface.runtime.core.errors import InputError, ModelError
from rkface.runtime.inference.pipeline import choose_backend, open_bundle


def test_a_workstation_has_the_reference_and_says_why_it_has_no_npu(bundle):
    assert choose_backend() == "reference"
    with pytest.raises(InputError, match=r"this machine has no NPU .* use --backend reference"):
        open_bundle(bundle, backend="npu")


def test_a_board_without_the_binding_says_what_to_install(own_bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "rknnlite.api", None)
    model = read_bundle(own_bundle).model("recognizer")
    path = own_bundle / model.file
    path.write_bytes(b"RKNN" + contract("recognizer", model.input, "0" * 64).encode())
    with pytest.raises(InputError, match=r"pip install rknn-toolkit-lite2==2\.5\.0"):
        open_npu(path, model.input, model.outputs, soc="rk3588")


def test_a_model_is_looked_at_before_the_npu_is(own_bundle):
    model = read_bundle(own_bundle).model("recognizer")
    path = own_bundle / model.file
    with pytest.raises(ModelError, match="does not say how it wants to be fed"):
        open_npu(path, model.input, model.outputs, soc="rk3588")
    path.write_bytes(b"<html>")
    with pytest.raises(ModelError, match="no RKNN model"):
        open_npu(path, model.input, model.outputs, soc="rk3588")
    path.unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        open_npu(path, model.input, model.outputs, soc="rk3588")


@pytest.fixture
def nodes(tmp_path, monkeypatch):
    """Render nodes of a GPU (128) and an NPU (129); ``forbid`` says which of them this user may not open."""
    for number, driver in ((128, "panthor"), (129, "RKNPU")):
        node, event = tmp_path / f"dev/dri/renderD{number}", tmp_path / f"sys/class/drm/renderD{number}/device/uevent"
        for path in (node, event):
            path.parent.mkdir(parents=True, exist_ok=True)
        node.touch()
        event.write_text(f"MAJOR=226\nDRIVER={driver}\n")
    really = os.open

    def forbid(*names):
        def refuse(path, *rest, **more):
            if str(path).endswith(names):
                raise PermissionError(path)
            return really(path, *rest, **more)

        monkeypatch.setattr(os, "open", refuse)  # root, who may run the tests, is refused nothing
        return tmp_path

    return forbid


def test_a_forbidden_npu_names_the_group_to_join(nodes):
    root = nodes("renderD129")
    group = (root / "dev/dri/renderD129").group()
    assert f"sudo usermod -aG {group} $USER" in closed_node(root)


def test_a_forbidden_gpu_is_none_of_our_business(nodes):
    assert closed_node(nodes("renderD128")) == ""


def test_an_error_that_nobody_foresaw_still_says_what_was_heard(tmp_path):
    error = str(open_error(tmp_path / "m.rknn", "W something\nE The sky fell.\n"))
    assert "m.rknn" in error and "The sky fell." in error and "rkface doctor" in error
