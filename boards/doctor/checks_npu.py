"""Doctor's checks of what the NPU needs: chip, kernel, driver, device nodes, librknnrt, Python and its binding.

This file is sent to boards (remote.py): standard library only, syntax of Python 3.8.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from rkface.runtime.core.installed import LIBRARIES, library_version
from rkface.runtime.core.soc import CORES, read_soc
from rkface.runtime.core.versions import PYTHON_NEWEST, PYTHON_OLDEST, TOOLKIT

from .probe import DeviceNode, Probe
from .report import FAIL, OK, WARN, CheckResult

# Users report `failed to submit!` with drivers before 0.9.6 (rockchip-linux/rknn-toolkit2 #297: 0.9.3;
# airockchip/rknn-toolkit2 #294: cores 1 and 2 hang). Rockchip recommends 0.9.8.
DRIVER_MINIMUM, DRIVER_RECOMMENDED = (0, 9, 6), (0, 9, 8)

LIBRARY = LIBRARIES[-1]
VENDOR = "https://github.com/airockchip/rknn-toolkit2, rknpu2/runtime/Linux/librknn_api/aarch64/librknnrt.so"
AARCH64 = 183  # ELF e_machine (Arm's ELF for the Arm 64-bit Architecture)
OLDEST, NEWEST = (".".join(map(str, version)) for version in (PYTHON_OLDEST, PYTHON_NEWEST))

VENDOR_KERNEL = (
    'install an image with the vendor kernel: Armbian "vendor" (6.1; armbian-config can switch to it) or the image of '
    'the board maker; not Armbian "current" or "edge"'
)


@dataclass(frozen=True)
class BundleNeeds:
    """What a bundle needs from a board: the chip and the toolkit version it was converted for.

    Empty strings mean that no bundle was given.
    """

    target: str = ""
    toolkit: str = ""


def version_numbers(text: str) -> tuple[int, ...]:
    """The numbers of the first dotted version in ``text``: "RKNPU driver: v0.9.8" → (0, 9, 8); () without a version."""
    match = re.search(r"\d+(?:\.\d+)+", text)
    return tuple(int(number) for number in match.group().split(".")) if match else ()


def check_board(probe: Probe) -> CheckResult:
    """Whether this is a board with a chip that rknn-toolkit-lite2 runs on."""
    model = probe.text("proc/device-tree/model") or "unnamed board"
    compatible = probe.text("proc/device-tree/compatible").replace("\0", ", ")
    soc = read_soc(probe.root)
    if soc:
        cores = CORES[soc]
        return CheckResult("board", OK, f"{model}: {soc.upper()}, {cores} NPU core{'s' * (cores > 1)}")
    if compatible:
        known = ", ".join(CORES).upper()
        return CheckResult(
            "board",
            FAIL,
            f"{model} ({compatible}): rknn-toolkit-lite2 does not run on its chip",
            f"rkface runs on {known}; for RV1103 and RV1106 it only converts (a C program must run the model there)",
        )
    machine = (probe.command("uname", "-m") or "unknown").strip()
    if machine != "aarch64":
        return CheckResult(
            "board",
            FAIL,
            f"this is not a Rockchip board: the processor is {machine}",
            "on this machine rkface converts, evaluates, and runs on ONNX Runtime (--backend reference); "
            "to check a board from here: rkface doctor --host user@board",
        )
    if probe.exists(".dockerenv") or probe.exists("run/.containerenv"):
        return CheckResult(
            "board",
            FAIL,
            "the chip is unknown: no device tree is visible in this container",
            "Docker hides it: start the container with --security-opt systempaths=unconfined, and pass the board's "
            "devices to it (boards/compose.yaml does both)",
        )
    return CheckResult(
        "board",
        FAIL,
        "the chip is unknown: there is no device tree",
        "/proc/device-tree is missing: this is not a Rockchip board, or it is a virtual machine or container on one",
    )


def check_kernel(probe: Probe) -> CheckResult:
    """Whether the kernel is a vendor kernel, with Rockchip's rknpu driver."""
    release = probe.text("proc/sys/kernel/osrelease") or "unknown"
    if _has_vendor_driver(probe):
        return CheckResult("kernel", OK, f"{release}, with Rockchip's rknpu driver")
    if any(map(probe.exists, ("sys/bus/platform/drivers/rocket", "sys/module/rocket", "dev/accel/accel0"))):
        found = f"{release} is a mainline kernel: librknnrt cannot use its rocket driver (made for Mesa)"
        return CheckResult("kernel", FAIL, found, VENDOR_KERNEL)
    found = f"{release} has no rknpu driver: it is probably a mainline kernel"
    return CheckResult("kernel", FAIL, found, VENDOR_KERNEL)


def _has_vendor_driver(probe: Probe) -> bool:
    return any(map(probe.exists, ("sys/bus/platform/drivers/RKNPU", "sys/module/rknpu", "sys/kernel/debug/rknpu")))


def driver_version(probe: Probe) -> tuple[int, ...]:
    """The version of the rknpu driver; () if no file or log that this user may read states it.

    /sys/module is open to everyone; debugfs and dmesg may need root.
    """
    lines = [line for line in (probe.command("dmesg") or "").splitlines() if "initialized rknpu" in line.lower()]
    sources = (probe.text("sys/module/rknpu/version"), probe.text("sys/kernel/debug/rknpu/version"), *lines[-1:])
    # dmesg has two forms: "[drm] Initialized rknpu 0.9.8 20240828 for …" and "… Initialized RKNPU driver: v0.9.8 for …"
    return next(filter(None, (version_numbers(re.sub(r"(?i)^.*initialized", "", text)) for text in sources)), ())


def check_driver(probe: Probe) -> CheckResult:
    """Whether the rknpu driver is new enough."""
    if not _has_vendor_driver(probe):
        return CheckResult("NPU driver", FAIL, "not present in this kernel", "fix the kernel first")
    version = driver_version(probe)
    recommended = ".".join(map(str, DRIVER_RECOMMENDED))
    if not version:
        return CheckResult(
            "NPU driver",
            WARN,
            "present, but its version is unknown",
            f"read it as root: sudo cat /sys/kernel/debug/rknpu/version ({recommended} is recommended)",
        )
    found = f"rknpu {'.'.join(map(str, version))}"
    if version >= DRIVER_RECOMMENDED:
        return CheckResult("NPU driver", OK, found)
    update = "update the kernel, which contains the driver (Armbian vendor 6.1 has 0.9.8)"
    if version >= DRIVER_MINIMUM:
        return CheckResult("NPU driver", WARN, f"{found} works; {recommended} is recommended", update)
    if CORES.get(read_soc(probe.root) or "", 1) > 1:
        found = f"{found}: before 0.9.6, several cores at the same time hang or fail to submit"
        return CheckResult("NPU driver", FAIL, found, update)
    return CheckResult("NPU driver", WARN, f"{found} is old: users report `failed to submit!` before 0.9.6", update)


def npu_nodes(probe: Probe) -> tuple[DeviceNode, ...]:
    """The device nodes of the NPU.

    Most kernels have a render node such as /dev/dri/renderD129 and a card node; their numbers vary. A driver that was
    built for DMA heaps has /dev/rknpu instead.
    """
    names = []
    for event in probe.glob("sys/class/drm/renderD*/device/uevent") + probe.glob("sys/class/drm/card*/device/uevent"):
        if "DRIVER=RKNPU" in probe.text(event).splitlines():
            names.append("/dev/dri/" + event.split("/")[4])
    return tuple(filter(None, map(probe.node, [*names, "/dev/rknpu"])))


def check_device_nodes(probe: Probe) -> CheckResult:
    """Whether the NPU has device nodes and this user may use them."""
    nodes, user, groups = npu_nodes(probe), probe.user(), probe.groups()
    if not nodes and not _has_vendor_driver(probe):
        return CheckResult("NPU device", FAIL, "missing, because the driver is missing", "fix the kernel first")
    if not nodes:
        return CheckResult(
            "NPU device",
            FAIL,
            "missing: neither a render node of the NPU in /dev/dri nor /dev/rknpu",
            "in a container, pass the devices to it: --device /dev/dri (boards/compose.yaml); "
            "otherwise the driver did not find the NPU: see `sudo dmesg | grep -i rknpu`",
        )
    closed = [one for one in nodes if not one.usable(user, groups)]
    if not closed:
        return CheckResult("NPU device", OK, f"{', '.join(one.path for one in nodes)}: {user} may use it")
    found = f"{user} may not use {', '.join(map(str, closed))}"
    return CheckResult("NPU device", FAIL, found, permission_fix(closed, user))


def permission_fix(closed: list[DeviceNode], user: str) -> str:
    """What gives ``user`` access to ``closed`` nodes: their groups, or a udev rule that gives them a group."""
    groups = joinable_groups(closed)
    if groups:
        return f"sudo usermod -aG {','.join(groups)} {user}, then log in again (rkface doctor --fix offers it)"
    rule = 'SUBSYSTEM=="drm", KERNEL=="renderD*", GROUP="render", MODE="0660"'
    return (
        f"give the node to the group render: echo '{rule}' | sudo tee /etc/udev/rules.d/60-rkface.rules; "
        f"sudo udevadm control --reload; sudo udevadm trigger; sudo usermod -aG render {user}"
    )


def joinable_groups(closed: list[DeviceNode]) -> list[str]:
    """The groups whose members may read and write one of the ``closed`` nodes, without root's, sorted."""
    return sorted({one.group for one in closed if one.mode >> 3 & 6 == 6 and one.group != "root"})


def check_library(probe: Probe, needs: BundleNeeds) -> CheckResult:
    """Whether librknnrt is installed, is a library for this processor, and fits the toolkit of the models."""
    toolkit = needs.toolkit or TOOLKIT
    get = (
        f"download version {toolkit} from {VENDOR} and copy it to {LIBRARY} with sudo, or install it from the "
        "workstation: rkface deploy --prepare --librknnrt FILE"
    )
    name = next(filter(probe.exists, LIBRARIES), None)
    if name is None:
        return CheckResult("librknnrt", FAIL, f"not installed: none of {', '.join(LIBRARIES)} exists", get)
    content = probe.content(name)
    problem = library_defect(content)
    if problem:
        return CheckResult("librknnrt", FAIL, f"{name} {problem}", get)
    version = library_version(content)
    if not version:
        return CheckResult("librknnrt", WARN, f"{name} does not contain its version", get)
    found = f"{name} {version}"
    installed, required = version_numbers(version), version_numbers(toolkit)
    reason = f"the bundle was made with toolkit {toolkit}" if needs.toolkit else f"this rkface converts with {toolkit}"
    if installed < required:
        return CheckResult("librknnrt", FAIL, f"{found} is older than the models: {reason}", get)
    if installed > required:
        return CheckResult(
            "librknnrt",
            WARN,
            f"{found}; {reason}: other versions load, but may compute differently",
            f"install the library of {toolkit}, or use a bundle that was made with this version",
        )
    return CheckResult("librknnrt", OK, found)


def library_defect(content: bytes) -> str:
    """Why ``content`` is not a library for the board's processor; empty if it is one."""
    if not content:
        return "is empty or may not be read"
    if content[:4] != b"\x7fELF":
        return "is not a library (perhaps a web page saved under its name)"
    if content[4:5] != b"\x02" or int.from_bytes(content[18:20], "little") != AARCH64:
        return "is a library for another processor, not for aarch64"
    return ""


def check_python(probe: Probe, facts: dict[str, Any]) -> CheckResult:
    """Whether rkface and rknn-toolkit-lite2 have wheels for this Python."""
    version, platform = facts.get("version", "unknown"), facts.get("platform", "unknown")
    found = f"Python {version}, {platform} (wheels: cp{''.join(map(str, version_numbers(version)[:2]))})"
    if read_soc(probe.root) is not None and not platform.endswith("aarch64"):
        return CheckResult(
            "Python",
            FAIL,
            f"{found}: rknn-toolkit-lite2 has wheels for 64-bit Arm only",
            "install a 64-bit (arm64) image",
        )
    if not PYTHON_OLDEST <= version_numbers(version)[:2] <= PYTHON_NEWEST:
        return CheckResult(
            "Python",
            FAIL,
            f"{found}: rkface needs {OLDEST} to {NEWEST}; rknn-toolkit-lite2 has wheels up to {NEWEST}",
            "also install Python 3.11 or 3.12 (Debian 12 and Ubuntu 24.04 have one; else: uv python install 3.12)",
        )
    return CheckResult("Python", OK, found)


def check_binding(facts: dict[str, Any], needs: BundleNeeds) -> CheckResult:
    """Whether rknn-toolkit-lite2 (the Python binding of librknnrt) imports and fits the toolkit of the models."""
    installed, toolkit = facts.get("lite"), needs.toolkit or TOOLKIT
    install = f"pip install rknn-toolkit-lite2=={toolkit}"
    if facts.get("error"):
        found = f"{installed or 'present'}, but does not import: {facts['error']}"
        return CheckResult("rknnlite", FAIL, found, install.replace("install", "install --force-reinstall"))
    if not installed:
        return CheckResult("rknnlite", WARN, "not installed for this Python", install)
    if version_numbers(installed) != version_numbers(toolkit):
        return CheckResult("rknnlite", WARN, f"{installed}, but the models need toolkit {toolkit}", install)
    return CheckResult("rknnlite", OK, installed)


def check_bundle_target(probe: Probe, needs: BundleNeeds) -> CheckResult:
    """Whether the bundle was converted for this board's chip."""
    soc = read_soc(probe.root)
    if soc == needs.target:
        return CheckResult("bundle", OK, f"made for {needs.target} with toolkit {needs.toolkit}")
    return CheckResult(
        "bundle",
        FAIL,
        f"made for {needs.target}, this is {soc or 'a machine without an NPU that rkface knows'}",
        f"convert again with --target {soc}" if soc else f"use it on a board with {needs.target}",
    )
