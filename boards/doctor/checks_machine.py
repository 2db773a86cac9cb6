"""Doctor's checks of the rest of a board: clocks and governors, memory, heat, time, disk; and the fixes it offers.

This file is sent to boards (remote.py): standard library only, syntax of Python 3.8.
"""

from __future__ import annotations

from rkface.runtime.core.device_access import RELOAD, RULE_GROUPS, RULES_FILE, UDEV_RULES, joinable_groups, needs_rules
from rkface.runtime.core.ffmpeg import MPP_NODES

from .checks_cameras import RGA, inaccessible_cameras
from .checks_nodes import npu_nodes
from .probe import Probe
from .report import FAIL, OK, WARN, CheckResult, FixCommand

CLOCKS = {  # name of the check → the folders of /sys with its governor
    "CPU clock": "sys/devices/system/cpu/cpufreq/policy*",
    "NPU clock": "sys/class/devfreq/*.npu",  # fdab0000.npu on RK3588, fde40000 on RK356x, 27700000 on RK3576, …
    "DDR clock": "sys/class/devfreq/dmc",
}
SLOW_GOVERNORS = ("powersave", "userspace")
IDLE_CLOCK = 300  # MHz at which the NPU of a ROCK 4D idles (radxa/kernel #432); that of a ROCK 5B stays at 1000
MEMORY_MINIMUM, MEMORY_GOOD = 512, 1024  # MiB free; we chose both. The NPU cores share the weights (w600k_r50: 43 MB)
LESS_MEMORY = "stop other programs, or use a smaller recognizer (w600k_mbf); fewer NPU cores save little memory"
CMA_MINIMUM = 16  # MiB free; the buffers of cameras and RGA are allocated from it
DEFAULT_TRIP = 85_000  # m°C, for zones without a trip point: the passive trip point in the RK3588 device tree
DISK_MINIMUM, DISK_GOOD = 0.5, 2.0  # GiB free: for one release with its Python packages, and for the three that stay
OLDEST_YEAR = 2025  # a clock that shows an earlier year was never set


def check_clock(probe: Probe, name: str) -> CheckResult:
    """Whether the clock ``name`` of CLOCKS may run at its highest frequency."""
    policies = probe.glob(CLOCKS[name])
    if not policies:
        return CheckResult(name, OK, "this kernel does not control it")
    states = [_policy(probe, policy) for policy in policies]
    governors = sorted({governor for governor, _, _ in states})
    clocks = sorted({current for _, current, _ in states if current})  # 0: unknown
    found = ", ".join(governors) + (f", {'/'.join(map(str, clocks))} MHz now" if clocks else "")
    capped = any(limited for _, _, limited in states)
    if capped or any(governor in SLOW_GOVERNORS for governor in governors):
        if capped:
            return CheckResult(
                name,
                WARN,
                f"{found}, limited below the highest frequency of the hardware",
                "heat or a setting (cpufrequtils, tuned) limits it; --fix only sets the governor",
            )
        return CheckResult(
            name, WARN, f"{found}: a slow governor", "rkface doctor --fix sets the governor to performance until reboot"
        )
    if name == "NPU clock" and governors != ["performance"] and clocks and clocks[0] <= IDLE_CLOCK:
        return CheckResult(
            name,
            WARN,
            f"{found}: it idles slowly, so the first inferences after a pause take longer",
            "rkface doctor --fix sets the governor to performance until reboot",
        )
    if governors != ["performance"]:
        found += " (varies with load: use --fix before you measure speed)"
    return CheckResult(name, OK, found)


def _policy(probe: Probe, folder: str) -> tuple[str, int, bool]:
    """The governor, the frequency now in MHz (0 if it cannot be read), and whether the allowed maximum is below the
    maximum of the hardware.

    cpufreq counts in kHz, devfreq in Hz.
    """
    if "cpufreq" in folder:
        current = probe.number(f"{folder}/scaling_cur_freq") or 0
        limit, most = probe.number(f"{folder}/scaling_max_freq"), probe.number(f"{folder}/cpuinfo_max_freq")
        return probe.text(f"{folder}/scaling_governor") or "unknown", current // 1000, (limit or 0) < (most or 0)
    current, limit = probe.number(f"{folder}/cur_freq") or 0, probe.number(f"{folder}/max_freq")
    most = max(map(int, probe.text(f"{folder}/available_frequencies").split()), default=0)
    return probe.text(f"{folder}/governor") or "unknown", current // 1_000_000, limit is not None and limit < most


def check_memory(probe: Probe) -> CheckResult:
    """Whether enough memory is available, and enough CMA (contiguous memory for devices)."""
    kib = {}
    for row in probe.text("proc/meminfo").splitlines():
        key, _, rest = row.partition(":")
        kib[key] = int((rest.split() or ["0"])[0])
    total, free = kib.get("MemTotal", 0) // 1024, kib.get("MemAvailable", 0) // 1024
    cma, cma_free = kib.get("CmaTotal", 0) // 1024, kib.get("CmaFree", 0) // 1024
    found = f"{free} of {total} MiB available" + (f", CMA {cma_free} of {cma} MiB free" if cma else "")
    if free < MEMORY_MINIMUM:
        return CheckResult("memory", FAIL, found, "stop other programs, or use a board with more memory")
    if free < MEMORY_GOOD:
        return CheckResult("memory", WARN, found, LESS_MEMORY)
    if cma and cma_free < CMA_MINIMUM:
        return CheckResult(
            "memory", WARN, f"{found}: too little for cameras", "add cma=256M to the kernel command line"
        )
    return CheckResult("memory", OK, found)


def check_temperature(probe: Probe) -> CheckResult:
    """Whether a thermal zone has reached the temperature at which the kernel reduces frequencies."""
    zones = []
    for folder in probe.glob("sys/class/thermal/thermal_zone*"):
        degrees = probe.number(f"{folder}/temp")
        if degrees is not None:
            trips = [
                probe.number(kind.replace("_type", "_temp")) or DEFAULT_TRIP
                for kind in probe.glob(f"{folder}/trip_point_*_type")
                if probe.text(kind) == "passive"
            ]
            # The highest passive trip point throttles; a lower one only starts the governor (RK3588: 75 and 85 °C).
            zones.append((degrees, max(trips, default=DEFAULT_TRIP), probe.text(f"{folder}/type")))
    if not zones:
        return CheckResult("heat", OK, "no temperature sensor")
    degrees, trip, name = max(zones)
    found = f"{degrees / 1000:.0f} °C in the hottest zone ({name}), throttles at {trip / 1000:.0f} °C"
    throttled = any(degrees >= trip for degrees, trip, _ in zones)
    return CheckResult("heat", WARN, found, "add a heat sink or a fan") if throttled else CheckResult("heat", OK, found)


def check_time(probe: Probe) -> CheckResult:
    """Whether the clock is set and synchronized."""
    date = (probe.command("date", "+%Y-%m-%d %H:%M %Z") or "").strip()
    synced = (probe.command("timedatectl", "show", "--property=NTPSynchronized", "--value") or "").strip()
    fix = "sudo timedatectl set-ntp true; the board must be able to reach a time server"
    if not date[:4].isdigit() or int(date[:4]) < OLDEST_YEAR:
        return CheckResult(
            "clock", FAIL, f"{date or 'unknown'}: the clock was never set, so events would have wrong times", fix
        )
    if synced == "no":
        return CheckResult("clock", WARN, f"{date}, not synchronized", fix)
    return CheckResult("clock", OK, date + (", synchronized" if synced == "yes" else ""))


def check_disk(probe: Probe) -> CheckResult:
    """Whether the root file system has room for releases."""
    rows = (probe.command("df", "-Pk", "/") or "").splitlines()
    fields = rows[-1].split() if len(rows) > 1 else []
    if len(fields) < 6 or not fields[3].isdigit():
        return CheckResult("disk", WARN, "the free space is unknown", "run `df -h /`: a release needs about 0.5 GiB")
    free = int(fields[3]) / 2**20
    found = f"{free:.1f} of {int(fields[1]) / 2**20:.1f} GiB free"
    if free < DISK_GOOD:
        return CheckResult(
            "disk",
            FAIL if free < DISK_MINIMUM else WARN,
            found,
            "free some space (sudo apt clean), or use a larger card",
        )
    return CheckResult("disk", OK, found)


def offered_fixes(probe: Probe) -> tuple[FixCommand, ...]:
    """The commands that ``--fix`` offers. They change governors, groups and rkface's udev rules, nothing else."""
    sudo = () if probe.user() == "root" else ("sudo",)
    offers = []
    for name, pattern in CLOCKS.items():
        files = []
        for folder in probe.glob(pattern):
            prefix = f"{folder}/scaling_" if "cpufreq" in folder else f"{folder}/"
            if "performance" in probe.text(f"{prefix}available_governors").split():
                files.append(f"{prefix}governor")
        slow = [file for file in files if probe.text(file) != "performance"]
        if slow:
            script = f"echo performance | tee {' '.join(slow)} > /dev/null"
            offers.append(
                FixCommand(f"{name}: sets the governor to performance until the next boot", (*sudo, "sh", "-c", script))
            )
    return (*offers, *_access_fixes(probe, sudo))


def _access_fixes(probe: Probe, sudo: tuple[str, ...]) -> list[FixCommand]:
    """Groups to join, and udev rules if a device of the NPU or the codecs belongs to no group that one could join."""
    user, groups = probe.user(), probe.groups()
    devices = [*npu_nodes(probe), *filter(None, map(probe.node, (*MPP_NODES, RGA)))]
    closed = [node for node in devices if not node.usable(user, groups)]
    names, offers = set(joinable_groups([*closed, *inaccessible_cameras(probe)])), []
    if needs_rules(closed):
        lines = " ".join('"{}"'.format(rule.replace('"', r"\"")) for rule in UDEV_RULES)
        script = f'printf "%s\\n" {lines} > {RULES_FILE} && {RELOAD}'
        why = f"writes udev rules that give NPU, RGA and codecs to the groups {' and '.join(RULE_GROUPS)}"
        offers.append(FixCommand(why, (*sudo, "sh", "-c", script)))
        names |= set(RULE_GROUPS) - set(groups)
    if names:
        why = f"adds {user} to {','.join(sorted(names))}; takes effect at the next login"
        offers.append(FixCommand(why, (*sudo, "usermod", "-aG", ",".join(sorted(names)), user)))
    return offers
