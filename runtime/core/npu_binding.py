"""The two ways to open a model on the NPU, for the runtime that opens it and for doctor, which says which one it takes.

`rkface doctor` sends this file to boards: standard library only, syntax of Python 3.8.
"""

from __future__ import annotations

from collections.abc import Callable

LITE, DIRECT = "rknn-toolkit-lite2", "direct"
CHOICE = "RKFACE_NPU_BINDING"  # the environment variable that names one of the two


def container_problem(exists: Callable[[str], bool]) -> str:
    """Why rknn-toolkit-lite2 would refuse to work in this container; "" if it would not. ``exists`` says whether there
    is a file of a name relative to the root folder.

    In Docker it demands a node of this very name (ophub/amlogic-s9xxx-armbian #3496; seen with 2.5.0), although
    librknnrt does not open it, and the NPU's node often has another number.
    """
    if exists(".dockerenv") and not exists("dev/dri/renderD129"):
        return f"{LITE} needs /dev/dri/renderD129 in a container"
    return ""
