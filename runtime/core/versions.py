"""Versions that rkface is made for: the only place that states them. The Makefile reads this file, too.

Standard library only and syntax of Python 3.8: `rkface doctor` and `rkface deploy` send this file to boards.
tests/boards/test_versions.py checks the files that cannot read it (pyproject.toml, boards/Dockerfile, chips.toml).
"""

from __future__ import annotations

import re

TOOLKIT = "2.5.0"  # rknn-toolkit2 that converts, and rknn-toolkit-lite2 and librknnrt that run its models
TOOLKITS = (TOOLKIT, "2.3.2")  # of rknn-toolkit2 that `make convert TOOLKIT=…` supports

# The newest librknnrt in Rockchip's public repository; newer ones are only in its cloud folder, which the page of
# rknn-toolkit2 on PyPI names, with its code (airockchip/rknn-toolkit2 #556).
PUBLIC_LIBRARY = "2.3.2"
# Version of the .rknn file format → the oldest librknnrt that is known to load it. Logs of boards show librknnrt 1.6.0,
# 2.0.0b0, 2.1.0, 2.3.0 and 2.3.2 with format 6; 1.4.0 refuses it (airockchip/rknn-toolkit2 #281). Toolkits 2.3.2 and
# 2.5.0 both write format 6.
MODEL_FORMATS = {6: "1.6.0"}

OPENCV_OLDEST = (4, 14)  # older ones crash on some damaged pictures; numpy 1.26 works with it, too

# CPython that rkface runs on. rknn-toolkit2 and rknn-toolkit-lite2 have wheels up to TOOLKIT_PYTHON_NEWEST: newer ones
# convert nothing, and open models on an NPU with the direct binding (runtime/backends/bindings.py).
PYTHON_OLDEST, PYTHON_NEWEST = (3, 10), (3, 14)
TOOLKIT_PYTHON_NEWEST = (3, 12)
PYTHONS = ("3.11", "3.12", "3.10", "3.13", "3.14")  # in the order of preference: tests run on 3.11


def version_numbers(text: str) -> tuple[int, ...]:
    """The numbers of the first dotted version in ``text``: "RKNPU driver: v0.9.8" → (0, 9, 8); () without a version."""
    match = re.search(r"\d+(?:\.\d+)+", text)
    return tuple(int(number) for number in match.group().split(".")) if match else ()


def older_library(version: str, toolkit: str) -> str:
    """A remark if librknnrt's ``version`` is older than the ``toolkit`` that made the models; "" if it is not."""
    if version_numbers(version) >= version_numbers(toolkit):
        return ""
    return (
        f"librknnrt {version.split(maxsplit=1)[0]} is older than toolkit {toolkit}, which made the models; Rockchip "
        "recommends one that is not, and the selftest decides"
    )


def library_source(version: str) -> str:
    """Where Rockchip publishes librknnrt.so for aarch64 in ``version``, such as "2.5.0", for a sentence."""
    if version_numbers(version) <= version_numbers(PUBLIC_LIBRARY):
        folder = f"https://github.com/airockchip/rknn-toolkit2/raw/v{version}/rknpu2/runtime/Linux/librknn_api/aarch64"
        return f"{folder}/librknnrt.so"
    return "Rockchip's cloud folder https://console.zbox.filez.com/l/I00fc3 (code: rknn), in the SDK of that version"


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
