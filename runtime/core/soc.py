"""Which Rockchip chip this machine has. Standard library only: doctor runs this before anything is installed."""

from __future__ import annotations

import re
from pathlib import Path

# NPU cores, for the chips that rknn-toolkit-lite2 2.5.0 runs on (Rockchip's data sheets).
CORES = {"rk3588": 3, "rk3576": 2, "rk3568": 1, "rk3566": 1, "rk3562": 1, "rv1126b": 1}


def read_soc(root: Path = Path("/")) -> str | None:
    """The chip that the device tree below ``root`` names, as rknn-toolkit2 spells it ("rk3588" for an RK3588S too).

    None where there is no device tree, or where rknn-toolkit-lite2 has no runtime for the chip.
    """
    try:
        compatible = (root / "proc/device-tree/compatible").read_bytes().decode(errors="replace")
    except OSError:
        return None
    named = re.findall(r"\brockchip,(\w+)", compatible)
    return next((soc for soc in CORES for name in named if name in (soc, f"{soc}s", f"{soc}s2", f"{soc}b2")), None)
