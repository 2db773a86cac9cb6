"""The NPU backend on a machine without an NPU. tests/twin tests it with Rockchip's library."""

import os
import sys

import pytest

from rkface.runtime.backends.npu import open_npu
from rkface.runtime.backends.npu_errors import closed_node, open_error
from rkface.runtime.core import device_access
from rkface.runtime.core.bundle import read_bundle
from rkface.runtime.core.crop_template import TEMPLATES
from rkface.runtime.core.errors import InputError, ModelError
from rkface.runtime.core.manifest import contract
from rkface.runtime.inference.pipeline import choose_backend, open_bundle


def test_a_workstation_uses_the_reference_backend_and_refuses_the_npu(bundle):
    assert choose_backend() == "reference"
    with pytest.raises(InputError, match=r"this machine has no NPU .* use --backend reference"):
        open_bundle(bundle, backend="npu")


def test_a_board_without_the_binding_says_what_to_install(own_bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "rknnlite.api", None)
    model = read_bundle(own_bundle).model("recognizer")
    path = own_bundle / model.file
    path.write_bytes(b"RKNN" + contract("recognizer", model.input, "0" * 64).encode())
    with pytest.raises(InputError, match=r"pip install rknn-toolkit-lite2==2\.5\.0"):
        open_npu(path, model, soc="rk3588")


def test_a_model_is_checked_before_the_npu_is_opened(own_bundle):
    model = read_bundle(own_bundle).model("recognizer")
    path = own_bundle / model.file
    with pytest.raises(ModelError, match="has no input contract"):
        open_npu(path, model, soc="rk3588")
    path.write_bytes(b"<html>")
    with pytest.raises(ModelError, match="is not an RKNN model"):
        open_npu(path, model, soc="rk3588")
    path.unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        open_npu(path, model, soc="rk3588")


def test_a_model_of_another_crop_or_center_is_refused_and_one_of_an_old_version_is_not(own_bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "rknnlite.api", None)
    model = read_bundle(own_bundle).model("recognizer")
    path = own_bundle / model.file

    def opened(text):
        path.write_bytes(b"RKNN" + text.encode())
        open_npu(path, model, soc="rk3588")

    dlib = contract("recognizer", model.input, "0" * 64, TEMPLATES["dlib-150"])
    with pytest.raises(ModelError, match=r"made for crop dlib-150/\w+, its manifest says arcface-112/"):
        opened(dlib)
    with pytest.raises(ModelError, match=r"made for center \w{16}, its manifest says none"):
        opened(contract("recognizer", model.input, "0" * 64, model.crop, (0.1,) * 8))
    old = contract("recognizer", model.input, "0" * 64)  # without the two entries, as rkface wrote it at first
    assert "crop" not in old
    for accepted in (old, contract("recognizer", model.input, "0" * 64, model.crop)):
        with pytest.raises(InputError, match="pip install rknn-toolkit-lite2"):
            opened(accepted)


@pytest.fixture
def nodes(tmp_path, monkeypatch):
    """The nodes of a GPU (card0, renderD128) and an NPU (card1, renderD129), which belong to groups as on Debian;
    ``forbid`` makes some of them fail to open."""
    for name, driver in (("card0", "panthor"), ("renderD128", "panthor"), ("card1", "RKNPU"), ("renderD129", "RKNPU")):
        node, event = tmp_path / f"dev/dri/{name}", tmp_path / f"sys/class/drm/{name}/device/uevent"
        for path in (node, event):
            path.parent.mkdir(parents=True, exist_ok=True)
        node.touch()
        node.chmod(0o660)
        event.write_text(f"MAJOR=226\nDRIVER={driver}\n")
    really = os.open

    def forbid(*names, groups=("video", "render")):
        def refuse(path, *rest, **more):
            if str(path).endswith(names):
                raise PermissionError(path)
            return really(path, *rest, **more)

        monkeypatch.setattr(os, "open", refuse)  # not with chmod: root, who may run the tests, can open everything
        order = iter(groups)
        monkeypatch.setattr(device_access, "_group", lambda number: next(order))
        return tmp_path

    return forbid


def test_an_npu_without_permission_names_the_groups_to_join(nodes):
    """librknnrt opens the card node, other programs the render node, and they belong to two groups (CB2)."""
    said = closed_node(nodes("card1", "renderD129"))
    assert "sudo usermod -aG render,video $USER" in said
    assert "card1, group video" in said and "renderD129, group render" in said


def test_nobody_is_told_to_join_the_group_of_root(nodes):
    said = closed_node(nodes("card1", "renderD129", groups=("root", "root")))
    assert "usermod" not in said and "udev rules" in said


def test_a_gpu_without_permission_does_not_matter(nodes):
    assert closed_node(nodes("card0", "renderD128")) == ""


def test_an_unknown_error_still_shows_what_the_binding_logged(tmp_path):
    error = str(open_error(tmp_path / "m.rknn", "W something\nE The sky fell.\n"))
    assert "m.rknn" in error and "The sky fell." in error and "rkface doctor" in error
