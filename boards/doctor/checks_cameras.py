"""Doctor's checks of cameras, of video decoding and of RGA.

This file is sent to boards (remote.py): standard library only, syntax of Python 3.8.
"""

from __future__ import annotations

from rkface.runtime.core.device_access import DeviceNode, access_fix, joinable_groups
from rkface.runtime.core.ffmpeg import GET_FFMPEG, MPP_NODES, PROGRAMS, find_mpp_codecs

from .probe import Probe
from .report import OK, WARN, CheckResult
from .v4l2 import V4l2Camera

RGA = "/dev/rga"
# Rockchip's camera drivers list many nodes. Only the image processor's main path delivers pictures; its other nodes
# (rkisp_selfpath, statistics, parameters) and those of the receiver (rkcif: raw sensor data) are not for us.
MIPI_PICTURES = "rkisp_mainpath"
MIPI_DRIVERS = ("rkisp", "rkcif")
HDMI_DRIVER = "hdmirx"  # rk_hdmirx, snps_hdmirx: the HDMI input, /dev/video0 on an Orange Pi 5 Plus
# Exposure and white balance of MIPI cameras are computed by this program of Rockchip's camera-engine-rkaiq.
RKAIQ = "rkaiq_3A_server"


def inaccessible_cameras(probe: Probe) -> list[DeviceNode]:
    """The /dev/video* nodes that this user may not use."""
    user, groups = probe.user(), probe.groups()
    nodes = filter(None, map(probe.node, probe.glob("dev/video*")))
    return [node for node in nodes if not node.usable(user, groups)]


def check_cameras(probe: Probe) -> CheckResult:
    """Which cameras are connected, and whether this user may use them."""
    closed = inaccessible_cameras(probe)
    if closed:
        return CheckResult(
            "cameras",
            WARN,
            f"{probe.user()} may not use {', '.join(map(str, closed[:3]))}",
            f"sudo usermod -aG {','.join(joinable_groups(closed) or ['video'])} {probe.user()}, then log in again",
        )
    nodes = probe.cameras()
    hdmi = [node for node in nodes if HDMI_DRIVER in node.driver]
    mipi = [node for node in nodes if node.name == MIPI_PICTURES]
    others = [node for node in nodes if node not in hdmi and not node.driver.startswith(MIPI_DRIVERS)]
    shown = "; ".join(map(_describe, [*others, *mipi]))
    if hdmi:
        shown += f"{'; ' if shown else ''}{hdmi[0].node} is the HDMI input, not a camera"
    if not others and not mipi:
        return CheckResult(
            "cameras",
            WARN,
            f"none found{f'; {shown}' if shown else ''}",
            "connect one, or enable the overlay of a MIPI camera; RTSP streams and files need no camera",
        )
    if mipi and not _runs(probe, RKAIQ):
        installed = probe.exists(f"usr/bin/{RKAIQ}")
        return CheckResult(
            "cameras",
            WARN,
            f"{shown}; {RKAIQ} {'does not run' if installed else 'is not installed'}: without it, the pictures of "
            "MIPI cameras are green and dark",
            "sudo systemctl enable --now rkaiq_3A"
            if installed
            else "install camera-engine-rkaiq for this chip from the packages of the board maker",
        )
    return CheckResult("cameras", OK, shown)


def _describe(camera: V4l2Camera) -> str:
    return f"{camera.node} {camera.name}: {', '.join(map(str, camera.formats[:4]))}"


def _runs(probe: Probe, program: str) -> bool:
    return any(probe.text(name) == program for name in probe.glob("proc/[0-9]*/comm"))


def check_video(probe: Probe) -> CheckResult:
    """Whether rkface can decode H.264 and H.265 of RTSP cameras in hardware: an ffmpeg with Rockchip's MPP."""
    on_cpu = "the video of RTSP cameras is decoded on the CPU"
    offered = {program: _mpp_codecs(probe, program) for program in PROGRAMS}
    program, codecs = next(
        ((program, codecs) for program, codecs in offered.items() if codecs), (PROGRAMS[0], offered[PROGRAMS[0]])
    )
    if codecs is None:
        return CheckResult("video", WARN, f"ffmpeg is not installed: {on_cpu}", GET_FFMPEG)
    if not codecs:
        return CheckResult("video", WARN, f"this ffmpeg cannot use Rockchip's MPP: {on_cpu}", GET_FFMPEG)
    able = f"{program} can decode {', '.join(codecs)} with MPP"
    if probe.node(MPP_NODES[0]) is None:
        return CheckResult(
            "video",
            WARN,
            f"{able}, but {MPP_NODES[0]} is missing: {on_cpu}",
            f"use the vendor kernel; in a container, pass {MPP_NODES[0]} to it",
        )
    closed = closed_nodes(probe, MPP_NODES)
    if closed:
        cause = f"{probe.user()} may not use {', '.join(map(str, closed))}"
        return CheckResult("video", WARN, f"{able}, but {cause}", access_fix(closed, probe.user()))
    return CheckResult("video", OK, f"{able}, {MPP_NODES[0]} may be used")


def _mpp_codecs(probe: Probe, program: str) -> tuple[str, ...] | None:
    """The codecs that ``program``, an ffmpeg, decodes with MPP; None if it is not installed."""
    decoders = probe.command(program, "-hide_banner", "-decoders")
    if decoders is None:
        return None
    return find_mpp_codecs(decoders, probe.command(program, "-hide_banner", "-hwaccels") or "")


def check_rga(probe: Probe) -> CheckResult:
    """Whether RGA, Rockchip's 2D accelerator, can be used."""
    if probe.node(RGA) is None:
        return CheckResult("RGA", WARN, f"{RGA} is missing: images are scaled on the CPU", "use the vendor kernel")
    closed = closed_nodes(probe, (RGA,))
    if closed:
        found = f"{probe.user()} may not use {closed[0]}"
        return CheckResult("RGA", WARN, found, access_fix(closed, probe.user()))
    return CheckResult("RGA", OK, f"{RGA} may be used")


def closed_nodes(probe: Probe, names: tuple[str, ...]) -> list[DeviceNode]:
    """The nodes of ``names`` that exist and that this user may not use."""
    user, groups = probe.user(), probe.groups()
    return [node for node in filter(None, map(probe.node, names)) if not node.usable(user, groups)]
