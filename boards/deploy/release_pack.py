"""What deploy copies to a board, laid out as on the board: bundle, wheels, requirements, unit, configuration."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rkface.runtime.core.bundle import OPTIONAL, SUMS, Bundle, files

from .dependencies import (
    REQUIREMENTS,
    board_requirements,
    default_cache,
    fetch_wheels,
    pinned_requirements,
    unpacked_size,
)
from .runtime_wheel import build_runtime_wheel

CONFIG = "rkface.toml"  # `rkface run` looks for it beside the bundle
UNIT = Path(__file__).parents[1] / "rkface.service"
OVERHEAD = 1.2  # of the counted bytes: partly used blocks, and Python's compiled files


@dataclass(frozen=True)
class ReleasePack:
    """The files of a release.

    folder   holds links to the files
    folders  the folders below it, relative
    size     bytes that the release needs on the board
    """

    folder: Path
    folders: tuple[str, ...]
    size: int


class ReleasePacker:
    """Packs a release once for each kind of board (processor and Python); several threads may ask at the same time."""

    def __init__(
        self, bundle: Bundle, *, reference: bool, config: Path | None = None, cache: Path | None = None
    ) -> None:
        self._bundle = bundle
        self._config = config
        self._reference = reference
        self._cache = cache or default_cache()
        self._folder = tempfile.TemporaryDirectory(prefix="rkface-deploy-")
        self._packed: dict[tuple[str, str], ReleasePack] = {}
        self._lock = threading.Lock()

    def pack_for(self, machine: str, python: str) -> ReleasePack:
        """The release for boards with this ``uname -m`` and Python ("3.11"). Raises WorkError if wheels are missing."""
        with self._lock:
            key = (machine, python)
            if key not in self._packed:
                needed = board_requirements(self._bundle.manifest.toolkit, machine, python, reference=self._reference)
                wheels = sorted(fetch_wheels(needed, machine, python, self._cache).glob("*.whl"))
                folder = Path(self._folder.name) / f"{machine}-{python}"
                self._packed[key] = pack_release(
                    self._bundle, wheels, folder, build_runtime_wheel, reference=self._reference, config=self._config
                )
            return self._packed[key]

    def close(self) -> None:
        """Remove the packed releases."""
        self._folder.cleanup()


def pack_release(
    bundle: Bundle,
    wheels: list[Path],
    folder: Path,
    build: Callable[[Path], Path],
    *,
    reference: bool,
    config: Path | None,
) -> ReleasePack:
    """Create ``folder`` with links to all files of a release; ``build`` writes the runtime wheel into a folder.

    The bundle's reference models are left out unless ``reference``.
    """
    shutil.rmtree(folder, ignore_errors=True)  # left by a failed attempt for another board
    (folder / "wheels").mkdir(parents=True)
    all_wheels = [*wheels, build(folder / "wheels")]
    for wheel in wheels:
        (folder / "wheels" / wheel.name).symlink_to(wheel.resolve())
    for name in (*files(bundle.folder), SUMS):
        if reference or not name.startswith(f"{OPTIONAL}/"):
            link = folder / "bundle" / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to((bundle.folder / name).resolve())
    (folder / REQUIREMENTS).write_text(pinned_requirements(all_wheels), encoding="utf-8")
    (folder / UNIT.name).symlink_to(UNIT)
    if config:
        (folder / CONFIG).symlink_to(config.resolve())
    copied = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    folders = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_dir())
    return ReleasePack(folder, tuple(folders), int((copied + unpacked_size(all_wheels)) * OVERHEAD))


def release_name(bundle: Bundle, stamp: str) -> str:
    """STAMP-DIGEST: when it was deployed, and the first digits of the hash of the bundle's checksums."""
    digest = hashlib.sha256((bundle.folder / SUMS).read_bytes()).hexdigest()
    return f"{stamp}-{digest[:8]}"
