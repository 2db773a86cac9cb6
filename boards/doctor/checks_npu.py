"""Doctor's checks of chip, kernel and NPU driver.

This file is sent to boards (remote.py): standard library only, syntax of Python 3.8.
"""

from __future__ import annotations

import re

from rkface.runtime.core.soc import CORES, read_cores, read_soc
from rkface.runtime.core.versions import version_numbers

from .checks_nodes import disabled_npu, has_vendor_driver, switch_on
from .probe import Probe
from .report import FAIL, OK, WARN, CheckResult

# What is known about rknpu drivers. On kernel 6.1, 0.9.3 hangs on RK3588 with one core already, and 0.9.6 does not
# (radxa/kernel #312, airockchip/rknn-toolkit2 #38); 0.9.2 runs on core 0 only (#294). On kernel 5.10, 0.8.2 runs on
# all three cores (#294, #38). Rockchip recommends 0.9.8.
BROKEN_FROM, BROKEN_BEFORE, BROKEN_KERNEL = (0, 9, 0), (0, 9, 6), (6, 1)
RECOMMENDED = (0, 9, 8)

VENDOR_KERNEL = (
    'install an image with the vendor kernel: Armbian "vendor" (6.1; armbian-config can switch to it) or the image of '
    'the board maker; not Armbian "current" or "edge"'
)


def check_board(probe: Probe) -> CheckResult:
    """Whether this is a board with a chip that librknnrt runs on."""
    model = probe.text("proc/device-tree/model") or "unnamed board"
    compatible = probe.text("proc/device-tree/compatible").replace("\0", ", ")
    soc = read_soc(probe.root)
    if soc:
        cores = read_cores(probe.root)
        return CheckResult("board", OK, f"{model}: {soc.upper()}, {cores} NPU core{'s' * (cores > 1)}")
    if compatible:
        known = ", ".join(CORES).upper()
        return CheckResult(
            "board",
            FAIL,
            f"{model} ({compatible}): librknnrt does not run on its chip",
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
    if has_vendor_driver(probe):
        return CheckResult("kernel", OK, f"{release}, with Rockchip's rknpu driver")
    if off := disabled_npu(probe):
        found = f"{release}: its rknpu driver is not loaded, because {off} is disabled in the device tree"
        return CheckResult("kernel", WARN, found, switch_on(probe))
    if any(map(probe.exists, ("sys/bus/platform/drivers/rocket", "sys/module/rocket", "dev/accel/accel0"))):
        found = f"{release} is a mainline kernel: librknnrt cannot use its rocket driver (made for Mesa)"
        return CheckResult("kernel", FAIL, found, VENDOR_KERNEL)
    found = f"{release} has no rknpu driver: it is probably a mainline kernel"
    return CheckResult("kernel", FAIL, found, VENDOR_KERNEL)


def driver_version(probe: Probe) -> tuple[int, ...]:
    """The version of the rknpu driver; () if no file or log that this user may read states it.

    /sys/module and /proc/rknpu are open to everyone; debugfs and dmesg may need root.
    """
    lines = [line for line in (probe.command("dmesg") or "").splitlines() if "initialized rknpu" in line.lower()]
    files = ("sys/module/rknpu/version", "sys/kernel/debug/rknpu/version", "proc/rknpu/version")
    # dmesg has two forms: "[drm] Initialized rknpu 0.9.8 20240828 for …" and "… Initialized RKNPU driver: v0.9.8 for …"
    sources = (*map(probe.text, files), *lines[-1:])
    return next(filter(None, (version_numbers(re.sub(r"(?i)^.*initialized", "", text)) for text in sources)), ())


def hung_jobs(probe: Probe) -> int:
    """How often the NPU did not finish a job in time since the start, as far as this user may read the kernel's log."""
    return sum("RKNPU: job timeout" in line for line in (probe.command("dmesg") or "").splitlines())


def check_driver(probe: Probe) -> CheckResult:
    """Whether the rknpu driver is one that is known to work."""
    if not has_vendor_driver(probe):
        missing, off = "not present in this kernel", "not loaded, because the NPU is switched off"
        found, fix = (off, "switch the NPU on first") if disabled_npu(probe) else (missing, "fix the kernel first")
        return CheckResult("NPU driver", FAIL, found, fix)
    version, kernel = driver_version(probe), version_numbers(probe.text("proc/sys/kernel/osrelease"))[:2]
    recommended = ".".join(map(str, RECOMMENDED))
    hung = hung_jobs(probe)
    hangs = f"; the NPU hung {hung} time{'s' * (hung > 1)} since the last start (job timeout in dmesg)" if hung else ""
    if not version:
        return CheckResult(
            "NPU driver",
            WARN,
            f"present, but its version is unknown{hangs}",
            f"read it as root: sudo cat /sys/kernel/debug/rknpu/version ({recommended} is recommended)",
        )
    found = f"rknpu {'.'.join(map(str, version))}"
    update = "update the kernel, which contains the driver (Armbian vendor 6.1 has 0.9.8)"
    if BROKEN_FROM <= version < BROKEN_BEFORE and kernel == BROKEN_KERNEL and read_cores(probe.root) > 1:
        found = f'{found} on kernel 6.1 is known to hang, or to fail with "failed to submit!", before 0.9.6'
        return CheckResult("NPU driver", FAIL, found + hangs, update)
    if hangs:
        return CheckResult(
            "NPU driver",
            WARN,
            found + hangs,
            "restart the board, then run `rkface selftest`; if the NPU hangs again, update the kernel and librknnrt",
        )
    if version >= RECOMMENDED:
        return CheckResult("NPU driver", OK, found)
    return CheckResult(
        "NPU driver", WARN, f"{found}: {recommended} is recommended, and `rkface selftest` decides", update
    )
