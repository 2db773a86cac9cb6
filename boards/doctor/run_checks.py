"""All of doctor's checks in their order, and the entry point of the copy that is sent to a board (remote.py)."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from rkface.runtime.core.installed import LIBRARIES, library_version
from rkface.runtime.core.soc import read_cores, read_soc

from . import checks_cameras, checks_machine, checks_nodes, checks_npu, checks_software
from .checks_software import BundleNeeds
from .probe import Probe
from .report import CheckResult, DoctorReport

MOST_LOG = 20  # lines of the kernel's log about the NPU: a hung job writes 4


def run_checks(probe: Probe, needs: BundleNeeds | None = None) -> DoctorReport:
    """Run all checks on ``probe``'s machine; nothing is changed.

    If rkface has no NPU runtime for the chip, the checks that depend on the NPU are left out: the first check has
    already said so.
    """
    needs = needs or BundleNeeds()
    soc, python = read_soc(probe.root), probe.python()
    checks: list[Callable[[Probe], CheckResult]] = [checks_npu.check_board]
    if soc:
        checks += [checks_npu.check_kernel, checks_npu.check_driver, checks_nodes.check_device_nodes]
        checks.append(partial(checks_software.check_library, needs=needs))
    checks.append(partial(checks_software.check_python, facts=python))
    if soc:
        checks.append(partial(checks_software.check_binding, facts=python, needs=needs))
        checks += [partial(checks_machine.check_clock, name=name) for name in checks_machine.CLOCKS]
    checks += [checks_machine.check_memory, checks_machine.check_temperature, checks_cameras.check_cameras]
    if soc:
        checks += [checks_cameras.check_video, checks_cameras.check_rga]
    checks += [checks_machine.check_time, checks_machine.check_disk]
    if needs.target:
        checks.append(partial(checks_software.check_bundle_target, needs=needs))
    return DoctorReport(
        tuple(check(probe) for check in checks),
        read_facts(probe, python),
        checks_machine.offered_fixes(probe) if soc else (),
    )


def read_facts(probe: Probe, python: Mapping[str, Any]) -> dict[str, str]:
    """What ``DoctorReport.facts`` says about ``probe``'s machine."""
    system = re.search(r'^PRETTY_NAME="?([^"\n]*)', probe.text("etc/os-release"), re.MULTILINE)
    log = [line for line in (probe.command("dmesg") or "").splitlines() if "rknpu" in line.lower()]
    library = next(filter(probe.exists, LIBRARIES), "")
    return {
        "soc": read_soc(probe.root) or "",
        "cores": str(read_cores(probe.root)),
        "model": probe.text("proc/device-tree/model"),
        "compatible": probe.text("proc/device-tree/compatible").replace("\0", " "),
        "machine": (probe.command("uname", "-m") or "").strip(),
        "system": system[1] if system else "",
        "kernel": probe.text("proc/sys/kernel/osrelease"),
        "driver": ".".join(map(str, checks_npu.driver_version(probe))),
        "driver_log": "\n".join(log[-MOST_LOG:]),
        "python": python.get("version", ""),
        "rknnlite": python.get("lite") or "",
        "librknnrt": library,
        "librknnrt_version": library_version(probe.content(library)) if library else "",
        "user": probe.user(),
    }


def main(arguments: Sequence[str]) -> int:
    """On the board, where rkface is not installed: print the report as JSON."""
    parser = argparse.ArgumentParser(prog="doctor")
    parser.add_argument("--target", default="")
    parser.add_argument("--toolkit", default="")
    parser.add_argument("--oldest", default="")
    options = parser.parse_args(arguments)
    print(run_checks(Probe(), BundleNeeds(options.target, options.toolkit, options.oldest)).to_json())
    sys.stdout.flush()
    return 0
