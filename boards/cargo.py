"""What travels to a board, laid out as it will lie there: bundle, wheels, requirements, unit."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rkface.runtime.core.bundle import OPTIONAL, SUMS, Bundle, files

from .wheel import (
    REQUIREMENTS,
    build_runtime_wheel,
    default_cache,
    fetch_wheels,
    pin,
    requirements,
    unpacked_size,
)

CONFIG = "rkface.toml"  # what `rkface run` looks for beside the bundle
UNIT = Path(__file__).with_name("rkface.service")
SPARE = 1.2  # of the counted bytes: blocks half used, and Python's compiled files


@dataclass(frozen=True)
class Cargo:
    """``folder`` holds links, ``folders`` are those below it; ``size`` in bytes is what a release takes there."""

    folder: Path
    folders: tuple[str, ...]
    size: int


class Loader:
    """Packs a cargo once for each kind of board (processor and Python), however many boards ask at a time."""

    def __init__(
        self, bundle: Bundle, *, reference: bool, config: Path | None = None, cache: Path | None = None
    ) -> None:
        self._bundle = bundle
        self._config = config
        self._reference = reference
        self._cache = cache or default_cache()
        self._place = tempfile.TemporaryDirectory(prefix="rkface-deploy-")
        self._packed: dict[tuple[str, str], Cargo] = {}
        self._packing = threading.Lock()

    def load(self, machine: str, python: str) -> Cargo:
        """For a board with this ``uname -m`` and this Python ("3.11"). WorkError where wheels are not to be had."""
        with self._packing:
            key = (machine, python)
            if key not in self._packed:
                needed = requirements(self._bundle.manifest.toolkit, machine, python, reference=self._reference)
                wheels = sorted(fetch_wheels(needed, machine, python, self._cache).glob("*.whl"))
                folder = Path(self._place.name) / f"{machine}-{python}"
                self._packed[key] = pack(
                    self._bundle, wheels, folder, build_runtime_wheel, reference=self._reference, config=self._config
                )
            return self._packed[key]

    def close(self) -> None:
        self._place.cleanup()


def pack(
    bundle: Bundle,
    wheels: list[Path],
    folder: Path,
    build: Callable[[Path], Path],
    *,
    reference: bool,
    config: Path | None,
) -> Cargo:
    """Lay links to everything into ``folder``, which is made. The reference models stay here unless they are used."""
    shutil.rmtree(folder, ignore_errors=True)  # what an attempt for another board left half done
    (folder / "wheels").mkdir(parents=True)
    every = [*wheels, build(folder / "wheels")]
    for wheel in wheels:
        (folder / "wheels" / wheel.name).symlink_to(wheel.resolve())
    for name in (*files(bundle.folder), SUMS):
        if reference or not name.startswith(f"{OPTIONAL}/"):
            place = folder / "bundle" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to((bundle.folder / name).resolve())
    (folder / REQUIREMENTS).write_text(pin(every), encoding="utf-8")
    (folder / UNIT.name).symlink_to(UNIT)
    if config:
        (folder / CONFIG).symlink_to(config.resolve())
    copied = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    folders = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_dir())
    return Cargo(folder, tuple(folders), int((copied + unpacked_size(every)) * SPARE))


def release_name(bundle: Bundle, stamp: str) -> str:
    """STAMP-DIGEST, the digest being that of the bundle's sums: which bundle, and when."""
    digest = hashlib.sha256((bundle.folder / SUMS).read_bytes()).hexdigest()
    return f"{stamp}-{digest[:8]}"
