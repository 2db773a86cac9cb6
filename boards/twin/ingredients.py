"""The parts of a twin in a cache folder: arm64 packages and qemu from apt, wheels from pip, and the stand-in library.

Nothing is installed on this machine, and no root is needed. apt and pip use the sources they are configured with.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rkface.boards.deploy.dependencies import board_requirements, fetch_wheels, service_requirements
from rkface.runtime.core.errors import WorkError
from rkface.runtime.core.progress import stage
from rkface.runtime.core.versions import PYTHONS, TOOLKIT

from . import HERE

COMPILER = "ziglang>=0.13"  # from PyPI; used if there is no aarch64-linux-gnu-gcc
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
GCC = "aarch64-linux-gnu-gcc"
# The Debian release whose Python it is: used if this machine's own sources have no such package.
RELEASES = {"3.13": "trixie", "3.14": "forky"}
FLAGS = ("-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-pthread")


class UnavailableError(WorkError):
    """Something that a test tool or the twin needs is not available on this machine."""


@dataclass(frozen=True)
class Ingredients:
    """The parts of a twin.

    qemu     the emulator
    root     the files of Debian's arm64 packages, which contain ``python``
    site     the unpacked wheels
    library  the stand-in for librknnrt
    """

    qemu: Path
    root: Path
    python: Path
    site: Path
    library: Path


def gather_ingredients(cache: Path, python: str = "", toolkit: str = TOOLKIT) -> Ingredients:
    """Fetch the parts that are not in ``cache`` yet, for a ``python`` such as "3.13"; "" for the first of PYTHONS that
    there is. ``toolkit``: the version of rknn-toolkit-lite2, and the one that the library reports. Raises
    UnavailableError if a part is not available, and says why."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise UnavailableError(f"the twin needs Linux on x86-64; this is {sys.platform} on {platform.machine()}")
    cache = cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    # apt's lists and state are temporary: old lists would soon name packages that no longer exist.
    with tempfile.TemporaryDirectory(prefix="apt-", dir=cache) as apt:
        name = f"root-{python}" if python else "root"
        root = _once(cache / name, f"arm64 packages {python}".strip(), lambda to: _packages(to, Path(apt), python))
        qemu = _once(cache / "qemu", "qemu", lambda folder: _qemu(folder, Path(apt)))
    [executable] = (root / "usr/bin").glob("python3.*[0-9]")
    version = executable.name.removeprefix("python")
    sources = [path.read_text(encoding="utf-8") for path in sorted(HERE.glob("*.[ch]"))]
    flags = (*FLAGS, f'-DTOOLKIT="{toolkit}"')
    needed = board_requirements(toolkit, "aarch64", version, reference=False)
    return Ingredients(
        qemu=qemu / "qemu-aarch64-static",
        root=root,
        python=executable,
        site=_once(
            cache / f"wheels-{version}-{_digest(*needed, *service_requirements())}",
            "arm64 wheels",
            lambda folder: _wheels(folder, version, needed),
        ),
        library=_once(
            cache / f"librknnrt-{_digest(*sources, *flags)}",
            "stand-in librknnrt",
            lambda folder: _library(folder, flags),
        )
        / "librknnrt.so",
    )


def _digest(*texts: str) -> str:
    """A name for what is made of ``texts``."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]


def _once(folder: Path, name: str, make: Callable[[Path], None]) -> Path:
    """Create ``folder`` with ``make`` if it does not exist; it appears only when it is complete. Another process that
    wants it at the same time waits."""
    with _locked(folder.parent):
        if not folder.is_dir():
            making = folder.with_name(f"{folder.name}.part")
            shutil.rmtree(making, ignore_errors=True)  # of a process that was killed
            making.mkdir()
            try:
                with stage(name):
                    make(making)
                making.rename(folder)
            finally:
                shutil.rmtree(making, ignore_errors=True)
    return folder


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Wait until no other process has locked ``folder``, and lock it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _packages(root: Path, apt: Path, python: str) -> None:
    """Unpack Debian's arm64 ``python`` with its dependencies into ``root``; "" for the first of PYTHONS there is."""
    settings = apt_settings(apt)
    names = _find_python([python] if python else PYTHONS, settings)
    if names is None and python in RELEASES:
        settings = apt_settings(apt / RELEASES[python], ["arm64"], _release_source(RELEASES[python], settings))
        names = _find_python([python], settings)
    if names is None:
        wanted = python or ", ".join(PYTHONS)
        raise UnavailableError(f"no arm64 package of Python {wanted} in apt's sources (Debian 12 has 3.11)")
    # Into an empty system, so that apt downloads all dependencies, even those that this machine has.
    command(["apt-get", "install", "--download-only", "--yes", "--quiet", "--no-install-recommends", *names], settings)
    for package in apt.rglob("*.deb"):
        if not package.name.endswith("_amd64.deb"):
            command(["dpkg", "-x", str(package), str(root)])
    if not (root / "lib").exists():  # Debian 13 and newer have all in /usr/lib
        (root / "lib").symlink_to("usr/lib")


def _find_python(versions: Sequence[str], settings: dict[str, str]) -> list[str] | None:
    """The packages of the first of ``versions`` that apt has; None if it has none."""
    for version in versions:
        if _succeeds(["apt-cache", "show", f"python{version}-minimal:arm64"], settings):
            return [f"python{version}-minimal:arm64", f"libpython{version}-stdlib:arm64", "libstdc++6:arm64"]
    return None


def _release_source(release: str, settings: dict[str, str]) -> str:
    """A line for apt's sources: another Debian ``release`` at the server that this machine's sources name."""
    sites = ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages", "Origin: Debian"]
    found = subprocess.run(sites, check=False, capture_output=True, text=True, env=settings).stdout.split()
    if not found:
        raise UnavailableError(f"apt's sources name no Debian server, which has the Python of Debian {release}")
    return f"deb [signed-by={KEYRING}] {found[0]} {release} main"


def _qemu(folder: Path, apt: Path) -> None:
    installed = shutil.which("qemu-aarch64-static")
    if installed:
        (folder / "qemu-aarch64-static").symlink_to(installed)
        return
    _download(["qemu-user-static:amd64"], folder / "files", apt_settings(apt))
    (folder / "files/usr/bin/qemu-aarch64-static").rename(folder / "qemu-aarch64-static")
    shutil.rmtree(folder / "files")


def unpack_packages(folder: Path, packages: Sequence[str]) -> Path:
    """Unpack Debian's ``packages`` for x86-64, without their dependencies, into ``folder`` if it does not exist.

    Nothing is installed. Raises UnavailableError if a package is not available.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="apt-", dir=folder.parent) as apt:
        return _once(
            folder, packages[0], lambda making: _download(packages, making, apt_settings(Path(apt), ["amd64"]))
        )


def _download(packages: Sequence[str], into: Path, settings: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory(dir=into.parent) as name:
        command(["apt-get", "download", "--quiet", *packages], settings, Path(name))
        for package in Path(name).glob("*.deb"):
            command(["dpkg", "-x", str(package), str(into)])


def apt_settings(state: Path, kinds: Sequence[str] = ("amd64", "arm64"), source: str = "") -> dict[str, str]:
    """An environment in which apt keeps its lists and packages in ``state``.

    It knows the packages of ``kinds``, the architectures (each costs two seconds), in this machine's sources, or in the
    one line ``source``.
    """
    for name in ("apt-get", "apt-cache", "dpkg"):
        if shutil.which(name) is None:
            raise UnavailableError(f"the twin needs arm64 packages from apt, but {name} is not installed here")
    settings = {**os.environ, "APT_CONFIG": str(state / "apt.conf"), "LC_ALL": "C"}
    if not (state / "apt.conf").exists():
        for name in ("lists/partial", "cache/archives/partial"):
            (state / name).mkdir(parents=True)
        (state / "status").touch()
        (state / "sources.list").write_text(f"{source}\n")
        lines = [
            f'Dir::State::lists "{state}/lists"',
            f'Dir::State::status "{state}/status"',
            f'Dir::Cache "{state}/cache"',
            'APT::Sandbox::User "root"',  # or apt would, as root, download as another user, who may not write here
            'Acquire::Retries "1"',
            'Acquire::http::Timeout "10"',
            f'APT::Architecture "{kinds[0]}"',
            "APT::Architectures { " + " ".join(f'"{kind}";' for kind in kinds) + " }",
        ]
        if source:
            lines += [f'Dir::Etc::SourceList "{state}/sources.list"', 'Dir::Etc::SourceParts "-"']
        (state / "apt.conf").write_text("".join(f"{line};\n" for line in lines))
        command(["apt-get", "update", "--quiet", "--error-on=any"], settings)
    return settings


def _wheels(folder: Path, version: str, needed: Sequence[str]) -> None:
    """The packages that deploy installs on a board: ``needed``, and those of the service."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as cache:
        try:
            wheels = fetch_wheels(needed, "aarch64", version, Path(cache))
        except WorkError as error:
            raise UnavailableError(str(error)) from error
        for wheel in wheels.glob("*.whl"):
            wheel.rename(folder / wheel.name)
    _unpack(folder)


def _library(folder: Path, flags: Sequence[str]) -> None:
    source, out = str(HERE / "librknnrt.c"), str(folder / "librknnrt.so")
    if shutil.which(GCC):
        command([GCC, *flags, "-o", out, source])
        return
    tool = folder / "ziglang"
    tool.mkdir()
    _pip(tool, [COMPILER])
    _unpack(tool)
    zig = tool / "ziglang/zig"
    zig.chmod(0o755)
    caches = {"ZIG_GLOBAL_CACHE_DIR": str(tool / "cache"), "ZIG_LOCAL_CACHE_DIR": str(tool / "cache")}
    command([str(zig), "cc", "-target", "aarch64-linux-gnu.2.17", *flags, "-o", out, source], {**os.environ, **caches})
    shutil.rmtree(tool)  # 400 MB that are no longer needed


def _pip(folder: Path, arguments: Sequence[str]) -> None:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command([*pip, "--dest", str(folder), *arguments])


def _unpack(folder: Path) -> None:
    for wheel in list(folder.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        wheel.unlink()


def _succeeds(command: Sequence[str], environment: dict[str, str]) -> bool:
    return subprocess.run(command, check=False, capture_output=True, env=environment).returncode == 0


def command(words: Sequence[str], environment: dict[str, str] | None = None, folder: Path | None = None) -> None:
    """Run ``words``. Raises UnavailableError with the last line of its output if it fails."""
    done = subprocess.run(
        words,
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise UnavailableError(f"`{' '.join(words[:3])} …` failed: {said[-1] if said else f'exit {done.returncode}'}")
