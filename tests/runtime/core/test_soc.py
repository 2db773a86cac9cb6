"""Chips by the names in device trees, which have more letters than those of rknn-toolkit2."""

import pytest

from rkface.convert.targets import find_target
from rkface.runtime.core.soc import model_chip, read_cores, read_soc


@pytest.mark.parametrize(
    ("compatible", "soc", "cores"),
    [
        ("radxa,rock-5b\0rockchip,rk3588\0", "rk3588", 3),
        ("khadas,edge2\0rockchip,rk3588s\0", "rk3588", 3),
        ("vendor,board\0rockchip,rk3588m\0", "rk3588", 3),
        ("vendor,board\0rockchip,rk3583\0rockchip,rk3588\0", "rk3588", 2),
        ("vendor,board\0rockchip,rk3576j\0", "rk3576", 2),
        ("vendor,board\0rockchip,rk3568j\0rockchip,rk3568\0", "rk3568", 1),
        ("vendor,board\0rockchip,rv1126bp\0", "rv1126b", 1),
        ("vendor,board\0rockchip,rv1126\0", None, 0),
        ("vendor,board\0rockchip,rk3399pro\0", None, 0),
        ("vendor,rk3588-board\0nxp,imx8mp\0", None, 0),
    ],
)
def test_the_chip_and_its_cores(tmp_path, compatible, soc, cores):
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/compatible").write_bytes(compatible.encode())
    assert (read_soc(tmp_path), read_cores(tmp_path)) == (soc, cores)


def test_a_machine_without_device_tree_has_none(tmp_path):
    assert (read_soc(tmp_path), read_cores(tmp_path)) == (None, 0)


@pytest.mark.parametrize("name", ["rk3588s", "rk3588j", "RK3588S2", "rk3583", "rk3588f"])
def test_models_for_these_chips_are_converted_for_rk3588(name):
    assert model_chip(name.lower()) == "rk3588" and find_target(name).name == "rk3588"


def test_chips_with_models_of_their_own_stay_apart():
    assert [find_target(name).name for name in ("rv1106", "rv1106b", "rv1126b")] == ["rv1106", "rv1106b", "rv1126b"]
