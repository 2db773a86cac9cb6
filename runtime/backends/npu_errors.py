"""Errors of the NPU in words, and how to fix them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..core.device_access import access_fix, needs_rules, npu_node_names, read_node
from ..core.errors import DeviceError
from ..core.installed import runtime_library
from ..core.rknn_file import read_model_format
from ..core.versions import MODEL_FORMATS, TOOLKIT, library_source, version_numbers

LIBRARY = "/usr/lib/librknnrt.so"
DOCTOR = "`rkface doctor` checks the board"

HANGS = (
    "the NPU did not answer in time: see `sudo dmesg | grep -i rknpu`; drivers before 0.9.6 hang when several cores "
    "work at the same time; a reboot helps"
)

# The error codes of rknn_api.h: their names, and what to do.
CODES = {
    -1: ("FAIL", f"see `sudo dmesg | grep -i rknpu`; {DOCTOR}"),
    -2: ("TIMEOUT", HANGS),
    -3: ("DEVICE_UNAVAILABLE", f"the NPU or its driver is gone: see `sudo dmesg | grep -i rknpu`; {DOCTOR}"),
    -4: ("MALLOC_FAIL", "no memory is left for the NPU (CMA): stop other NPU programs, or give the kernel more CMA"),
    -5: ("PARAM_INVALID", f"librknnrt and rknn-toolkit-lite2 have different versions: install {TOOLKIT} of both"),
    -6: (
        "MODEL_INVALID",
        f"librknnrt cannot read the model: it is older than the toolkit that made it, or the file is damaged; {DOCTOR}",
    ),
    -7: ("CTX_INVALID", "the model was closed, or the driver was restarted: open the model again"),
    -8: ("INPUT_INVALID", "the model's input is not what its manifest says: convert again"),
    -9: ("OUTPUT_INVALID", "the model's outputs are not what its manifest says: convert again"),
    -10: ("DEVICE_UNMATCH", f"driver and librknnrt are not compatible: update both; {DOCTOR}"),
    -11: ("INCOMPATIBLE_PRE_COMPILE_MODEL", "the model was made for an older driver: convert again"),
    -12: ("INCOMPATIBLE_OPTIMIZATION_LEVEL_VERSION", "the model was made for another driver: convert again, or update"),
    -13: ("TARGET_PLATFORM_UNMATCH", "the model was made for another chip: convert again with --target CHIP"),
    -14: ("KEY_INVALID", "the model is encrypted with another key: rkface does not encrypt models, convert again"),
    -15: ("DECRYPT_FAILED", "the model is encrypted or damaged: rkface does not encrypt models, convert again"),
    -16: ("SOC_BIND_FAILED", "the model is bound to one particular chip, which is another one: convert again"),
}
NAMES = {name: code for code, (name, _) in CODES.items()}


def open_error(path: Path, log: str) -> DeviceError:
    """The error that made ``init_runtime`` of rknn-toolkit-lite2 fail, from what it logged."""
    code = re.search(r"error code: RKNN_ERR_(\w+)", log)
    if "Can not find dynamic library" in log:
        return missing_library()
    broken = re.search(r"^OSError: (.*)$", log, re.MULTILINE)
    if broken:
        return broken_library(broken[1])
    if "set npu core mode" in log:
        return refused_cores(path)
    if code:
        known = NAMES.get(code[1].replace("INCOMPATILE", "INCOMPATIBLE"), -1)  # Rockchip misspells it
        return unopened(path, known)
    closed = closed_node()
    if closed:
        return DeviceError(closed)
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return DeviceError(f"{path}: the NPU could not be opened ({lines[-1] if lines else 'no reason given'}): {DOCTOR}")


def unopened(path: Path, code: int) -> DeviceError:
    """The error for ``rknn_init`` that returned ``code``."""
    cause = old_library(path) if code in (-1, -6) else ""
    if not cause and code in (-1, -3):
        cause = closed_node() or missing_node()
    return DeviceError(cause) if cause else device_error(path, "rknn_init", code)


def old_library(path: Path, root: Path = Path("/")) -> str:
    """What to do if the librknnrt of this machine is too old for the file format of the model at ``path``; it only says
    FAIL then (airockchip/rknn-toolkit2 #281). "" if it is not."""
    found = runtime_library(root)
    needed = MODEL_FORMATS.get(read_model_format(path), TOOLKIT)
    if found is None or not found[1] or version_numbers(found[1]) >= version_numbers(needed):
        return ""
    return (
        f"librknnrt {found[1]} ({found[0]}) is too old for {path}, which needs {needed} or newer: {DOCTOR}, and says "
        "where newer ones are"
    )


def missing_library() -> DeviceError:
    """The error if there is no librknnrt."""
    return DeviceError(
        f"librknnrt is not installed: copy librknnrt.so of toolkit {TOOLKIT} to {LIBRARY}, from "
        f"{library_source(TOOLKIT)}; {DOCTOR}, and names older ones that will do"
    )


def broken_library(reason: str) -> DeviceError:
    """The error if librknnrt cannot be loaded, for the ``reason`` that the system gives."""
    return DeviceError(f"librknnrt cannot be loaded ({reason}): {LIBRARY} is damaged or not for aarch64: copy it again")


def refused_cores(path: Path) -> DeviceError:
    """The error if librknnrt refuses the cores that a model was to run on."""
    return DeviceError(f"{path}: the NPU refuses the requested core: update driver and librknnrt; {DOCTOR}")


def closed_node(root: Path = Path("/")) -> str:
    """What to do if this user has no permission to open the NPU's device nodes; "" if the permissions are right."""
    # If the kernel does not name the drivers, check all nodes.
    named = [root / name.lstrip("/") for name in npu_node_names(root)]
    nodes = [node for node in named if node.exists()] or sorted(root.glob("dev/dri/*"))
    closed = [node for node in map(read_node, filter(_forbidden, nodes)) if node]
    if not closed:
        return ""
    which = ", ".join(f"{node.path}, group {node.group}" for node in closed)
    if needs_rules(closed):
        return f"no permission to use the NPU ({which}): `rkface doctor` prints udev rules that give it to a group"
    return f"no permission to use the NPU ({which}): {access_fix(closed, '$USER')}"


def missing_node(root: Path = Path("/")) -> str:
    """What to do if there is no device node that could be the NPU's; "" if there is one."""
    if any((root / "dev").glob("dri/*")) or (root / "dev/rknpu").exists():
        return ""
    return (
        "there is no device node of the NPU: its driver is missing, the device tree switches the NPU off, or this "
        f"container does not have it: {DOCTOR}, and says which"
    )


def _forbidden(node: Path) -> bool:
    try:
        os.close(os.open(node, os.O_RDWR))
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def device_error(path: Path, call: str, code: int) -> DeviceError:
    """The error for a function of librknnrt, ``call``, that returned ``code``."""
    name, fix = CODES.get(code, ("unknown error", DOCTOR))
    if (call, code) == ("rknn_run", -1):
        # The kernel's driver gives up after 6 s, and librknnrt then prints "failed to submit!" and returns FAIL, not
        # TIMEOUT (radxa/kernel #312, airockchip/rknn-toolkit2 #38).
        fix = HANGS
    return DeviceError(f"{path}: {call} failed, {name} ({code}): {fix}")
