"""Doctor's check of the NPU's device nodes: whether the device tree switches the NPU on, and who may use it.

This file is sent to boards (remote.py): standard library only, syntax of Python 3.8.
"""

from __future__ import annotations

from rkface.runtime.core.device_access import DeviceNode, access_fix, npu_node_names
from rkface.runtime.core.soc import read_soc

from .probe import Probe
from .report import FAIL, OK, WARN, CheckResult

OVERLAY = "rk3568-npu-enable"  # Radxa's (github.com/radxa-pkg/radxa-overlays); for RK3566 and RK3568


def has_vendor_driver(probe: Probe) -> bool:
    """Whether the kernel has Rockchip's rknpu driver."""
    return any(map(probe.exists, ("sys/bus/platform/drivers/RKNPU", "sys/module/rknpu", "sys/kernel/debug/rknpu")))


def npu_nodes(probe: Probe) -> tuple[DeviceNode, ...]:
    """The device nodes of the NPU that exist, those that librknnrt opens first."""
    return tuple(filter(None, map(probe.node, npu_node_names(probe.root))))


def disabled_npu(probe: Probe) -> str:
    """The NPU's node in the device tree if it is switched off there ("npu@fde40000"); otherwise empty."""
    for status in probe.glob("proc/device-tree/npu@*/status"):
        folder = status.rpartition("/")[0]
        if "-rknpu" in probe.text(f"{folder}/compatible") and probe.text(status) == "disabled":
            return folder.rpartition("/")[2]
    return ""


def switch_on(probe: Probe) -> str:
    """How to switch the NPU on in the device tree of this board."""
    if read_soc(probe.root) not in ("rk3566", "rk3568"):
        return "switch it on with an overlay, or use the device tree and image of the board maker; then reboot"
    if probe.exists("boot/armbianEnv.txt"):
        return (
            f"download {OVERLAY}.dts from github.com/radxa-pkg/radxa-overlays, then: "
            f"sudo armbian-add-overlay {OVERLAY}.dts; sudo reboot"
        )
    off, on = (f"boot/dtbo/{OVERLAY}.dtbo{end}" for end in (".disabled", ""))
    command = f"sudo mv /{off} /{on}; sudo u-boot-update; sudo reboot"
    if probe.exists(off):
        return f"switch the overlay {OVERLAY} on: sudo rsetup, Overlays, Manage overlays, Enable NPU; or: {command}"
    return (
        f"switch the overlay {OVERLAY} on and reboot; on Radxa OS with: sudo rsetup, Overlays, Manage overlays, "
        "Enable NPU (if the menu does not offer it: Update overlays first)"
    )


def check_device_nodes(probe: Probe) -> CheckResult:
    """Whether the NPU is on, has device nodes, and this user may use them."""
    nodes, user, groups = npu_nodes(probe), probe.user(), probe.groups()
    if not nodes and (off := disabled_npu(probe)):
        return CheckResult(
            "NPU device", FAIL, f"the NPU is switched off: {off} is disabled in the device tree", switch_on(probe)
        )
    if not nodes and not has_vendor_driver(probe):
        return CheckResult("NPU device", FAIL, "missing, because the driver is missing", "fix the kernel first")
    if not nodes:
        return CheckResult(
            "NPU device",
            FAIL,
            "missing: neither a node of the NPU in /dev/dri nor /dev/rknpu",
            "in a container, pass the devices to it: --device /dev/dri (boards/compose.yaml); "
            "otherwise the driver did not find the NPU: see `sudo dmesg | grep -i rknpu`",
        )
    closed = [node for node in nodes if not node.usable(user, groups)]
    opened_first = [node for node in nodes if "renderD" not in node.path]
    if closed:
        # librknnrt does not need the render node.
        verdict = FAIL if not opened_first or set(closed) & set(opened_first) else WARN
        found = f"{user} may not use {', '.join(map(str, closed))}"
        return CheckResult("NPU device", verdict, found, access_fix(closed, user))
    found = f"{', '.join(node.path for node in nodes)}: {user} may use {'it' if len(nodes) == 1 else 'them'}"
    if not opened_first:
        return CheckResult(
            "NPU device",
            WARN,
            f"{found}, but librknnrt may look for the NPU's card node, which is missing",
            "in a container, pass all of /dev/dri to it: --device /dev/dri (boards/compose.yaml)",
        )
    return CheckResult("NPU device", OK, found)
