"""Takes models out of an archive: .zip and .tar.gz."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from rkface.runtime.core.bundle import sha256
from rkface.runtime.core.errors import InputError

from .pack import KnownModel

CHUNK = 1 << 18
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError)

Entries = Mapping[str, Callable[[], IO[bytes]]]  # opens each file in an archive, by its name


def unpack(archive: Path, models: Sequence[KnownModel], folder: Path) -> None:
    """Extract ``models`` from ``archive`` into ``folder``; each is verified before it appears there.

    Raises InputError if the archive is damaged, lacks a model, contains another file under its name, or has an entry
    that would be written outside the folder.
    """
    try:
        with _open_archive(archive) as entries:
            unsafe = [name for name in entries if _leaves(name)]
            if unsafe:
                raise InputError(
                    f"{archive} contains {unsafe[0]!r}, which would be written outside its folder: do not use this file"
                )
            for model in models:
                name = next((name for name in entries if PurePosixPath(name).name == model.file), None)
                if name is None:
                    raise InputError(f"{archive} has no {model.file}: delete it and download again")
                with entries[name]() as content:
                    _extract(content, model, folder, f"{name} in {archive}")
    except DAMAGED as error:
        raise InputError(f"{archive} is a damaged archive ({error}): delete it and download again") from error


@contextmanager
def _open_archive(archive: Path) -> Iterator[Entries]:
    if archive.name.endswith(".zip"):
        with zipfile.ZipFile(archive) as packed:
            yield {name: partial(packed.open, name) for name in packed.namelist() if not name.endswith("/")}
    else:
        with tarfile.open(archive, "r:gz") as packed_tar:
            yield {entry.name: partial(_open_member, packed_tar, entry) for entry in packed_tar if not entry.isdir()}


def _open_member(packed: tarfile.TarFile, entry: tarfile.TarInfo) -> IO[bytes]:
    content = packed.extractfile(entry) if entry.isfile() else None
    if content is None:  # a link may lead anywhere
        raise InputError(f"{entry.name} in {packed.name!s} is not a file: do not use this archive")
    return content


def _leaves(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or ":" in "".join(path.parts[:1])


def _extract(content: IO[bytes], model: KnownModel, folder: Path, place: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        new = Path(scratch) / model.file
        with new.open("wb") as file:
            shutil.copyfileobj(content, file, CHUNK)
        if sha256(new) != model.sha256:
            raise InputError(f"{place} is not the known {model.file} (its SHA-256 differs)")
        new.replace(folder / model.file)
