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
from rkface.runtime.core.paths import cache_folder

from .dependencies import (
    REQUIREMENTS,
    board_requirements,
    fetch_wheels,
    pinned_requirements,
    unpacked_size,
)
from .release_files import SUMS as RELEASE_SUMS
from .release_files import digest_contents, hash_files, write_list
from .runtime_wheel import build_runtime_wheel
from .sign_release import sign_file

CONFIG = "rkface.toml"  # `rkface run` looks for it beside the bundle
UNIT = Path(__file__).parents[1] / "rkface.service"
OVERHEAD = 1.2  # of the counted bytes: partly used blocks, and Python's compiled files


@dataclass(frozen=True)
class ReleasePack:
    """The files of a release.

    folder   holds links to the files
    folders  the folders below it, relative
    size     bytes that the release needs on the board
    contents what tells releases with other files from this one (release_files.py)
    """

    folder: Path
    folders: tuple[str, ...]
    size: int
    contents: str


class ReleasePacker:
    """Packs the release ``name`` once for each kind of board (processor and Python), and signs it with the ssh key
    ``sign``; several threads may ask at the same time."""

    def __init__(
        self,
        bundle: Bundle,
        name: str,
        *,
        reference: bool,
        config: Path | None = None,
        sign: Path | None = None,
        cache: Path | None = None,
    ) -> None:
        self._bundle = bundle
        self.name = name
        self._sign = sign
        self._config = config
        self._reference = reference
        self._cache = cache or cache_folder() / "wheels"
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
                    self._bundle,
                    self.name,
                    wheels,
                    folder,
                    build_runtime_wheel,
                    reference=self._reference,
                    config=self._config,
                )
                if self._sign:
                    sign_file(self._sign, folder / RELEASE_SUMS)
            return self._packed[key]

    def close(self) -> None:
        """Remove the packed releases."""
        self._folder.cleanup()


def pack_release(
    bundle: Bundle,
    name: str,
    wheels: list[Path],
    folder: Path,
    build: Callable[[Path], Path],
    *,
    reference: bool,
    config: Path | None,
) -> ReleasePack:
    """Create ``folder`` with links to all files of the release ``name``, and their list; ``build`` writes the runtime
    wheel into a folder.

    The bundle's reference models are left out unless ``reference``.
    """
    shutil.rmtree(folder, ignore_errors=True)  # left by a failed attempt for another board
    (folder / "wheels").mkdir(parents=True)
    all_wheels = [*wheels, build(folder / "wheels")]
    for wheel in wheels:
        (folder / "wheels" / wheel.name).symlink_to(wheel.resolve())
    for path in (*files(bundle.folder), SUMS):
        if reference or not path.startswith(f"{OPTIONAL}/"):
            link = folder / "bundle" / path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to((bundle.folder / path).resolve())
    (folder / REQUIREMENTS).write_text(pinned_requirements(all_wheels), encoding="utf-8")
    (folder / UNIT.name).symlink_to(UNIT)
    if config:
        (folder / CONFIG).symlink_to(config.resolve())
    sums = hash_files(folder)
    (folder / RELEASE_SUMS).write_text(write_list(name, sums), encoding="utf-8")
    copied = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    folders = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_dir())
    size = int((copied + unpacked_size(all_wheels)) * OVERHEAD)
    return ReleasePack(folder, tuple(folders), size, digest_contents(sums))


def release_name(bundle: Bundle, stamp: str) -> str:
    """STAMP-DIGEST: when it was deployed, and the first digits of the hash of the bundle's checksums."""
    digest = hashlib.sha256((bundle.folder / SUMS).read_bytes()).hexdigest()
    return f"{stamp}-{digest[:8]}"
