"""What a twin is made of, fetched into a cache folder: arm64 packages and qemu by apt, wheels by pip, our library.

Nothing is installed on this machine and no root is needed. apt and pip ask the sources that they are set up with.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rkface.boards.wheel import requirements, wheels_for
from rkface.runtime.core.errors import WorkError
from rkface.runtime.core.progress import stage

from . import HERE

TOOLKIT = "2.5.0"
PYTHONS = ("3.11", "3.12", "3.10")  # that rknn-toolkit-lite2 has wheels for; the first that the distribution has
COMPILER = "ziglang>=0.13"  # PyPI's; used where there is no aarch64-linux-gnu-gcc
GCC = "aarch64-linux-gnu-gcc"
FLAGS = ("-shared", "-fPIC", "-O2", "-Wall", "-Wextra")


class MissingError(WorkError):
    """An ingredient is not to be had here: no twin on this machine."""


@dataclass(frozen=True)
class Ingredients:
    """qemu: the emulator. root: Debian's arm64 files, with ``python`` in it. site: the wheels. library: ours."""

    qemu: Path
    root: Path
    python: Path
    site: Path
    library: Path


def gather(cache: Path) -> Ingredients:
    """Fetch what is not in ``cache`` yet. MissingError says what cannot be had, and why."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise MissingError(f"the twin needs Linux on x86-64; this is {sys.platform} on {platform.machine()}")
    cache = cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    # Lists and state of apt, for as long as this runs: old lists would soon name packages that are gone.
    with tempfile.TemporaryDirectory(prefix="apt-", dir=cache) as apt:
        root = _once(cache / "root", "arm64 packages", lambda folder: _packages(folder, Path(apt)))
        qemu = _once(cache / "qemu", "qemu", lambda folder: _qemu(folder, Path(apt)))
    [python] = (root / "usr/bin").glob("python3.*[0-9]")
    version = python.name.removeprefix("python")
    source = hashlib.sha256((HERE / "librknnrt.c").read_bytes()).hexdigest()[:12]
    return Ingredients(
        qemu=qemu / "qemu-aarch64-static",
        root=root,
        python=python,
        site=_once(cache / f"site-{version}", "arm64 wheels", lambda folder: _wheels(folder, version)),
        library=_once(cache / f"librknnrt-{source}", "our librknnrt", _library) / "librknnrt.so",
    )


def _once(folder: Path, name: str, make: Callable[[Path], None]) -> Path:
    """``folder``, made by ``make`` where it is not there yet: whole or not at all."""
    if not folder.is_dir():
        making = folder.with_name(f"{folder.name}.{os.getpid()}")
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir()
        try:
            with stage(name):
                make(making)
            if not folder.is_dir():
                making.rename(folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return folder


def _packages(root: Path, apt: Path) -> None:
    settings = apt_settings(apt)
    names = next(
        (found for found in map(_python_packages, PYTHONS) if _succeeds(["apt-cache", "show", *found], settings)), None
    )
    if names is None:
        raise MissingError(f"no arm64 package of Python {', '.join(PYTHONS)} in apt's sources (Debian 12 has one)")
    # Into an empty system, so that apt finds all that they need, whatever this machine has.
    command(["apt-get", "install", "--download-only", "--yes", "--quiet", "--no-install-recommends", *names], settings)
    for package in (apt / "cache/archives").glob("*.deb"):
        if not package.name.endswith("_amd64.deb"):
            command(["dpkg", "-x", str(package), str(root)])


def _python_packages(version: str) -> list[str]:
    return [f"python{version}-minimal:arm64", f"libpython{version}-stdlib:arm64", "libstdc++6:arm64"]


def _qemu(folder: Path, apt: Path) -> None:
    installed = shutil.which("qemu-aarch64-static")
    if installed:
        (folder / "qemu-aarch64-static").symlink_to(installed)
        return
    _download(["qemu-user-static:amd64"], folder / "files", apt_settings(apt))
    (folder / "files/usr/bin/qemu-aarch64-static").rename(folder / "qemu-aarch64-static")
    shutil.rmtree(folder / "files")


def unpacked(folder: Path, packages: Sequence[str]) -> Path:
    """``folder``, with Debian's ``packages`` for x86-64 in it, unpacked and not installed, and without what they need;
    fetched where it is not there yet. MissingError where they are not to be had."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="apt-", dir=folder.parent) as apt:
        return _once(folder, packages[0], lambda making: _download(packages, making, apt_settings(Path(apt))))


def _download(packages: Sequence[str], into: Path, settings: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory(dir=into.parent) as name:
        command(["apt-get", "download", "--quiet", *packages], settings, Path(name))
        for package in Path(name).glob("*.deb"):
            command(["dpkg", "-x", str(package), str(into)])


def apt_settings(state: Path) -> dict[str, str]:
    """An environment in which apt knows this machine's sources, but keeps its lists and packages in ``state``."""
    for name in ("apt-get", "apt-cache", "dpkg"):
        if shutil.which(name) is None:
            raise MissingError(f"the twin's arm64 packages come by apt, and there is no {name} here")
    settings = {**os.environ, "APT_CONFIG": str(state / "apt.conf"), "LC_ALL": "C"}
    if not (state / "apt.conf").exists():
        for name in ("lists/partial", "cache/archives/partial"):
            (state / name).mkdir(parents=True)
        (state / "status").touch()
        (state / "apt.conf").write_text(
            f'Dir::State::lists "{state}/lists";\nDir::State::status "{state}/status";\nDir::Cache "{state}/cache";\n'
            'APT::Architecture "amd64";\nAPT::Architectures { "amd64"; "arm64"; };\n'
            # Where root runs this, apt would fetch as a user who may not write here.
            'APT::Sandbox::User "root";\nAcquire::Retries "1";\nAcquire::http::Timeout "10";\n'
        )
        command(["apt-get", "update", "--quiet", "--error-on=any"], settings)
    return settings


def _wheels(folder: Path, version: str) -> None:
    """What deploy brings to a board."""
    needed = requirements(TOOLKIT, "aarch64", version, reference=False)
    _pip(folder, [*wheels_for("aarch64", version), *needed])
    _unpack(folder)


def _library(folder: Path) -> None:
    source, out = str(HERE / "librknnrt.c"), str(folder / "librknnrt.so")
    if shutil.which(GCC):
        command([GCC, *FLAGS, "-o", out, source])
        return
    tool = folder / "ziglang"
    tool.mkdir()
    _pip(tool, [COMPILER])
    _unpack(tool)
    zig = tool / "ziglang/zig"
    zig.chmod(0o755)
    caches = {"ZIG_GLOBAL_CACHE_DIR": str(tool / "cache"), "ZIG_LOCAL_CACHE_DIR": str(tool / "cache")}
    command([str(zig), "cc", "-target", "aarch64-linux-gnu.2.17", *FLAGS, "-o", out, source], {**os.environ, **caches})
    shutil.rmtree(tool)  # 400 MB, for one small file


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
    """Run it. MissingError with what it said last where it fails."""
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
        raise MissingError(f"`{' '.join(words[:3])} …` failed: {said[-1] if said else f'exit {done.returncode}'}")
