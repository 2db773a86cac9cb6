"""Versions that rkface is made for: the only place that states them. The Makefile reads this file, too.

Standard library only and syntax of Python 3.8: `rkface doctor` and `rkface deploy` send this file to boards.
tests/boards/test_versions.py checks the files that cannot read it (pyproject.toml, boards/Dockerfile, chips.toml).
"""

from __future__ import annotations

import re

TOOLKIT = "2.5.0"  # rknn-toolkit2 that converts, and rknn-toolkit-lite2 and librknnrt that run its models

OPENCV_OLDEST = (4, 14)  # older ones crash on some damaged pictures; numpy 1.26 works with it, too

# CPython that rkface runs on. rknn-toolkit2 and rknn-toolkit-lite2 have wheels up to TOOLKIT_PYTHON_NEWEST: newer ones
# convert nothing, and open models on an NPU with the direct binding (runtime/backends/bindings.py).
PYTHON_OLDEST, PYTHON_NEWEST = (3, 10), (3, 14)
TOOLKIT_PYTHON_NEWEST = (3, 12)
PYTHONS = ("3.11", "3.12", "3.10", "3.13", "3.14")  # in the order of preference: tests run on 3.11


def opencv_risk(number: str) -> str:
    """What may happen with OpenCV's version ``number``, such as "4.6.0", in a sentence; "" if it is new enough."""
    if tuple(int(part) for part in re.findall(r"\d+", number)[:2]) >= OPENCV_OLDEST:
        return ""
    oldest = ".".join(str(part) for part in OPENCV_OLDEST)
    return (
        f"OpenCV {number} is older than {oldest} and can crash on damaged pictures. A damaged photo then costs only "
        "itself, because photos are decoded in a process of their own; a damaged camera stream can end the program. "
        f"Use OpenCV {oldest} or newer if the cameras need no GStreamer"
    )
