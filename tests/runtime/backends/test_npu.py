"""The NPU backend on a machine without an NPU. tests/twin tests it with Rockchip's library."""

import os
from pathlib import Path

import pytest

from rkface.runtime.backends import bindings, npu_errors
from rkface.runtime.backends.npu import open_npu
from rkface.runtime.backends.npu_errors import closed_node, device_error, missing_node, old_library, open_error
from rkface.runtime.core import device_access
from rkface.runtime.core.bundle import read_bundle
from rkface.runtime.core.crop_template import TEMPLATES
from rkface.runtime.core.errors import DeviceError, InputError, ModelError
from rkface.runtime.core.manifest import contract
from rkface.runtime.inference.open_bundle import choose_backend, open_bundle


def test_a_workstation_uses_the_reference_backend_and_refuses_the_npu(bundle):
    assert choose_backend() == "reference"
    with pytest.raises(InputError, match=r"this machine has no NPU .* use --backend reference"):
        open_bundle(bundle, backend="npu")


@pytest.fixture
def no_lite(monkeypatch):
    """A Python without rknn-toolkit-lite2, which workstations never have."""
    monkeypatch.delenv("RKFACE_NPU_BINDING", raising=False)
    monkeypatch.setattr(bindings, "LIBRARIES", ("/nowhere/librknnrt.so",))


def test_without_rknn_toolkit_lite2_the_library_is_used_directly(own_bundle, no_lite):
    binding = bindings.find_binding()
    assert str(binding) == "direct (rknn-toolkit-lite2 is not installed)"
    model = read_bundle(own_bundle).model("recognizer")
    path = own_bundle / model.file
    path.write_bytes(b"RKNN" + contract("recognizer", model.input, "0" * 64).encode())
    with pytest.raises(DeviceError, match=r"librknnrt is not installed: copy .* of toolkit 2\.5\.0"):
        open_npu(path, model, soc="rk3588")


def test_a_package_that_does_not_import_is_passed_over_and_named(no_lite, monkeypatch, tmp_path):
    broken = tmp_path / "rknnlite"
    broken.mkdir()
    (broken / "__init__.py").touch()
    (broken / "api.py").write_text("raise ValueError('numpy.dtype size changed')")
    monkeypatch.syspath_prepend(tmp_path)
    bindings._import_lite.cache_clear()
    try:
        assert str(bindings.find_binding()).startswith("direct (rknn-toolkit-lite2 does not import: numpy.dtype size")
    finally:
        bindings._import_lite.cache_clear()


def test_the_environment_chooses_the_binding(monkeypatch):
    monkeypatch.setenv("RKFACE_NPU_BINDING", "direct")
    assert str(bindings.find_binding()) == "direct (RKFACE_NPU_BINDING asks for it)"
    monkeypatch.setenv("RKFACE_NPU_BINDING", "rknn-toolkit-lite2")
    with pytest.raises(InputError, match=r"pip install rknn-toolkit-lite2==2\.5\.0"):
        bindings.find_binding()
    monkeypatch.setenv("RKFACE_NPU_BINDING", "lite3")
    with pytest.raises(InputError, match="set it to rknn-toolkit-lite2 or direct"):
        bindings.find_binding()


def test_in_a_container_without_its_node_the_package_is_passed_over(monkeypatch, tmp_path):
    monkeypatch.delenv("RKFACE_NPU_BINDING", raising=False)
    monkeypatch.setattr(bindings, "_import_lite", lambda: object)
    monkeypatch.setattr(bindings, "ROOT", tmp_path)
    assert bindings.find_binding().name == "rknn-toolkit-lite2"
    (tmp_path / ".dockerenv").touch()
    (tmp_path / "dev/dri").mkdir(parents=True)
    (tmp_path / "dev/dri/renderD128").touch()
    assert str(bindings.find_binding()) == "direct (rknn-toolkit-lite2 needs /dev/dri/renderD129 in a container)"
    (tmp_path / "dev/dri/renderD129").touch()
    assert bindings.find_binding().name == "rknn-toolkit-lite2"


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


def test_a_model_of_another_crop_or_center_is_refused_and_one_of_an_old_version_is_not(own_bundle, no_lite):
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
        with pytest.raises(DeviceError, match="librknnrt is not installed"):
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


def test_a_board_without_any_node_of_the_npu_is_told_so(tmp_path):
    assert "no device node of the NPU" in missing_node(tmp_path) and closed_node(tmp_path) == ""
    (tmp_path / "dev/dri").mkdir(parents=True)
    (tmp_path / "dev/dri/card0").touch()
    assert missing_node(tmp_path) == ""


def test_a_library_that_is_too_old_for_the_file_format_is_named(tmp_path):
    """As reported for librknnrt 1.4.0 (airockchip/rknn-toolkit2 #281), which says FAIL."""
    model, library = tmp_path / "m.rknn", tmp_path / "usr/lib/librknnrt.so"
    model.write_bytes(b"RKNN\0\0\0\0" + (6).to_bytes(8, "little"))
    library.parent.mkdir(parents=True)
    for version, expected in (("1.4.0", True), ("1.6.0", False), ("2.3.2", False)):
        library.write_bytes(f"librknnrt version: {version} (a10f100eb@2022-09-09T09:07:14)".encode())
        said = old_library(model, tmp_path)
        assert ("librknnrt 1.4.0" in said and "needs 1.6.0 or newer" in said) == expected, (version, said)


@pytest.mark.parametrize(
    ("log", "says"),
    [
        # What rknn-toolkit-lite2 logs on boards, without what the library itself prints to stderr.
        ("E Catch exception when init runtime!\nException: RKNN init failed. error code: RKNN_ERR_FAIL\n", "FAIL (-1)"),
        (
            "E Catch exception when init runtime!\nException: error code: RKNN_ERR_DEVICE_UNAVAILABLE\n",
            "UNAVAILABLE (-3)",
        ),
    ],
)
def test_a_failed_open_as_boards_log_it_leads_to_doctor(tmp_path, monkeypatch, log, says):
    (tmp_path / "m.rknn").write_bytes(b"RKNN\0\0\0\0" + (6).to_bytes(8, "little"))
    for name in ("closed_node", "missing_node"):
        monkeypatch.setattr(npu_errors, name, lambda: "")
    error = str(open_error(tmp_path / "m.rknn", log))
    assert says in error and "rkface doctor" in error


def test_a_hung_npu_is_told_so_although_the_code_says_fail():
    """`rknn_run fail! ret=-1` after "failed to submit!" (radxa/kernel #312)."""
    error = str(device_error(Path("m.rknn"), "rknn_run", -1))
    assert "did not answer in time" in error and "FAIL (-1)" in error


def test_an_unknown_error_still_shows_what_the_binding_logged(tmp_path):
    error = str(open_error(tmp_path / "m.rknn", "W something\nE The sky fell.\n"))
    assert "m.rknn" in error and "The sky fell." in error and "rkface doctor" in error
