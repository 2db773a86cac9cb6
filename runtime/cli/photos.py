"""What the commands on photos share: their options, which photos are meant, and where drawings go."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.arguments import fraction
from ..core.errors import InputError, WorkError
from ..core.messages import show_message
from ..core.paths import require_folder
from ..core.progress import stage
from .options import add_backend, add_bundle

if TYPE_CHECKING:
    from ..inference.pipeline import Pipeline

MANY = 20  # photos that take more than a few seconds
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")  # of drawings


def add_photo_options(parser: ArgumentParser) -> None:
    add_bundle(parser)
    add_backend(parser)
    parser.add_argument(
        "--provider",
        default="cpu",
        metavar="NAME",
        help="with the reference backend: ONNX Runtime's cpu, openvino or cuda (default: %(default)s)",
    )
    parser.add_argument(
        "--threshold", type=fraction, metavar="T", help="minimum detection score, 0 to 1 (default: the bundle's)"
    )


def open_pipeline(options: Namespace, threads: int | None = None) -> Pipeline:
    """The bundle's pipeline. ``threads``: as ``open_bundle``."""
    from ..inference.open_bundle import open_bundle

    return open_bundle(options.bundle, options.backend, (options.provider,), threads)


def inference_threads(count: int) -> int | None:
    """The threads of ONNX Runtime for one inference, if ``count`` photos are worked on by ``ReadAhead``.

    With many photos, each core works on a photo of its own, which takes less time than all cores on one photo.
    """
    return 1 if count >= MANY else None


@contextmanager
def photo_progress(count: int, *, shown: bool = False) -> Iterator[Callable[[int], None]]:
    """Show how far a command is with its ``count`` photos, if they are ``MANY`` and its results are not shown on the
    same terminal, which ``shown`` promises. Gives a function to call with the number of photos that are done."""
    if count < MANY or (sys.stdout.isatty() and not shown):
        yield lambda done: None
        return
    started = time.monotonic()
    with stage("photos") as line:
        yield lambda done: line.advance(done, count)
        line.note = f"{count} photos, {count / (time.monotonic() - started):.1f}/s"


def print_skipped(skipped: int, count: int, why: str) -> None:
    """Say on stderr how many of ``count`` photos --resume skips."""
    show_message(f"{skipped} of {count} photos are skipped: {why}")


def expand_folders(paths: Iterable[Path]) -> list[Path]:
    """The photos of ``paths``: files as given, and for a folder all photos in it and its subfolders, sorted by path.

    In folders, hidden files and files that are not named like photos are left out; pictures of other formats are
    counted on stderr. InputError for a folder that has no photos. Whether a file exists and is a photo is found out
    when it is read.
    """
    from ..vision.photo_files import count_left_out, list_photos

    photos: list[Path] = []
    for path in paths:
        if not path.is_dir():
            photos.append(path)
            continue
        found = list_photos(path)
        unread = count_left_out(found.left_out)
        if not found.photos:
            raise InputError(
                f"{path}: no photos in this folder (JPEG, PNG, WebP, BMP or HEIC){f'; {unread}' if unread else ''}"
            )
        if unread:
            show_message(unread)
        photos += found.photos
    return photos


def drawing_paths(draw: Path, photos: Sequence[Path], *, folder: bool) -> list[Path]:
    """Where the drawing of each photo goes: one file, or a file for each photo in a folder.

    ``folder`` is true if ``draw`` must be a folder because there may be several photos; it need not exist yet.
    InputError, before any work, if ``draw`` cannot be used or a photo would be overwritten.
    """
    if draw.is_dir() or folder:
        _check_folder(draw)
        targets = [draw / f"{stem}.jpg" for stem in _unique_stems(photos)]
    else:
        targets = [check_drawing(draw)]
    check_not_a_photo(draw, targets, photos)
    return targets


def create_folder(folder: Path) -> None:
    """Create the folder for drawings if it does not exist."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise WorkError(f"--draw {folder}: the folder cannot be created: {error.strerror}") from error


def check_drawing(path: Path) -> Path:
    """``path``, if a drawing can be written there."""
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        raise InputError(f"--draw {path}: the name of a drawing must end in .jpg or .png")
    require_folder(path, f"--draw {path}")
    return path


def check_not_a_photo(draw: Path, targets: Iterable[Path], photos: Iterable[Path]) -> None:
    """InputError if one of ``targets``, the files that --draw ``draw`` writes, is one of ``photos``."""
    originals = {photo.resolve(): photo for photo in photos}
    for target in targets:
        if target.resolve() in originals:
            raise InputError(
                f"--draw {draw} would overwrite the photo {originals[target.resolve()]}: choose another place"
            )


def _unique_stems(photos: Iterable[Path]) -> list[str]:
    """A file name without suffix for each photo. For a/ada.jpg and b/ada.png they are ada and ada-2."""
    stems: dict[str, None] = {}
    for photo in photos:
        numbered = (f"{photo.stem}-{number}" for number in count(2))
        stems[next(stem for stem in chain([photo.stem], numbered) if stem not in stems)] = None
    return list(stems)


def _check_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    if folder.suffix.lower() in PICTURE_SUFFIXES or folder.exists():
        raise InputError(f"--draw {folder}: for several photos this must be a folder")
    require_folder(folder, f"--draw {folder}")
