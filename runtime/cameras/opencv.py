"""What must be known of the installed OpenCV, and of its numbers."""

from __future__ import annotations

from functools import cache
from logging import getLogger

import cv2

from ..core.versions import opencv_risk

log = getLogger(__name__)


@cache
def warn_of_old_opencv() -> None:
    """Log once what may happen with the OpenCV that is installed, if it is an old one."""
    if risk := opencv_risk(cv2.__version__):
        log.warning("%s", risk)


def opencv_version() -> tuple[int, int]:
    """Return the major and minor version of OpenCV."""
    major, minor = cv2.__version__.split(".")[:2]
    return int(major), int(minor)


def format_name(code: float) -> str:
    """Return OpenCV's number for a format as its four letters, "" for no format."""
    letters = int(code).to_bytes(4, "little", signed=True) if code > 0 else b""
    return letters.decode("ascii", "ignore").strip("\0 ").upper() if letters else ""
