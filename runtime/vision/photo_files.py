"""Which files of a folder are photos, and which ones are left out although they may show somebody."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import InputError
from ..core.paths import as_path
from ..core.text import in_a_line

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".heic", ".heif", ".hif"})
RAW = frozenset(
    {".raw", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".dng", ".orf", ".rw2", ".raf", ".pef", ".srw", ".x3f"}
)
OTHER_PICTURES = frozenset({".avif", ".tif", ".tiff", ".gif", ".jp2", ".jxl", ".psd", ".tga", ".ppm", ".pgm"})
ARCHIVES = frozenset({".zip", ".7z", ".rar", ".tar", ".tgz", ".gz"})

# Folders and files of systems and programs, beside the names that ``is_system_name`` knows by their first character.
SYSTEM_NAMES = frozenset(
    {"system volume information", "lost+found", "recycler", "recycled", "ipod photo cache", "thumbs.db", "desktop.ini"}
)


@dataclass(frozen=True)
class LeftOut:
    """A file or folder that may have photos, but was not read, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class PhotoFiles:
    """The photos below a folder, sorted by path, and what was left out."""

    photos: tuple[Path, ...]
    left_out: tuple[LeftOut, ...]


def list_photos(folder: Path) -> PhotoFiles:
    """All photos below ``folder``, recognized by suffix.

    Hidden names and those of systems (``is_system_name``) are ignored. A link to a folder is followed, unless its
    photos are found without it. Raises InputError if ``folder`` is not a folder.
    """
    folder = as_path(folder, "a folder of photos")
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder of photos")
    photos: list[Path] = []
    left_out: list[LeftOut] = []

    def note_closed(error: OSError) -> None:
        left_out.append(LeftOut(Path(error.filename), f"the folder cannot be read: {error.strerror or error}"))

    walked: set[str] = set()
    for place, folders, names in os.walk(folder, onerror=note_closed, followlinks=True):
        real = os.path.realpath(place)
        if real in walked:  # a link that leads back
            folders.clear()
            continue
        walked.add(real)
        # Folders before links to folders, so that photos have the path without a link.
        folders[:] = sorted(
            (name for name in folders if not is_system_name(name)),
            key=lambda name: (Path(place, name).is_symlink(), name),
        )
        for name in names:
            if is_system_name(name):
                continue
            reason = _why_left_out(Path(place, name), names)
            if reason:
                left_out.append(LeftOut(Path(place, name), reason))
            elif Path(name).suffix.lower() in SUFFIXES:
                photos.append(Path(place, name))
    return PhotoFiles(tuple(sorted(photos)), tuple(sorted(left_out, key=lambda one: one.path)))


def find_images(folder: Path) -> list[Path]:
    """The photos of ``list_photos``."""
    return list(list_photos(folder).photos)


def is_system_name(name: str) -> bool:
    """Whether ``name`` is that of a file or folder of an operating system, a network drive or a program: .AppleDouble,
    ._ada.jpg, @eaDir, #recycle, $RECYCLE.BIN, ~tmp, __MACOSX, lost+found. No person is called like that."""
    return name.startswith((".", "@", "#", "$", "~", "__")) or name.casefold() in SYSTEM_NAMES


def count_left_out(left_out: Sequence[LeftOut]) -> str:
    """``left_out`` in one sentence: how many of each kind, an example, and what to do. "" if nothing was."""
    if not left_out:
        return ""
    kinds = Counter(one.path.suffix.lower() or "folder" for one in left_out)
    listed = ", ".join(f"{number} {in_a_line(kind)}" for kind, number in kinds.most_common())
    example = left_out[0]
    return f"not read: {listed}, such as {in_a_line(str(example.path))}: {example.reason}"


def _why_left_out(path: Path, beside: Iterable[str]) -> str:
    """Why ``path``, which may show somebody, is not read; "" if it is read, or is no picture."""
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        if path.is_file():
            return ""
        return "this is not a regular file" if path.exists() else "the link leads nowhere"
    if suffix in RAW:
        developed = any(Path(name).stem == path.stem and Path(name).suffix.lower() in SUFFIXES for name in beside)
        return "" if developed else "a camera's raw file: export it as JPEG"
    if suffix in OTHER_PICTURES:
        return f"{suffix} pictures are not read: save it as JPEG or PNG"
    return "an archive: unpack it first" if suffix in ARCHIVES else ""
