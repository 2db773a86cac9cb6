"""Doctor's checks of the rest of a board: clocks and governors, memory, heat, cameras, video, time, disk."""

from __future__ import annotations

from .checks_npu import joinable, npu_nodes
from .probe import Node, Probe
from .report import FAIL, OK, WARN, Line, Repair

CLOCKS = {  # name → the folders of /sys that govern it
    "CPU clock": "sys/devices/system/cpu/cpufreq/policy*",
    "NPU clock": "sys/class/devfreq/*.npu",  # fdab0000.npu on RK3588, fde40000 on RK356x, 27700000 on RK3576, …
    "DDR clock": "sys/class/devfreq/dmc",
}
SLOW = ("powersave", "userspace")
MEMORY_LEAST, MEMORY_GOOD = 512, 1024  # MiB free: a context of w600k_r50 alone holds its 45 MB of weights, per core
CMA_LEAST = 16  # MiB free; camera and RGA buffers come out of it
HOT = 85_000  # m°C, where a zone names no trip point of its own: the RK3588 device tree's passive trip
DISK_LEAST, DISK_GOOD = 0.5, 2.0  # GiB free: one release with its Python packages, and the three that deploy keeps
OLDEST = 2025  # a clock before this year was never set


def clock(probe: Probe, name: str) -> Line:
    policies = probe.glob(CLOCKS[name])
    if not policies:
        return Line(name, OK, "not under the kernel's control here")
    states = [_policy(probe, policy) for policy in policies]
    governors = sorted({governor for governor, _, _ in states})
    now = "/".join(sorted({f"{current}" for _, current, _ in states}, key=int))
    found = f"{', '.join(governors)}, {now} MHz now"
    capped = any(limited for _, _, limited in states)
    if capped or any(governor in SLOW for governor in governors):
        if capped:
            return Line(
                name,
                WARN,
                f"{found}, capped below the hardware's highest",
                "heat or a setting (cpufrequtils, tuned) limits it; --fix sets the governor only",
            )
        return Line(name, WARN, f"{found}: held low", "rkface doctor --fix sets governor performance until reboot")
    if governors != ["performance"]:
        found += " (varies with load: lock it with --fix before measuring)"
    return Line(name, OK, found)


def _policy(probe: Probe, folder: str) -> tuple[str, int, bool]:
    """Governor, MHz now, and whether the highest allowed frequency is below the hardware's. cpufreq counts in kHz,
    devfreq in Hz."""
    if "cpufreq" in folder:
        current = probe.number(f"{folder}/scaling_cur_freq") or 0
        limit, most = probe.number(f"{folder}/scaling_max_freq"), probe.number(f"{folder}/cpuinfo_max_freq")
        return probe.text(f"{folder}/scaling_governor") or "unknown", current // 1000, (limit or 0) < (most or 0)
    current, limit = probe.number(f"{folder}/cur_freq") or 0, probe.number(f"{folder}/max_freq")
    most = max(map(int, probe.text(f"{folder}/available_frequencies").split()), default=0)
    return probe.text(f"{folder}/governor") or "unknown", current // 1_000_000, limit is not None and limit < most


def memory(probe: Probe) -> Line:
    kib = {}
    for row in probe.text("proc/meminfo").splitlines():
        key, _, rest = row.partition(":")
        kib[key] = int((rest.split() or ["0"])[0])
    total, free = kib.get("MemTotal", 0) // 1024, kib.get("MemAvailable", 0) // 1024
    cma, cma_free = kib.get("CmaTotal", 0) // 1024, kib.get("CmaFree", 0) // 1024
    found = f"{free} of {total} MiB available" + (f", CMA {cma_free} of {cma} MiB free" if cma else "")
    if free < MEMORY_LEAST:
        return Line("memory", FAIL, found, "stop what else runs, or use a board with more memory")
    if free < MEMORY_GOOD:
        return Line("memory", WARN, found, "one NPU context a model only, or a smaller recognizer (w600k_mbf)")
    if cma and cma_free < CMA_LEAST:
        return Line("memory", WARN, f"{found}: too little for cameras", "add cma=256M to the kernel's command line")
    return Line("memory", OK, found)


def temperature(probe: Probe) -> Line:
    zones = []
    for folder in probe.glob("sys/class/thermal/thermal_zone*"):
        degrees = probe.number(f"{folder}/temp")
        if degrees is not None:
            trips = [
                probe.number(kind.replace("_type", "_temp")) or HOT
                for kind in probe.glob(f"{folder}/trip_point_*_type")
                if probe.text(kind) == "passive"
            ]
            # The last passive trip is the one that throttles; an earlier one only wakes the governor (RK3588: 75, 85).
            zones.append((degrees, max(trips, default=HOT), probe.text(f"{folder}/type")))
    if not zones:
        return Line("heat", OK, "no sensor to read")
    degrees, trip, name = max(zones)
    found = f"{degrees / 1000:.0f} °C at the hottest ({name}), throttles at {trip / 1000:.0f} °C"
    throttled = any(degrees >= trip for degrees, trip, _ in zones)
    return Line("heat", WARN, found, "a heat sink or fan") if throttled else Line("heat", OK, found)


def closed_cameras(probe: Probe) -> list[Node]:
    user, groups = probe.user(), probe.groups()
    nodes = filter(None, map(probe.node, probe.glob("dev/video*")))
    return [node for node in nodes if not node.usable(user, groups)]


def cameras(probe: Probe) -> Line:
    closed, found = closed_cameras(probe), probe.cameras()
    if closed:
        return Line(
            "cameras",
            WARN,
            f"{probe.user()} may not use {', '.join(map(str, closed[:3]))}",
            f"sudo usermod -aG {','.join(joinable(closed) or ['video'])} {probe.user()}, then log in again",
        )
    if not found:
        return Line(
            "cameras", WARN, "none", "plug one in, or enable its overlay (MIPI); RTSP streams and files need none"
        )
    told = [f"{one.node} {one.name}: {', '.join(map(str, one.formats[:4]))}" for one in found]
    return Line("cameras", OK, "; ".join(told))


def video(probe: Probe) -> Line:
    answer = probe.command("gst-inspect-1.0", "rockchipmpp")
    mpp = probe.node("/dev/mpp_service")
    if answer is None:
        return Line(
            "video",
            WARN,
            "no GStreamer: H.264 and H.265 are decoded on the CPU",
            "sudo apt install gstreamer1.0-tools gstreamer1.0-plugins-good",
        )
    if "mppvideodec" not in answer:
        return Line(
            "video",
            WARN,
            "GStreamer without Rockchip's MPP: H.264 and H.265 are decoded on the CPU",
            "install gstreamer1.0-rockchip1 from the board maker's packages",
        )
    if mpp is None or not mpp.usable(probe.user(), probe.groups()):
        cause = f"{probe.user()} may not use {mpp}" if mpp else "/dev/mpp_service is missing"
        return Line(
            "video",
            WARN,
            f"GStreamer's MPP plugin is there, but {cause}",
            f"sudo usermod -aG {mpp.group} {probe.user()}, then log in again"
            if mpp
            else "use the vendor kernel; in a container pass /dev/mpp_service on",
        )
    return Line("video", OK, "GStreamer with mppvideodec, /dev/mpp_service open")


def rga(probe: Probe) -> Line:
    node = probe.node("/dev/rga")
    if node is None:
        return Line("RGA", WARN, "no /dev/rga: pictures are scaled on the CPU", "use the vendor kernel")
    if not node.usable(probe.user(), probe.groups()):
        return Line("RGA", WARN, f"{probe.user()} may not use {node}", f"sudo usermod -aG {node.group} {probe.user()}")
    return Line("RGA", OK, "/dev/rga open")


def time(probe: Probe) -> Line:
    date = (probe.command("date", "+%Y-%m-%d %H:%M %Z") or "").strip()
    synced = (probe.command("timedatectl", "show", "--property=NTPSynchronized", "--value") or "").strip()
    fix = "sudo timedatectl set-ntp true, and let the board reach a time server"
    if not date[:4].isdigit() or int(date[:4]) < OLDEST:
        return Line("clock", FAIL, f"{date or 'unknown'}: never set; events would carry wrong times", fix)
    if synced == "no":
        return Line("clock", WARN, f"{date}, not synchronized", fix)
    return Line("clock", OK, date + (", synchronized" if synced == "yes" else ""))


def disk(probe: Probe) -> Line:
    rows = (probe.command("df", "-Pk", "/") or "").splitlines()
    fields = rows[-1].split() if len(rows) > 1 else []
    if len(fields) < 6 or not fields[3].isdigit():
        return Line("disk", WARN, "free space unknown", "see `df -h /`: a release takes about 0.5 GiB")
    free = int(fields[3]) / 2**20
    found = f"{free:.1f} of {int(fields[1]) / 2**20:.1f} GiB free"
    if free < DISK_GOOD:
        return Line("disk", FAIL if free < DISK_LEAST else WARN, found, "make room: sudo apt clean, or a larger card")
    return Line("disk", OK, found)


def repairs(probe: Probe) -> tuple[Repair, ...]:
    """What ``--fix`` offers: governors and groups, nothing else."""
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
            offers.append(Repair(f"{name}: governor performance, until the next boot", (*sudo, "sh", "-c", script)))
    user, groups = probe.user(), probe.groups()
    closed = [node for node in npu_nodes(probe) if not node.usable(user, groups)] + closed_cameras(probe)
    if joinable(closed):
        names = ",".join(joinable(closed))
        offers.append(Repair(f"{user} joins {names}, from the next login on", (*sudo, "usermod", "-aG", names, user)))
    return tuple(offers)
