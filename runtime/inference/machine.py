"""Describe the machine that a measurement was made on, and read its clocks, NPU load and temperatures."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..core.installed import package_version
from ..core.soc import read_soc

PACKAGES = ("rkface", "rknn-toolkit-lite2", "onnxruntime", "numpy", "opencv-python", "opencv-python-headless")


@dataclass(frozen=True)
class Machine:
    """The machine. Values that cannot be read are "".

    board      model name in the device tree
    soc        the chip, such as "rk3588"; None if this is not a supported board
    processor  the processor's name
    versions   of Python, the kernel, the NPU driver and the packages that matter here
    """

    board: str
    soc: str | None
    processor: str
    versions: dict[str, str]


@dataclass(frozen=True)
class Clocks:
    """Clocks, load and temperatures at this moment.

    governors  of each CPU cluster, the NPU and the DDR memory
    megahertz  their frequencies
    load       of the NPU, in the words of its driver: "Core0: 63%, Core1: 65%" or "0%"; "" unless this is root
    celsius    temperature of each thermal zone
    """

    governors: dict[str, str]
    megahertz: dict[str, int]
    load: str
    celsius: dict[str, float]


def read_machine(root: Path = Path("/")) -> Machine:
    """Describe the machine whose file system is at ``root``."""
    versions = {"python": platform.python_version(), "kernel": _text(root / "proc/sys/kernel/osrelease")}
    driver = re.search(r"\d+(\.\d+)+", _text(root / "sys/module/rknpu/version"))
    if driver:
        versions["rknpu"] = driver[0]
    versions |= {name: number for name in PACKAGES if (number := package_version([name]))}
    model = re.search(r"^model name\s*:\s*(.+)$", _text(root / "proc/cpuinfo"), re.MULTILINE)
    processor = model[1] if model else platform.machine()
    return Machine(_text(root / "proc/device-tree/model"), read_soc(root), processor, versions)


def read_clocks(root: Path = Path("/")) -> Clocks:
    """Read the clocks of the machine whose file system is at ``root``."""
    governors: dict[str, str] = {}
    megahertz: dict[str, int] = {}
    for name, governor, frequency, per_megahertz in _clock_files(root):
        if _text(governor):
            governors[name] = _text(governor)
        if _text(frequency).isdigit():
            megahertz[name] = int(_text(frequency)) // per_megahertz
    celsius = {}
    for zone in sorted(root.glob("sys/class/thermal/thermal_zone*")):
        value = _text(zone / "temp")
        if re.fullmatch(r"-?\d+", value):
            celsius[_text(zone / "type") or zone.name] = int(value) / 1000
    # A driver that is built as a module for other kernels has the file in /proc.
    load = _text(root / "sys/kernel/debug/rknpu/load") or _text(root / "proc/rknpu/load")
    return Clocks(governors, megahertz, " ".join(load.removeprefix("NPU load:").split()).rstrip(","), celsius)


def _clock_files(root: Path) -> Iterator[tuple[str, Path, Path, int]]:
    """For each clock: its name, the file of its governor, the file of its frequency, and that file's units per MHz."""
    for policy in sorted(root.glob("sys/devices/system/cpu/cpufreq/policy*")):
        name = f"cpu {policy.name.removeprefix('policy')}"
        yield name, policy / "scaling_governor", policy / "scaling_cur_freq", 1_000
    for device in sorted(root.glob("sys/class/devfreq/*")):
        for part, name in (("npu", "npu"), ("dmc", "ddr")):
            if part in device.name:
                yield name, device / "governor", device / "cur_freq", 1_000_000


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace").strip("\0 \n")
    except OSError:
        return ""
