"""What went wrong with the NPU, in words, and what mends it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..core.errors import DeviceError
from ..core.versions import TOOLKIT

LIBRARY = "/usr/lib/librknnrt.so"
DOCTOR = "`rkface doctor` examines the board"

# rknn_api's error codes: what they mean, and what mends it.
CODES = {
    -1: ("FAIL", f"see `sudo dmesg | grep -i rknpu`; {DOCTOR}"),
    -2: (
        "TIMEOUT",
        "the NPU did not answer in time: see `sudo dmesg | grep -i rknpu`; drivers before 0.9.6 hang when "
        "several cores work at once; a reboot frees it",
    ),
    -3: ("DEVICE_UNAVAILABLE", f"the NPU or its driver is gone: see `sudo dmesg | grep -i rknpu`; {DOCTOR}"),
    -4: ("MALLOC_FAIL", "no memory left for the NPU (CMA): close other NPU programs, or give the kernel more CMA"),
    -5: ("PARAM_INVALID", f"librknnrt is of another version than rknn-toolkit-lite2: install both {TOOLKIT}"),
    -6: (
        "MODEL_INVALID",
        f"librknnrt cannot read the model: it is older than the toolkit that made it, or the file is damaged; {DOCTOR}",
    ),
    -7: ("CTX_INVALID", "the model was closed, or the driver restarted under it: open it again"),
    -8: ("INPUT_INVALID", "the model takes another input than its manifest says: convert again"),
    -9: ("OUTPUT_INVALID", "the model gives other outputs than its manifest says: convert again"),
    -10: ("DEVICE_UNMATCH", f"driver and librknnrt do not fit each other: update both; {DOCTOR}"),
    -11: ("INCOMPATIBLE_PRE_COMPILE_MODEL", "the model was made for an older driver: convert again"),
    -12: ("INCOMPATIBLE_OPTIMIZATION_LEVEL_VERSION", "the model was made for another driver: convert again, or update"),
    -13: ("TARGET_PLATFORM_UNMATCH", "the model was made for another chip: convert again with --target CHIP"),
    -14: ("KEY_INVALID", "the model is encrypted and the key does not fit: rkface writes plain models, convert again"),
    -15: ("DECRYPT_FAILED", "the model is encrypted or damaged: rkface writes plain models, convert again"),
    -16: ("SOC_BIND_FAILED", "the model is bound to one particular chip, not to this one: convert again"),
}
NAMES = {name: code for code, (name, _) in CODES.items()}


def open_error(path: Path, said: str) -> DeviceError:
    """The error behind what the binding said while ``init_runtime`` failed."""
    code = re.search(r"error code: RKNN_ERR_(\w+)", said)
    if "Can not find dynamic library" in said:
        return DeviceError(
            f"librknnrt is not installed: copy Rockchip's librknnrt.so of toolkit {TOOLKIT} to {LIBRARY}; {DOCTOR}"
        )
    broken = re.search(r"^OSError: (.*)$", said, re.MULTILINE)
    if broken:
        return DeviceError(
            f"librknnrt cannot be loaded ({broken[1]}): {LIBRARY} is damaged or no library for aarch64; copy it again"
        )
    if "set npu core mode" in said:
        return DeviceError(f"{path}: the NPU refuses the core it was asked for: update driver and librknnrt; {DOCTOR}")
    known = NAMES.get(code[1].replace("INCOMPATILE", "INCOMPATIBLE"), -1) if code else -1  # Rockchip's spelling
    closed = closed_node() if known in (-1, -3) else ""
    if closed:
        return DeviceError(closed)
    if code:
        return device_error(path, "rknn_init", known)
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return DeviceError(f"{path}: the NPU could not be opened ({lines[-1] if lines else 'no reason given'}): {DOCTOR}")


def closed_node(root: Path = Path("/")) -> str:
    """What to do where this user may not open the NPU's device node; empty where nothing forbids it."""
    renders = sorted(root.glob("dev/dri/renderD*"))
    # The GPU has a render node too, with a number that varies. Kernels that do not tell them apart: any of them.
    nodes = [node for node in renders if _driver(root, node) == "RKNPU"] or renders
    closed = next(filter(_forbidden, [*nodes, *root.glob("dev/rknpu")]), None)
    if closed is None:
        return ""
    try:
        group = closed.group()
    except KeyError:  # a number without a name, as in containers
        group = str(closed.stat().st_gid)
    return (
        f"no permission to use the NPU ({closed}, group {group}): sudo usermod -aG {group} $USER, then log in again "
        "(`rkface doctor --fix` offers it)"
    )


def _driver(root: Path, node: Path) -> str:
    try:
        event = (root / "sys/class/drm" / node.name / "device/uevent").read_text()
    except OSError:
        return ""
    return next((line[7:] for line in event.splitlines() if line.startswith("DRIVER=")), "")


def _forbidden(node: Path) -> bool:
    try:
        os.close(os.open(node, os.O_RDWR))
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def device_error(path: Path, call: str, code: int) -> DeviceError:
    """The error behind a call of librknnrt that returned ``code``."""
    name, fix = CODES.get(code, ("unknown error", DOCTOR))
    return DeviceError(f"{path}: {call} failed, {name} ({code}): {fix}")
