"""What the source of a camera may be called: V4L2 devices, addresses, GStreamer pipelines; and passwords left out."""

from __future__ import annotations

import re
from pathlib import Path

import cv2

from ..core.errors import InputError

BY_ID = Path("/dev/v4l/by-id")
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


def mpp_pipeline(address: str, codec: str) -> str:
    """Return a GStreamer pipeline in which Rockchip's MPP (mppvideodec of gstreamer-rockchip) decodes an RTSP camera.

    It delivers the newest frame in BGR. Raises InputError for another codec, or an address that is not rtsp://.
    """
    if codec not in ("h264", "h265") or not re.match(r"rtsps?://[^\s\"]+$", address):
        raise InputError(
            f"decoder {codec!r} cannot decode {without_password(address)}: use h264 or h265 with an rtsp:// address"
        )
    return (
        f'rtspsrc location="{address}" latency=100 protocols=tcp ! rtp{codec}depay ! {codec}parse ! mppvideodec ! '
        "videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
    )


def has_gstreamer() -> bool:
    """Return whether this OpenCV was built with GStreamer."""
    return cv2.CAP_GSTREAMER in cv2.videoio_registry.getBackends()


def without_password(source: str) -> str:
    """Return ``source`` without the user and password of an address, for logs and pages."""
    source = re.sub(
        r"(\w+://)[^\s\"]*@", r"\1", source
    )  # up to the last @: removing too much is better than too little
    return re.sub(r"(?i)((?:password|passwd|pass|pwd|user(?:name)?)=)[^&\s\"/]*", r"\1…", source)
