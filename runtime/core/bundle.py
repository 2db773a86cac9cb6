"""The bundle: the folder that ``rkface convert`` writes, and the checks before a board uses it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .errors import BundleError, InputError
from .files import read_text
from .manifest import MANIFEST, Manifest, Model
from .manifest_reader import parse_manifest, path_inside
from .paths import as_path
from .text import in_a_line, show_value

SUMS = "SHA256SUMS"
OPTIONAL = "reference"  # a board does not need this folder
MAX_SUMS = 1_000_000  # bytes of SHA256SUMS
# Bytes that are hashed at once. Other threads run meanwhile, and after each piece Python lets this one wait for up to
# 5 ms (sys.getswitchinterval) if they are busy: as long as 2 MB take.
CHUNK = 1 << 23


@dataclass(frozen=True)
class Bundle:
    """A verified bundle: its folder, its manifest, and the SHA-256 of each file that was verified."""

    folder: Path
    manifest: Manifest
    sums: Mapping[str, str] = field(default_factory=dict)

    def model(self, name: str) -> Model:
        return self.manifest.model(name)

    def path(self, name: str) -> Path:
        return self.folder / self.model(name).file

    def reference(self, name: str) -> Path:
        """Path of the simplified ONNX model. Raises BundleError if this copy of the bundle has no reference folder."""
        path = self.folder / self.model(name).reference
        if not path.is_file():
            raise BundleError(
                f"{self.folder} has no {OPTIONAL}/ folder, which the reference backend needs: "
                "use the complete bundle, or --backend npu on the board"
            )
        return path

    def reference_digest(self, name: str) -> str | None:
        """SHA-256 of the simplified ONNX model, if it was verified."""
        return self.sums.get(self.model(name).reference)

    def check_chip(self, soc: str | None) -> None:
        """Raise BundleError if the models are not for the chip ``soc`` ("rk3588"), on which this runs; None: any."""
        target = self.manifest.target
        if soc is not None and soc != target:
            raise BundleError(f"{self.folder} was made for {target}, this is {soc}: convert again with --target {soc}")


def read_bundle(folder: str | Path, soc: str | None = None) -> Bundle:
    """Read and verify the bundle in ``folder``. ``soc`` is the chip that this runs on ("rk3588"), or None for any.

    Raises BundleError if the folder is not a bundle, has another schema, was made for another chip, or has a file that
    is missing, changed, or not part of the bundle.
    """
    folder = as_path(folder, "a bundle's folder")
    if folder.is_file():
        raise BundleError(f"{folder} is a file: name the bundle's folder, which contains {MANIFEST}")
    if not folder.is_dir():
        raise BundleError(f"{folder}: no such bundle folder: `rkface convert` makes one")
    manifest = parse_manifest(folder)
    bundle = Bundle(folder, manifest, verify(folder))
    bundle.check_chip(soc)
    for model in manifest.models.values():
        if not (folder / model.file).is_file():
            raise BundleError(f"{folder}: the manifest names {model.file}, but the file is missing: copy it again")
    return bundle


def sha256(path: Path) -> str:
    """SHA-256 of the file at ``path``, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for part in read_parts(path):
        digest.update(part)
    return digest.hexdigest()


def read_parts(path: Path) -> Iterator[memoryview]:
    """The content of the file at ``path``, in parts that share one buffer: each is valid until the next one."""
    buffer = memoryview(bytearray(CHUNK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            yield buffer[:count]


def files(folder: Path) -> list[str]:
    """Relative POSIX paths of all files under ``folder``, except SHA256SUMS, sorted."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if name != SUMS)


def _read_sum(line: str) -> tuple[str, str]:
    """The file and the digest in a line of SHA256SUMS. Raises ValueError."""
    found = re.fullmatch(r"([0-9a-f]{64}) [ *](.+)", line)
    if found is None:
        raise ValueError(f"this is not a line of sha256sum: {show_value(line)}")
    return path_inside(found[2]), found[1]


def verify(folder: Path) -> dict[str, str]:
    """Compare every file with SHA256SUMS (the format of ``sha256sum``), and return the SHA-256 of each file that it
    lists. Raises BundleError, which names the first file that differs."""
    try:
        lines = read_text(folder / SUMS, MAX_SUMS).split("\n")
        expected = dict(map(_read_sum, filter(None, lines)))
    except (InputError, ValueError) as error:
        raise BundleError(f"{folder / SUMS} cannot be read ({error}): copy the complete bundle again") from error
    for name, digest in expected.items():
        path = folder / name
        if not path.is_file():
            if name.startswith(f"{OPTIONAL}/"):
                continue
            raise BundleError(f"{folder}: {name} is missing: copy the complete bundle again")
        try:
            actual = sha256(path)
        except OSError as error:
            raise BundleError(f"{path}: cannot be read: {error.strerror or error}: copy it again") from error
        if actual != digest:
            raise BundleError(f"{path} was changed or damaged after conversion (its SHA-256 differs): copy it again")
    foreign = [name for name in files(folder) if name not in expected]
    if foreign:
        raise BundleError(
            f"{folder}: {in_a_line(foreign[0])} is not part of the bundle (not in {SUMS}): delete it, or copy the "
            "bundle again"
        )
    return expected
