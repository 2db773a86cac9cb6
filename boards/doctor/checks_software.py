"""Doctor's checks of the software that the NPU needs: librknnrt, Python and its binding, and a bundle that fits.

This file is sent to boards (remote.py): standard library only, syntax of Python 3.8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rkface.runtime.core.installed import LIBRARIES, library_version
from rkface.runtime.core.npu_binding import CHOICE, DIRECT, LITE, container_problem
from rkface.runtime.core.soc import read_soc
from rkface.runtime.core.versions import (
    MODEL_FORMATS,
    PUBLIC_LIBRARY,
    PYTHON_NEWEST,
    PYTHON_OLDEST,
    TOOLKIT,
    TOOLKIT_PYTHON_NEWEST,
    library_source,
    version_numbers,
)

from .probe import Probe
from .report import FAIL, OK, WARN, CheckResult

LIBRARY = LIBRARIES[-1]
OLDEST_LIBRARY = MODEL_FORMATS[max(MODEL_FORMATS)]  # for the models of the toolkits that rkface supports
AARCH64 = 183  # ELF e_machine (Arm's ELF for the Arm 64-bit Architecture)
OLDEST, NEWEST = (".".join(map(str, version)) for version in (PYTHON_OLDEST, PYTHON_NEWEST))


@dataclass(frozen=True)
class BundleNeeds:
    """What a bundle needs from a board. Empty strings mean that no bundle was given.

    target   the chip that it was converted for
    toolkit  version of rknn-toolkit2 that made it
    oldest   oldest librknnrt that loads the file format of its models
    """

    target: str = ""
    toolkit: str = ""
    oldest: str = ""


def check_library(probe: Probe, needs: BundleNeeds) -> CheckResult:
    """Whether librknnrt is installed, is a library for this processor, and loads the models."""
    get = library_fix(needs)
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
    verdict, found = compare_library(version, needs)
    return CheckResult("librknnrt", verdict, f"{name} {version}{found}", "" if verdict == OK else get)


def compare_library(version: str, needs: BundleNeeds) -> tuple[str, str]:
    """The verdict on a librknnrt of this ``version``, and what to say after the version."""
    toolkit, oldest = needs.toolkit or TOOLKIT, needs.oldest or OLDEST_LIBRARY
    installed, required = version_numbers(version), version_numbers(toolkit)
    reason = f"the bundle was made with toolkit {toolkit}" if needs.toolkit else f"this rkface converts with {toolkit}"
    if installed < version_numbers(oldest):
        return FAIL, f" does not load the models: {reason}, whose files need {oldest} or newer"
    if installed < required:
        return WARN, f" is older, but loads the same file format; {reason}: `rkface selftest` decides"
    if installed > required:
        return WARN, f" is newer: {reason}; it may compute differently, and `rkface selftest` decides"
    return OK, ""


def library_fix(needs: BundleNeeds) -> str:
    """How to install a librknnrt that runs the bundle."""
    toolkit, oldest = needs.toolkit or TOOLKIT, needs.oldest or OLDEST_LIBRARY
    sources = f"{toolkit} from {library_source(toolkit)}"
    public = version_numbers(PUBLIC_LIBRARY)
    if version_numbers(oldest) <= public < version_numbers(toolkit):
        sources += f"; or {PUBLIC_LIBRARY}, which loads the same file format, from {library_source(PUBLIC_LIBRARY)}"
    return (
        f"download librknnrt {sources}. Then: sudo cp librknnrt.so {LIBRARY}, or from the workstation: "
        "rkface deploy --prepare --librknnrt FILE"
    )


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
    """Whether what rkface needs has wheels for this Python."""
    version, platform = facts.get("version", "unknown"), facts.get("platform", "unknown")
    found = f"Python {version}, {platform} (wheels: cp{''.join(map(str, version_numbers(version)[:2]))})"
    if read_soc(probe.root) is not None and not platform.endswith("aarch64"):
        return CheckResult(
            "Python", FAIL, f"{found}: librknnrt is for 64-bit Arm only", "install a 64-bit (arm64) image"
        )
    if not PYTHON_OLDEST <= version_numbers(version)[:2] <= PYTHON_NEWEST:
        return CheckResult(
            "Python",
            FAIL,
            f"{found}: rkface needs {OLDEST} to {NEWEST}",
            "also install another Python (Debian 12 and 13, and Ubuntu from 22.04 have one; else: uv python install "
            "3.12)",
        )
    return CheckResult("Python", OK, found)


def check_binding(probe: Probe, facts: dict[str, Any], needs: BundleNeeds) -> CheckResult:
    """What opens models on the NPU with this Python: rknn-toolkit-lite2, if it fits the models, or rkface itself."""
    wanted, why, toolkit = facts.get("wanted", ""), why_direct(probe, facts), needs.toolkit or TOOLKIT
    install = f"pip install {LITE}=={toolkit}"
    if wanted not in ("", LITE, DIRECT):
        fix = f"set it to {LITE} or {DIRECT}, or unset it"
        return CheckResult("NPU binding", FAIL, f"{CHOICE} is {wanted!r}", fix)
    if why and wanted == LITE:
        found = f"{CHOICE} asks for {LITE}, but {why}"
        return CheckResult("NPU binding", FAIL, found, f"unset {CHOICE}, or {install}")
    if why and facts.get("error") and not wanted:
        fix = install.replace("install", "install --force-reinstall")
        return CheckResult("NPU binding", WARN, f"direct: {why}", fix)
    if why:
        return CheckResult("NPU binding", OK, f"direct: {why}")
    found = f"{LITE} {facts['lite']}"
    if version_numbers(facts["lite"]) != version_numbers(toolkit):
        return CheckResult("NPU binding", WARN, f"{found}, but the models were made with toolkit {toolkit}", install)
    return CheckResult("NPU binding", OK, found)


def why_direct(probe: Probe, facts: dict[str, Any]) -> str:
    """Why rkface opens models itself; empty if it uses rknn-toolkit-lite2.

    It decides like ``find_binding`` of runtime/backends, which cannot be sent to a board.
    """
    wanted, installed, python = facts.get("wanted"), facts.get("lite"), version_numbers(facts.get("version", ""))[:2]
    if wanted == DIRECT:
        return f"{CHOICE} asks for it"
    if facts.get("error"):
        return f"{LITE} {installed or ''} does not import: {facts['error']}"
    if not installed and python > TOOLKIT_PYTHON_NEWEST:
        return f"{LITE} has no wheel for Python {'.'.join(map(str, python))}"
    if not installed:
        return f"{LITE} is not installed (a deploy installs it)"
    return "" if wanted else container_problem(probe.exists)


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
