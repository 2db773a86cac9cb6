"""rkface's runtime wheel for boards: ``rkface.runtime`` and ``rkface.boards``, and the commands of these two.

``python -m rkface.boards.deploy.runtime_wheel FOLDER`` writes it, for a container or a board that is set up by hand.
"""

from __future__ import annotations

import base64
import hashlib
import os
import sys
import zipfile
from importlib.metadata import entry_points, metadata, version
from pathlib import Path

from .dependencies import BOARD_EXTRAS, requirement_lines

LEFT_OUT = ("twin", "ansible", "__pycache__")
TIMESTAMP = (2020, 1, 1, 0, 0, 0)  # of every file in the wheel, so that the same source gives the same bytes
WHEEL = b"Wheel-Version: 1.0\nGenerator: rkface\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def build_runtime_wheel(folder: Path) -> Path:
    """Write the runtime wheel into ``folder`` and return its path.

    It has ``rkface.runtime``, ``rkface.boards`` without the twin, and the names that ``import rkface`` offers, and so
    the commands of these parts; conversion and calibration stay on the workstation. Its requirements are those of the
    installed rkface. The same source gives the same bytes.
    """
    number = version("rkface")
    contents = _source_files()
    info = f"rkface-{number}.dist-info"
    contents[f"{info}/METADATA"] = _metadata(number)
    contents[f"{info}/WHEEL"] = WHEEL
    contents[f"{info}/entry_points.txt"] = _entry_points()
    record = [f"{name},sha256={_digest(content)},{len(content)}" for name, content in contents.items()]
    contents[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()

    wheel = folder / f"rkface-{number}-py3-none-any.whl"
    temporary = wheel.with_name(f"{wheel.name}.{os.getpid()}")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            entry = zipfile.ZipInfo(name, TIMESTAMP)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    temporary.replace(wheel)
    return wheel


def _source_files() -> dict[str, bytes]:
    """Path in the wheel → content, for every source file that a board needs."""
    import rkface

    root = Path(str(rkface.__file__)).parent
    sources = [path for path in sorted(root.iterdir()) if path.is_file()]
    for part in ("runtime", "boards"):
        sources += sorted((root / part).rglob("*"))  # a development install has links here
    contents = {}
    for path in sources:
        place = path.relative_to(root.parent)
        if path.is_file() and not set(place.parts) & set(LEFT_OUT):
            contents[place.as_posix()] = path.read_bytes()
    return contents


def _metadata(number: str) -> bytes:
    extras = [f"Provides-Extra: {extra}" for extra in BOARD_EXTRAS]
    lines = [line for extra in ("", *BOARD_EXTRAS) for line in requirement_lines(extra, markers=True)]
    return "\n".join(
        [
            "Metadata-Version: 2.1",
            "Name: rkface",
            f"Version: {number}",
            f"Requires-Python: {metadata('rkface')['Requires-Python']}",
            *(f"Requires-Dist: {line}" for line in lines),
            *extras,
            "",
        ]
    ).encode()


def _entry_points() -> bytes:
    [script] = entry_points(group="console_scripts", name="rkface")
    return f"[console_scripts]\nrkface = {script.value}\n".encode()


def _digest(content: bytes) -> str:
    """The SHA-256 of ``content`` in the form of RECORD (PyPA, "Recording installed projects")."""
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit("usage: python -m rkface.boards.deploy.runtime_wheel FOLDER (an existing folder)")
    print(build_runtime_wheel(Path(sys.argv[1])))
