"""``rkface version``: versions of rkface and of the software it works with. None of that software is imported."""

from __future__ import annotations

import platform
from argparse import ArgumentParser, Namespace
from pathlib import Path

from ..core.installed import package_version, runtime_library
from ..core.messages import show_message
from ..core.versions import opencv_risk
from .options import add_json, print_json

# Names as shown, and the packages that provide them, the first installed one counts.
PACKAGES = {
    "rkface": ("rkface",),
    "rknn-toolkit2": ("rknn-toolkit2",),
    "rknn-toolkit-lite2": ("rknn-toolkit-lite2",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino"),
    "opencv": (
        "opencv-python",
        "opencv-python-headless",
        "opencv-contrib-python",
        "opencv-contrib-python-headless",
        "opencv",
    ),
    "numpy": ("numpy",),
}


def version(parser: ArgumentParser) -> None:
    """Print the versions of rkface, Rockchip's toolkits and runtime library, ONNX Runtime, OpenCV, numpy and Python.

    Versions are read from installed files: no package is imported, and the NPU is not used. With --json, prints one
    object; null means "not installed", and an empty version of librknnrt means that its file does not state one.

    examples:
      rkface version
      rkface version --json
    """
    add_json(parser, "one object")
    parser.set_defaults(run=_version)


def _version(options: Namespace) -> int:
    versions = find_versions()
    if options.json:
        print_json(versions)
        return 0
    for name, number in versions.items():
        print(f"{name:18} {'not installed' if number is None else number or 'installed, version unknown'}")
    if (opencv := versions.get("opencv")) and (risk := opencv_risk(opencv)):
        show_message(f"warning: {risk}")
    return 0


def find_versions(root: Path = Path("/")) -> dict[str, str | None]:
    """Name and version; None for what is not installed. ``root`` is where the runtime library is looked for."""
    library = runtime_library(root)
    return {
        **{name: package_version(packages) for name, packages in PACKAGES.items()},
        "librknnrt": library[1] if library else None,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
