"""The requirements of a release on a board, and their wheels, fetched on the workstation for the board's Python.

pyproject.toml states the requirements of rkface; they are read from the metadata of the installed package. Only what a
board needs to differ is stated here.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from importlib.metadata import requires
from pathlib import Path

from rkface.boards.board_answers import MACHINE, PYTHON, check_word
from rkface.runtime.core.addresses import mask_secrets
from rkface.runtime.core.bundle import sha256
from rkface.runtime.core.errors import WorkError
from rkface.runtime.core.versions import TOOLKIT_PYTHON_NEWEST

BOARD_EXTRAS = (
    "reference",
    "web",
    "mqtt",
    "notify",
    "hub",
    "crypto",
    "heif",
)  # extras of pyproject.toml that make sense on a board
SERVICE_EXTRAS = ("web", "mqtt", "crypto")  # that the service uses: 9 MB with everything that they need in turn
HEADLESS = {"opencv-python": "opencv-python-headless"}  # a board has no windows to show
# numpy 1.26 is the last that rknn-toolkit-lite2's extension modules were built for. The wheels of OpenCV 4.14 ask for
# numpy 2, but work with it, and boards install these wheels without their dependencies. Without rknn-toolkit-lite2,
# boards get numpy 2.
LIMITS_WITH_LITE = {"numpy": "numpy==1.26.4"}
LITE = ("psutil", "ruamel.yaml", "rknn-toolkit-lite2=={toolkit}")  # rknn-toolkit-lite2 and what it imports
INSTALLER = "pip>=24"  # is copied too, so that a board needs neither python3-venv nor python3-pip
BACKPORTS = ("exceptiongroup>=1.2",)  # that anyio needs on Python 3.10
REQUIREMENTS = "requirements.txt"


def requirement_lines(extra: str = "", *, markers: bool = False) -> tuple[str, ...]:
    """The requirements of the installed rkface, or of one ``extra`` of it, with OpenCV's build for boards.

    With ``markers``, as lines of a METADATA file ('tomli>=2; python_version < "3.11"'); otherwise only those without a
    marker, as arguments of pip.
    """
    lines = []
    for line in requires("rkface") or ():
        requirement, _, marker = (part.strip() for part in line.partition(";"))
        found = re.search(r"extra == ['\"]([\w-]+)['\"]", marker)
        if (found[1] if found else "") != extra:
            continue
        name = _name_of(requirement)
        requirement = requirement.replace(name, HEADLESS.get(name, name), 1)
        if markers:
            lines.append(f"{requirement}; {marker}" if marker else requirement)
        elif not re.search("python_version", marker):
            lines.append(requirement)
    return tuple(lines)


def board_requirements(toolkit: str, machine: str, python: str, *, reference: bool) -> tuple[str, ...]:
    """What a release installs beside rkface, without the service's extras.

    For a board with this processor (``uname -m``) and Python ("3.11"), and models of this ``toolkit`` version;
    ``reference``: with ONNX Runtime. Pythons that rknn-toolkit-lite2 has no wheel for get none: rkface then opens
    models with librknnrt directly.
    """
    needed = [*requirement_lines(), INSTALLER]
    if machine == "aarch64" and tuple(map(int, python.split("."))) <= TOOLKIT_PYTHON_NEWEST:
        needed = [LIMITS_WITH_LITE.get(_name_of(requirement), requirement) for requirement in needed]
        needed += [one.format(toolkit=toolkit) for one in LITE]
    if reference:
        needed += requirement_lines("reference")
    if python == "3.10":  # pip evaluates markers for the Python that it runs on, not for the board's
        needed += [line.partition(";")[0] for line in requirement_lines(markers=True) if "python_version" in line]
        needed += BACKPORTS
    return tuple(needed)


def service_requirements() -> tuple[str, ...]:
    """What the service uses in addition: web console, MQTT, encryption."""
    return tuple(line for extra in SERVICE_EXTRAS for line in requirement_lines(extra))


def _name_of(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0]


def wheel_options(machine: str, python: str) -> list[str]:
    """pip's options for wheels that fit a board's processor (``uname -m``) and Python ("3.11"); no source packages.

    The platforms need glibc 2.28 or older; Debian 11 has 2.31.
    """
    tags = (f"{tag}_{machine}" for tag in ("manylinux2014", "manylinux_2_17", "manylinux_2_28"))
    options = [word for tag in tags for word in ("--platform", tag)]
    return [*options, "--python-version", python, "--implementation", "cp", "--only-binary=:all:"]


def fetch_wheels(
    needed: Sequence[str], machine: str, python: str, cache: Path, service: Sequence[str] | None = None
) -> Path:
    """A folder below ``cache`` with wheels of all ``needed`` packages, and of ``service`` with their dependencies.

    pip fetches them if the folder does not exist; it appears only when it is complete. ``service`` defaults to
    ``service_requirements()``. Raises WorkError if pip cannot get a package as a wheel: a board has no compiler.
    """
    check_word(machine, MACHINE, "its processor")  # both become a part of a path
    check_word(python, PYTHON, "the version of its Python")
    service = service_requirements() if service is None else service
    digest = hashlib.sha256("\n".join([*needed, *service, machine, python]).encode()).hexdigest()[:12]
    folder = cache / f"cp{python.replace('.', '')}-{machine}-{digest}"
    if folder.is_dir():
        return folder
    temporary = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        for arguments in (["--no-deps", *needed], list(service)):
            _download(arguments, machine, python, temporary)
        if not folder.is_dir():
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _download(arguments: Sequence[str], machine: str, python: str, folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, *wheel_options(machine, python), "--dest", str(folder), *arguments],
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["no message"]
        said = mask_secrets(errors[-1].removeprefix("ERROR: "))  # the address of a package index may have a password
        raise WorkError(
            f"no wheels for Python {python} on {machine}: {said}; deploy fetches them on this machine with pip: can it "
            "reach the package index?"
        )


def pinned_requirements(wheels: Sequence[Path]) -> str:
    """requirements.txt with exactly these wheels and their SHA-256; pip compares them again on the board."""
    rows = []
    for wheel in sorted(wheels):
        name, number = wheel.name.split("-")[:2]
        rows.append(f"{name}=={number} --hash=sha256:{sha256(wheel)}")
    return "\n".join([*rows, ""])


def unpacked_size(wheels: Sequence[Path]) -> int:
    """The size in bytes of these wheels' files when installed."""
    total = 0
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            total += sum(entry.file_size for entry in archive.infolist())
    return total
