"""What the source of a camera may be called: V4L2 devices, addresses and GStreamer pipelines."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from ..core.addresses import ENCODE, mask_address
from ..core.errors import InputError

BY_ID = Path("/dev/v4l/by-id")
MIPI_PICTURES, HDMI_INPUT = "rkisp_mainpath", "hdmirx"  # in the names that Rockchip's drivers give V4L2 nodes
FORMS = (
    "0 or /dev/video0 (V4L2), a name from /dev/v4l/by-id, rtsp://… or http://…, a video file, a folder of photos, "
    "'… ! appsink' (GStreamer), or - (JPEG pictures back to back on stdin)"
)


def find_device(source: str) -> Path | None:
    """Return the V4L2 device file that ``source`` means, whether it exists or not. None if it means something else."""
    if source.isdecimal():
        return Path(f"/dev/video{source}")
    if re.match(r"/dev/(video\d+$|v4l/)", source):
        return Path(source)
    link = BY_ID / source
    return link if source and "/" not in source and link.is_symlink() else None


def place_source(source: str, folder: Path) -> str:
    """``source``, with a relative path to a video or a folder of photos below ``folder``.

    A name without "/" may be that of a device in /dev/v4l/by-id that is not connected now: it is a path only if there
    is such a file. What begins like an address is not a path.
    """
    if source in ("", "-") or " ! " in source or ":" in source.partition("/")[0] or find_device(source):
        return source
    placed = folder / source
    return str(placed) if "/" in source or placed.exists() else source


def default_camera(root: Path = Path("/")) -> str:
    """The source to use if none is given: the first USB camera, else a MIPI camera, else /dev/video0, which may appear
    later. Raises InputError if /dev/video0 is an HDMI input, as on an Orange Pi 5 Plus."""
    usb = sorted(root.glob("dev/v4l/by-id/*-video-index0"))
    if usb:
        return f"/{usb[0].relative_to(root)}"
    names = {path.parent.name: path.read_text().strip() for path in root.glob("sys/class/video4linux/video*/name")}
    # Of the many nodes of Rockchip's image processor, this one delivers the pictures.
    mipi = sorted((node for node, name in names.items() if name == MIPI_PICTURES), key=lambda node: (len(node), node))
    if not mipi and HDMI_INPUT in names.get("video0", ""):
        raise InputError("there is no camera (/dev/video0 is the HDMI input): connect one, or name one with --camera")
    return f"/dev/{mipi[0] if mipi else 'video0'}"


def check_network_address(source: str) -> None:
    """Raise InputError for an address that no program can read: FFmpeg takes a password with /, ? or # for a path."""
    shown = mask_address(source)
    try:
        parts = urlsplit(source)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port == 0 or "\0" in source:
        raise InputError(f"{shown} has no valid host or port; if it has a password: {ENCODE}")


def hint_for(source: str) -> str:
    """What may be wrong with ``source``, which is neither a camera nor a file; "" if there is nothing to say."""
    if re.match(r"(?i)(rtsps?|https?):", source):
        return "; an address begins with rtsp:// (two slashes)"
    return f"; an address begins with rtsp:// or http://, and {ENCODE}" if "@" in source else ""


def has_gstreamer() -> bool:
    """Return whether this OpenCV can use GStreamer. The OpenCV from PyPI lists it (``getBackends``), and has none."""
    import cv2  # checking a configuration needs no OpenCV

    return bool(cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER))
