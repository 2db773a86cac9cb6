"""Doctor's checks of the software that the NPU needs: librknnrt, Python and its binding, and a bundle that fits.

This file is sent to boards (remote.py): standard library only, syntax of Python 3.8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rkface.runtime.core.installed import LIBRARIES, library_version
from rkface.runtime.core.soc import read_soc
from rkface.runtime.core.versions import (
    MODEL_FORMATS,
    PUBLIC_LIBRARY,
    PYTHON_NEWEST,
    PYTHON_OLDEST,
    TOOLKIT,
    library_source,
    version_numbers,
)

from .probe import Probe
from .report import FAIL, OK, WARN, CheckResult

LIBRARY = LIBRARIES[-1]
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
    toolkit, oldest = needs.toolkit or TOOLKIT, needs.oldest or MODEL_FORMATS[max(MODEL_FORMATS)]
    get = library_fix(toolkit, oldest)
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
    verdict, found = _compare_library(version, needs.toolkit, oldest)
    return CheckResult("librknnrt", verdict, f"{name} {version}{found}", "" if verdict == OK else get)


def _compare_library(version: str, made_with: str, oldest: str) -> tuple[str, str]:
    """The verdict on an installed librknnrt ``version``, and the reason for it."""
    toolkit = made_with or TOOLKIT
    installed, required = version_numbers(version), version_numbers(toolkit)
    reason = f"the bundle was made with toolkit {toolkit}" if made_with else f"this rkface converts with {toolkit}"
    if installed < version_numbers(oldest):
        return FAIL, f" does not load the models: {reason}, whose files need {oldest} or newer"
    if installed < required:
        return WARN, f" is older, but loads the same file format; {reason}: `rkface selftest` decides"
    if installed > required:
        return WARN, f" is newer: {reason}; it may compute differently, and `rkface selftest` decides"
    return OK, ""


def library_fix(toolkit: str, oldest: str) -> str:
    """How to install a librknnrt for models of ``toolkit`` whose file format needs ``oldest`` or newer."""
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
