"""Doctor's checks of cameras, of video decoding and of RGA.

This file is sent to boards (remote.py): standard library only, syntax of Python 3.8.
"""

from __future__ import annotations

from rkface.runtime.core.device_access import DeviceNode, access_fix, joinable_groups

from .probe import Probe
from .report import OK, WARN, CheckResult
from .v4l2 import V4l2Camera

MPP, RGA, HEAP = CODEC_NODES = ("/dev/mpp_service", "/dev/rga", "/dev/dma_heap/system")
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
    """Whether GStreamer can decode H.264 and H.265 in hardware (Rockchip's MPP)."""
    answer = probe.command("gst-inspect-1.0", "rockchipmpp")
    if answer is None:
        return CheckResult(
            "video",
            WARN,
            "GStreamer is not installed: H.264 and H.265 are decoded on the CPU",
            "sudo apt install gstreamer1.0-tools gstreamer1.0-plugins-good",
        )
    if "mppvideodec" not in answer:
        return CheckResult(
            "video",
            WARN,
            "GStreamer has no plugin for Rockchip's MPP: H.264 and H.265 are decoded on the CPU",
            "install gstreamer1.0-rockchip1 from the packages of the board maker",
        )
    if probe.node(MPP) is None:
        return CheckResult(
            "video",
            WARN,
            f"GStreamer's MPP plugin is installed, but {MPP} is missing",
            f"use the vendor kernel; in a container, pass {MPP} to it",
        )
    closed = closed_nodes(probe, (MPP, HEAP))
    if closed:
        cause = f"{probe.user()} may not use {', '.join(map(str, closed))}"
        return CheckResult(
            "video", WARN, f"GStreamer's MPP plugin is installed, but {cause}", access_fix(closed, probe.user())
        )
    return CheckResult("video", OK, f"GStreamer with mppvideodec, {MPP} may be used")


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
