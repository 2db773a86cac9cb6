"""Find out which Rockchip chip this machine has. Standard library only: doctor runs it before any installation."""

from __future__ import annotations

import re
from pathlib import Path

# Number of NPU cores of the chips that librknnrt 2.5.0 supports (Rockchip's data sheets).
CORES = {"rk3588": 3, "rk3576": 2, "rk3568": 1, "rk3566": 1, "rk3562": 1, "rv1126b": 1}
# Chips that are another one with fewer cores: the models made for that one, and the cores that are left. Rockchip's
# driver uses cores 0 and 1 of an RK3583 (rk3583_rknpu_config in drivers/rknpu/rknpu_drv.c).
REDUCED = {"rk3583": ("rk3588", 2)}


def read_soc(root: Path = Path("/")) -> str | None:
    """The chip in the device tree below ``root``, as rknn-toolkit2 spells it ("rk3588" also for an RK3588S).

    None if there is no device tree, or if librknnrt does not support the chip.
    """
    names = _chip_names(root)
    return next((soc for soc in CORES for name in names if model_chip(name) == soc), None)


def read_cores(root: Path = Path("/")) -> int:
    """The number of NPU cores of the chip in the device tree below ``root``; 0 if ``read_soc`` finds none."""
    names = _chip_names(root)
    reduced = [REDUCED[name][1] for name in names if name in REDUCED]
    return min(reduced, default=CORES.get(read_soc(root) or "", 0))


def model_chip(name: str) -> str | None:
    """The chip whose models run on the chip ``name``: "rk3588" for rk3588s, rk3588m, rk3588j, rk3588s2 and rk3583.

    The suffix of a name tells packages and grades apart: one letter and perhaps one digit. None for other chips.
    """
    if name in REDUCED:
        return REDUCED[name][0]
    return next((soc for soc in CORES if re.fullmatch(rf"{soc}([a-z]\d?)?", name)), None)


def _chip_names(root: Path) -> list[str]:
    try:
        compatible = (root / "proc/device-tree/compatible").read_bytes().decode(errors="replace")
    except OSError:
        return []
    return re.findall(r"\brockchip,(\w+)", compatible)
