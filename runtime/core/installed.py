"""Versions of installed software, read without importing it: packages, and Rockchip's runtime library.

Importing the packages takes seconds on a board, and loading the library can touch the NPU. `rkface doctor` sends this
file to boards: standard library only, syntax of Python 3.8.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

# rknn-toolkit-lite2 searches these paths in this order and loads the first that exists; it ignores LD_LIBRARY_PATH.
LIBRARIES = ("/usr/lib64/librknn_runtime.so", "/usr/lib/librknn_runtime.so", "/usr/lib/librknnrt.so")


def package_version(names: Sequence[str]) -> str | None:
    """The version of the first installed package of ``names``; None if none of them is installed."""
    from importlib.metadata import PackageNotFoundError, version  # imports email and csv

    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def library_version(content: bytes) -> str:
    """The version in the library's own text, "librknnrt version: 2.3.2 (429f97ae6b@2025-04-09T09:09:27)" → "2.3.2";
    empty if it does not contain one."""
    match = re.search(rb"librknnrt version: ([\d.]+)", content)
    return match[1].decode("ascii") if match else ""


def runtime_library(root: Path = Path("/")) -> tuple[Path, str] | None:
    """Path and version of the librknnrt that the NPU's binding would load; None if there is no readable library.

    The version is empty if the file does not contain it.
    """
    for name in LIBRARIES:
        path = root / name.lstrip("/")
        try:
            return path, library_version(path.read_bytes())
        except OSError:
            continue
    return None
