"""Models that ONNX Runtime has made ready for this processor: optimized, with weights in the order of its kernels.

To make an IResNet-50 of 174 MB ready is most of the work of opening it. So the ready model is kept in rkface's cache,
and opened from there: in 0.07 s of CPU time instead of 0.19 s, and in 145 MB less memory, because its weights are
mapped. The numbers that it computes are the same, except for rounding in the last layer (3e-7 of an embedding).

A ready model is a folder, named after all that it depends on: the model's SHA-256, the version of ONNX Runtime, and the
processor. Checksums of its files show damage of the disk. It can always be deleted.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable
from contextlib import suppress
from logging import getLogger
from pathlib import Path

import numpy as np

from ..core.bundle import read_parts
from ..core.paths import cache_folder

KEPT = 4  # ready models in the cache; the one that was used least recently goes first
MODEL, SUMS = "model.onnx", "sums"
WORDS = 64  # of 8 bytes: a sector of a disk

log = getLogger("rkface.models")


def ready_model(digest: str, runtime: str, make: Callable[[Path], object]) -> Path | None:
    """The path of the model with the SHA-256 ``digest``, ready for ONNX Runtime ``runtime`` ("1.26.0") on this
    processor.

    If it is not in the cache, ``make(path)`` must write it, with its weights in the same folder. None if the cache
    cannot be written, or if others can write it. What ``make`` raises is raised.
    """
    key = hashlib.sha256("\n".join((digest, runtime, _processor())).encode()).hexdigest()[:32]
    try:
        folder = _own_folder(cache_folder() / "ready") / key
        if not _is_whole(folder):
            _make(folder, make)
        os.utime(folder)
    except (OSError, RuntimeError) as error:  # RuntimeError: this user has no home
        log.debug("models are not kept ready: %s", error)
        return None
    return folder / MODEL


def _own_folder(folder: Path) -> Path:
    """Make ``folder``. Raises OSError if another user could put files into it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise PermissionError(f"{folder} can be written by other users")
    return folder


def _processor() -> str:
    """What ONNX Runtime's choice of kernels depends on."""
    with suppress(OSError), Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
        names = ("flags", "Features", "model name", "CPU part")
        return "".join(sorted({line for line in file if line.startswith(names)}))
    return " ".join(os.uname())


def _is_whole(folder: Path) -> bool:
    """Whether ``folder`` is a ready model, and each of its files is what was written."""
    try:
        expected = (folder / SUMS).read_text()
    except FileNotFoundError:
        return False
    return expected == _sums(folder)


def _sums(folder: Path) -> str:
    """A line for each file in ``folder``: a checksum, its size and its name.

    The checksum is the CRC-32 of the sums of all sectors, in words of 64 bits. It finds single wrong bits, and sectors
    that are wrong or in another place, but not words that changed places in a sector, which no damage of a disk does.
    It takes a third to a half of the time of a CRC-32 of all bytes.
    """
    lines = []
    for path in sorted(path for path in folder.iterdir() if path.name != SUMS):
        crc = size = 0
        for part in read_parts(path):
            whole = len(part) // (8 * WORDS) * 8 * WORDS
            sectors = np.frombuffer(part[:whole], np.uint64).reshape(-1, WORDS)
            crc = zlib.crc32(part[whole:], zlib.crc32(sectors.sum(axis=1), crc))
            size += len(part)
        lines.append(f"{crc:08x} {size} {path.name}\n")
    return "".join(lines)


def _make(folder: Path, make: Callable[[Path], object]) -> None:
    """Make ``folder``, unless another process is faster, and delete ready models that are too many."""
    import shutil
    from tempfile import TemporaryDirectory

    shutil.rmtree(folder, ignore_errors=True)  # if it is damaged
    with TemporaryDirectory(dir=folder.parent) as name:
        new = Path(name) / "new"
        new.mkdir()
        make(new / MODEL)
        (new / SUMS).write_text(_sums(new))
        try:
            new.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    for old in sorted(folder.parent.iterdir(), key=lambda path: path.stat().st_mtime)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
