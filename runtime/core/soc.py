"""Find out which Rockchip chip this machine has. Standard library only: doctor runs it before any installation."""

from __future__ import annotations

import re
from pathlib import Path

# Number of NPU cores of the chips that rknn-toolkit-lite2 2.5.0 supports (Rockchip's data sheets).
CORES = {"rk3588": 3, "rk3576": 2, "rk3568": 1, "rk3566": 1, "rk3562": 1, "rv1126b": 1}


def read_soc(root: Path = Path("/")) -> str | None:
    """The chip in the device tree below ``root``, as rknn-toolkit2 spells it ("rk3588" also for an RK3588S).

    None if there is no device tree, or if rknn-toolkit-lite2 does not support the chip.
    """
    try:
        compatible = (root / "proc/device-tree/compatible").read_bytes().decode(errors="replace")
    except OSError:
        return None
    named = re.findall(r"\brockchip,(\w+)", compatible)
    return next((soc for soc in CORES for name in named if name in (soc, f"{soc}s", f"{soc}s2", f"{soc}b2")), None)
