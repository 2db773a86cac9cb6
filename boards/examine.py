"""All of doctor's checks in their order, and the entry point of the copy that is sent to a board (remote.py)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial

from rkface.runtime.core.soc import CORES, read_soc

from . import checks_machine as machine
from . import checks_npu as npu
from .checks_npu import Need
from .probe import Probe
from .report import Line, Report


def examine(probe: Probe, need: Need | None = None) -> Report:
    """Look at everything, change nothing. Where the chip has no NPU that rkface runs on, what depends on it is left
    out: the first line then says all there is to say."""
    need = need or Need()
    soc, python = read_soc(probe.root), probe.python()
    checks: list[Callable[[Probe], Line]] = [npu.board]
    if soc:
        checks += [npu.kernel, npu.driver, npu.node, partial(npu.library, need=need)]
    checks.append(partial(npu.python, facts=python))
    if soc:
        checks += [lambda _: npu.binding(python, need), *(partial(machine.clock, name=name) for name in machine.CLOCKS)]
    checks += [machine.memory, machine.temperature, machine.cameras]
    if soc:
        checks += [machine.video, machine.rga]
    checks += [machine.time, machine.disk]
    if need.target:
        checks.append(partial(npu.fit, need=need))
    library = next(filter(probe.exists, npu.LIBRARIES), "")
    facts = {
        "soc": soc or "",
        "cores": str(CORES.get(soc or "", 0)),
        "model": probe.text("proc/device-tree/model"),
        "compatible": probe.text("proc/device-tree/compatible").replace("\0", " "),
        "machine": (probe.command("uname", "-m") or "").strip(),
        "python": python.get("version", ""),
        "librknnrt": library,
        "user": probe.user(),
    }
    return Report(tuple(check(probe) for check in checks), facts, machine.repairs(probe) if soc else ())


def main(arguments: Sequence[str]) -> int:
    """On the board, with nothing of rkface installed: print the report as JSON."""
    parser = argparse.ArgumentParser(prog="doctor")
    parser.add_argument("--target", default="")
    parser.add_argument("--toolkit", default="")
    options = parser.parse_args(arguments)
    print(examine(Probe(), Need(options.target, options.toolkit)).to_json())
    sys.stdout.flush()
    return 0
