"""Doctor's checks of all between Python and the NPU: chip, kernel, driver, device node, librknnrt, binding."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from rkface.runtime.core.soc import CORES, read_soc

from .probe import Node, Probe
from .report import FAIL, OK, WARN, Line

# Below 0.9.6 users report `failed to submit!` (rockchip-linux/rknn-toolkit2 #297: 0.9.3; airockchip/rknn-toolkit2
# #294: cores 1 and 2 hang); Rockchip's own advice is 0.9.8.
DRIVER_WORKS, DRIVER_ADVISED = (0, 9, 6), (0, 9, 8)

# Where rknn-toolkit-lite2 2.5.0 looks, in this order; the first that exists is used, LD_LIBRARY_PATH is not.
LIBRARIES = ("/usr/lib64/librknn_runtime.so", "/usr/lib/librknn_runtime.so", "/usr/lib/librknnrt.so")
LIBRARY = LIBRARIES[-1]
VENDOR = "https://github.com/airockchip/rknn-toolkit2, rknpu2/runtime/Linux/librknn_api/aarch64/librknnrt.so"
AARCH64 = 183  # ELF e_machine (Arm's ELF for the Arm 64-bit Architecture)
TOOLKIT = "2.5.0"  # of this rkface, where no bundle says otherwise

# CPython that has rknn-toolkit-lite2 2.5.0 wheels (3.7 to 3.12) and that rkface itself needs (3.10 on).
PYTHON_FIRST, PYTHON_LAST = (3, 10), (3, 12)

VENDOR_KERNEL = (
    'install an image with the vendor kernel: Armbian\'s "vendor" (6.1; armbian-config changes it), '
    'or the board maker\'s own image; not "current" or "edge"'
)


@dataclass(frozen=True)
class Need:
    """What a bundle asks of a board; empty: there is no bundle yet."""

    target: str = ""
    toolkit: str = ""


def numbers(version: str) -> tuple[int, ...]:
    """The numbers of the first dotted version in a text: "RKNPU driver: v0.9.8" → (0, 9, 8); () where there is none."""
    match = re.search(r"\d+(?:\.\d+)+", version)
    return tuple(int(number) for number in match.group().split(".")) if match else ()


def board(probe: Probe) -> Line:
    model = probe.text("proc/device-tree/model")
    compatible = probe.text("proc/device-tree/compatible").replace("\0", ", ")
    soc = read_soc(probe.root)
    if soc:
        cores = CORES[soc]
        return Line("board", OK, f"{model or 'unnamed board'}: {soc.upper()}, {cores} NPU core{'s' * (cores > 1)}")
    if compatible:
        known = ", ".join(CORES).upper()
        return Line(
            "board",
            FAIL,
            f"{model or 'unnamed board'} ({compatible}): no chip that rknn-toolkit-lite2 runs on",
            f"rkface runs on {known}; for RV1103 and RV1106 it only converts (a C program must run the model there)",
        )
    machine = (probe.command("uname", "-m") or "unknown").strip()
    if machine != "aarch64":
        return Line(
            "board",
            FAIL,
            f"no Rockchip board: a machine with {machine}",
            "here rkface converts, evaluates and runs on ONNX Runtime (--backend reference); "
            "to examine a board from here: rkface doctor --host user@board",
        )
    container = probe.exists(".dockerenv") or probe.exists("run/.containerenv")
    return Line(
        "board",
        FAIL,
        f"no device tree to be seen{' in this container' if container else ''}: the chip is unknown",
        "Docker hides it: --security-opt systempaths=unconfined shows it, and the board's devices have to be passed on "
        "(boards/compose.yaml has all of it)"
        if container
        else "/proc/device-tree is missing: this is no Rockchip board, or a virtual machine or container on one",
    )


def kernel(probe: Probe) -> Line:
    release = probe.text("proc/sys/kernel/osrelease") or "unknown"
    if _vendor_driver(probe):
        return Line("kernel", OK, f"{release}, with Rockchip's rknpu driver")
    if any(map(probe.exists, ("sys/bus/platform/drivers/rocket", "sys/module/rocket", "dev/accel/accel0"))):
        return Line(
            "kernel",
            FAIL,
            f"{release}: a mainline kernel; its rocket driver is another stack (Mesa's), which librknnrt cannot use",
            VENDOR_KERNEL,
        )
    return Line("kernel", FAIL, f"{release}: without Rockchip's rknpu driver, as mainline kernels are", VENDOR_KERNEL)


def _vendor_driver(probe: Probe) -> bool:
    return any(map(probe.exists, ("sys/bus/platform/drivers/RKNPU", "sys/module/rknpu", "sys/kernel/debug/rknpu")))


def driver_version(probe: Probe) -> tuple[int, ...]:
    """Of the rknpu driver; () where nothing readable says it. /sys/module needs no root; debugfs and dmesg may."""
    lines = [line for line in (probe.command("dmesg") or "").splitlines() if "initialized rknpu" in line.lower()]
    places = (probe.text("sys/module/rknpu/version"), probe.text("sys/kernel/debug/rknpu/version"), *lines[-1:])
    # dmesg has two forms: "[drm] Initialized rknpu 0.9.8 20240828 for …" and "… Initialized RKNPU driver: v0.9.8 for …"
    return next(filter(None, (numbers(re.sub(r"(?i)^.*initialized", "", place)) for place in places)), ())


def driver(probe: Probe) -> Line:
    if not _vendor_driver(probe):
        return Line("NPU driver", FAIL, "none", "as for the kernel")
    version = driver_version(probe)
    if not version:
        return Line(
            "NPU driver",
            WARN,
            "there, but nothing readable says its version",
            "ask as root: sudo cat /sys/kernel/debug/rknpu/version (0.9.8 is advised)",
        )
    found = f"rknpu {'.'.join(map(str, version))}"
    if version >= DRIVER_ADVISED:
        return Line("NPU driver", OK, found)
    newer = "update the kernel: the driver comes with it (Armbian vendor 6.1 has 0.9.8)"
    if version >= DRIVER_WORKS:
        return Line("NPU driver", WARN, f"{found}: works; 0.9.8 is advised", newer)
    if CORES.get(read_soc(probe.root) or "", 1) > 1:
        return Line("NPU driver", FAIL, f"{found}: before 0.9.6 several cores at once hang or fail to submit", newer)
    return Line("NPU driver", WARN, f"{found}: old; users report `failed to submit!` before 0.9.6", newer)


def npu_nodes(probe: Probe) -> tuple[Node, ...]:
    """The NPU's device nodes: /dev/dri/renderD129 and a card beside it on most kernels, with numbers that vary, or
    /dev/rknpu where the driver was built for DMA heaps."""
    names = []
    for event in probe.glob("sys/class/drm/renderD*/device/uevent") + probe.glob("sys/class/drm/card*/device/uevent"):
        if "DRIVER=RKNPU" in probe.text(event).splitlines():
            names.append("/dev/dri/" + event.split("/")[4])
    return tuple(filter(None, map(probe.node, [*names, "/dev/rknpu"])))


def node(probe: Probe) -> Line:
    nodes, user, groups = npu_nodes(probe), probe.user(), probe.groups()
    if not nodes and not _vendor_driver(probe):
        return Line("NPU device", FAIL, "none without the driver", "as for the kernel")
    if not nodes:
        return Line(
            "NPU device",
            FAIL,
            "neither a render node of the NPU in /dev/dri nor /dev/rknpu",
            "in a container, pass the devices on: --device /dev/dri (boards/compose.yaml); "
            "otherwise the driver did not find the NPU: see `sudo dmesg | grep -i rknpu`",
        )
    closed = [one for one in nodes if not one.usable(user, groups)]
    if not closed:
        return Line("NPU device", OK, f"{', '.join(one.path for one in nodes)}, open to {user}")
    return Line("NPU device", FAIL, f"{user} may not use {', '.join(map(str, closed))}", admission(closed, user))


def admission(closed: list[Node], user: str) -> str:
    """How to get to use device nodes: join their groups, or have udev give them one."""
    groups = joinable(closed)
    if groups:
        return f"sudo usermod -aG {','.join(groups)} {user}, then log in again (rkface doctor --fix offers it)"
    rule = 'SUBSYSTEM=="drm", KERNEL=="renderD*", GROUP="render", MODE="0660"'
    return (
        f"no group may use it: echo '{rule}' | sudo tee /etc/udev/rules.d/60-rkface.rules; "
        f"sudo udevadm control --reload; sudo udevadm trigger; sudo usermod -aG render {user}"
    )


def joinable(closed: list[Node]) -> list[str]:
    """The groups to join for nodes that their groups may read and write."""
    return sorted({one.group for one in closed if one.mode >> 3 & 6 == 6 and one.group != "root"})


def library(probe: Probe, need: Need) -> Line:
    toolkit = need.toolkit or TOOLKIT
    get = (
        f"get it for toolkit {toolkit} from {VENDOR} (release of that version) and copy it to {LIBRARY} with sudo, or "
        "from the workstation: rkface deploy --prepare --librknnrt FILE"
    )
    name = next(filter(probe.exists, LIBRARIES), None)
    if name is None:
        return Line("librknnrt", FAIL, f"not installed: none of {', '.join(LIBRARIES)}", get)
    content = probe.content(name)
    unfit = defect(content)
    if unfit:
        return Line("librknnrt", FAIL, f"{name} {unfit}", get)
    version = library_version(content)
    if not version:
        return Line("librknnrt", WARN, f"{name} does not say its version", get)
    found = f"{name} {version}"
    ours, theirs = numbers(version), numbers(toolkit)
    made = f"the bundle was made with toolkit {toolkit}" if need.toolkit else f"this rkface converts with {toolkit}"
    if ours < theirs:
        return Line("librknnrt", FAIL, f"{found} is older than the models: {made}", get)
    if ours > theirs:
        return Line(
            "librknnrt",
            WARN,
            f"{found}; {made}: other versions load, but may compute differently",
            f"best is the library of {toolkit}, or a bundle made with this version",
        )
    return Line("librknnrt", OK, found)


def defect(content: bytes) -> str:
    """Why these bytes are no library for the board's processor; empty where they are one."""
    if not content:
        return "is empty or may not be read"
    if content[:4] != b"\x7fELF":
        return "is no library (perhaps a web page saved under its name)"
    if content[4:5] != b"\x02" or int.from_bytes(content[18:20], "little") != AARCH64:
        return "is a library for another processor, not for aarch64"
    return ""


def library_version(content: bytes) -> str:
    """What the library says of itself, "librknnrt version: 2.3.2 (429f97ae6b@2025-04-09T09:09:27)": the number."""
    match = re.search(rb"librknnrt version: ([\d.]+)", content)
    return match.group(1).decode("ascii") if match else ""


def python(probe: Probe, facts: dict[str, Any]) -> Line:
    version, platform = facts.get("version", "unknown"), facts.get("platform", "unknown")
    found = f"Python {version}, {platform} (wheels: cp{''.join(map(str, numbers(version)[:2]))})"
    board = read_soc(probe.root) is not None
    newer = "install Python 3.11 or 3.12 beside it (Debian 12 and Ubuntu 24.04 have one; else: uv python install 3.12)"
    if board and not platform.endswith("aarch64"):
        return Line(
            "Python",
            FAIL,
            f"{found}: rknn-toolkit-lite2 has wheels for 64-bit Arm only",
            "install a 64-bit (arm64) image",
        )
    if not PYTHON_FIRST <= numbers(version)[:2] <= PYTHON_LAST:
        return Line(
            "Python", FAIL, f"{found}: rkface needs 3.10 to 3.12, as rknn-toolkit-lite2 has wheels up to 3.12", newer
        )
    return Line("Python", OK, found)


def binding(facts: dict[str, Any], need: Need) -> Line:
    lite, toolkit = facts.get("lite"), need.toolkit or TOOLKIT
    if facts.get("error"):
        return Line(
            "rknnlite",
            FAIL,
            f"{lite or 'there'}, but does not import: {facts['error']}",
            f"pip install --force-reinstall rknn-toolkit-lite2=={toolkit}",
        )
    if not lite:
        return Line("rknnlite", WARN, "not installed for this Python", f"pip install rknn-toolkit-lite2=={toolkit}")
    if numbers(lite) != numbers(toolkit):
        return Line(
            "rknnlite",
            WARN,
            f"{lite}, while the models are of toolkit {toolkit}",
            f"pip install rknn-toolkit-lite2=={toolkit}",
        )
    return Line("rknnlite", OK, lite)


def fit(probe: Probe, need: Need) -> Line:
    soc = read_soc(probe.root)
    if soc == need.target:
        return Line("bundle", OK, f"made for {need.target} with toolkit {need.toolkit}")
    return Line(
        "bundle",
        FAIL,
        f"made for {need.target}, this is {soc or 'no chip with an NPU that rkface knows'}",
        f"convert again with --target {soc}" if soc else "take it to the board it was made for",
    )
