"""What a board installs: rkface's own runtime wheel, and the wheels it needs, fetched here for the board's Python.

``python -m rkface.boards.wheel FOLDER`` writes the runtime wheel alone, for a container or a board set up by hand.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from importlib.metadata import entry_points, version
from pathlib import Path

from rkface.runtime.core.bundle import sha256
from rkface.runtime.core.errors import WorkError

# numpy 1.26 is the last that rknn-toolkit-lite2's extension modules were built for.
RUNTIME = ("numpy==1.26.4", "opencv-python-headless>=4.8,<5")
NPU = ("psutil", "ruamel.yaml", "rknn-toolkit-lite2=={toolkit}")
REFERENCE = ("onnxruntime>=1.17",)
# The extras [web], [mqtt] and [crypto], for the service: 9 MB with all that they need in turn.
SERVICE = (
    "fastapi>=0.115",
    "uvicorn>=0.38",
    "websockets>=14",
    "argon2-cffi>=23.1",
    "paho-mqtt>=2.1",
    "cryptography>=42",
)
INSTALLER = "pip>=24"  # comes along, so that a board needs neither python3-venv nor python3-pip
PARTS = ("rkface.runtime.", "rkface.boards.")  # whose commands come along
LEFT_OUT = ("twin", "__pycache__")
REQUIRES = ("numpy>=1.24", "opencv-python-headless>=4.8", "tomli>=2; python_version < '3.11'")
MADE = (2020, 1, 1, 0, 0, 0)  # the time of every file in the wheel: the same source makes the same wheel
REQUIREMENTS = "requirements.txt"


def wheels_for(machine: str, python: str) -> list[str]:
    """pip's options for wheels that fit a board's processor (``uname -m``) and Python ("3.11"), and nothing to compile.

    The platforms ask for glibc 2.28 or older ones; Debian 11 has 2.31.
    """
    tags = (f"{tag}_{machine}" for tag in ("manylinux2014", "manylinux_2_17", "manylinux_2_28"))
    options = [word for tag in tags for word in ("--platform", tag)]
    return [*options, "--python-version", python, "--implementation", "cp", "--only-binary=:all:"]


def build_runtime_wheel(folder: Path) -> Path:
    """Write rkface's runtime wheel into ``folder``: ``rkface.runtime`` and ``rkface.boards`` without the twin, and the
    commands of those two. Conversion and calibration never reach a board. The same source makes the same bytes."""
    import rkface

    number = version("rkface")
    root = Path(str(rkface.__file__)).parent
    sources = [root / "__init__.py", root / "py.typed"]
    for part in ("runtime", "boards"):
        sources += sorted((root / part).rglob("*"))  # a development install has links here
    contents: dict[str, bytes] = {}
    for path in sources:
        place = path.relative_to(root.parent)
        if path.is_file() and not set(place.parts) & set(LEFT_OUT):
            contents[place.as_posix()] = path.read_bytes()
    about = f"rkface-{number}.dist-info"
    contents[f"{about}/METADATA"] = "\n".join(
        [
            "Metadata-Version: 2.1",
            "Name: rkface",
            f"Version: {number}",
            "Requires-Python: >=3.10,<3.13",
            *(f"Requires-Dist: {one}" for one in REQUIRES),
            "",
        ]
    ).encode()
    contents[f"{about}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: rkface\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    commands = sorted(
        f"{one.name} = {one.value}" for one in entry_points(group="rkface.commands") if one.value.startswith(PARTS)
    )
    scripts = ["[console_scripts]", "rkface = rkface.runtime.cli.main:main", "", "[rkface.commands]", *commands, ""]
    contents[f"{about}/entry_points.txt"] = "\n".join(scripts).encode()
    record = [f"{name},sha256={_digest(content)},{len(content)}" for name, content in contents.items()]
    contents[f"{about}/RECORD"] = "\n".join([*record, f"{about}/RECORD,,", ""]).encode()

    wheel = folder / f"rkface-{number}-py3-none-any.whl"
    making = wheel.with_name(f"{wheel.name}.{os.getpid()}")
    with zipfile.ZipFile(making, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            entry = zipfile.ZipInfo(name, MADE)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    making.replace(wheel)
    return wheel


def _digest(content: bytes) -> str:
    """As RECORD wants it (PyPA, "Recording installed projects")."""
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def requirements(toolkit: str, machine: str, python: str, *, reference: bool) -> tuple[str, ...]:
    """What a release installs beside rkface, for a board with this processor and Python ("3.11")."""
    needed = [*RUNTIME, INSTALLER]
    if machine == "aarch64":
        needed += [one.format(toolkit=toolkit) for one in NPU]
    if reference:
        needed += REFERENCE
    if python == "3.10":  # pip asks the Python that it runs on, not the board's, what 3.10 needs beside
        needed += ["tomli>=2", "exceptiongroup>=1.2"]
    return tuple(needed)


def default_cache() -> Path:
    """Where fetched wheels are kept: $RKFACE_CACHE, else the XDG cache folder, as for models."""
    own = os.environ.get("RKFACE_CACHE")
    base = Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rkface"
    return base / "wheels"


def fetch_wheels(
    needed: Sequence[str], machine: str, python: str, cache: Path, service: Sequence[str] = SERVICE
) -> Path:
    """A folder of ``cache`` with wheels for all of ``needed``, and of ``service`` with what that needs in turn, fetched
    by pip unless it is there: whole or not at all.

    Of ``needed`` nothing else is fetched, and wheels only: what has to be compiled cannot be installed on a board that
    has no compiler. WorkError where pip cannot get one of them.
    """
    named = hashlib.sha256("\n".join([*needed, *service, machine, python]).encode()).hexdigest()[:12]
    folder = cache / f"cp{python.replace('.', '')}-{machine}-{named}"
    if folder.is_dir():
        return folder
    making = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    try:
        for asked in (["--no-deps", *needed], list(service)):
            _download(asked, machine, python, making)
        if not folder.is_dir():
            making.rename(folder)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return folder


def _download(asked: Sequence[str], machine: str, python: str, folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, *wheels_for(machine, python), "--dest", str(folder), *asked],
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["no message"]
        raise WorkError(
            f"no wheels for Python {python} on {machine}: {said[-1].removeprefix('ERROR: ')}; deploy fetches them "
            "here, by pip: does this machine reach its package index?"
        )


def pin(wheels: Sequence[Path]) -> str:
    """requirements.txt with exactly these wheels and their SHA-256, which pip checks again on the board."""
    rows = []
    for wheel in sorted(wheels):
        name, number = wheel.name.split("-")[:2]
        rows.append(f"{name}=={number} --hash=sha256:{sha256(wheel)}")
    return "\n".join([*rows, ""])


def unpacked_size(wheels: Sequence[Path]) -> int:
    """Bytes that the files of these wheels take once installed."""
    total = 0
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            total += sum(entry.file_size for entry in archive.infolist())
    return total


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit("usage: python -m rkface.boards.wheel FOLDER (which exists)")
    print(build_runtime_wheel(Path(sys.argv[1])))
