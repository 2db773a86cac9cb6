"""The calibration set on disk: its files, and reading and checking them. ``write_set.py`` writes it.

::

    set/                  mode 0700, because it contains faces of people
      recognizer/         0000.png …: aligned crops, the most representative first; dataset.txt lists them
      detector/           0000.png …: frames, letterboxed to the detector's input size; dataset.txt lists them
      calibration.json    digest, the crop, the source of every image, and what was left out and why
      contact.png         all faces
      spread.png          histograms of pose, light, skin tone, size and quality, beside those of all usable faces

The colors of the PNGs are right in any viewer. rknn-toolkit2 reads them as RGB, the order that the runtime feeds.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rkface.runtime.core.bundle import sha256
from rkface.runtime.core.crop_template import ARCFACE_112, CropTemplate
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.files import parse_json, read_text
from rkface.runtime.core.manifest_reader import read_crop
from rkface.runtime.core.text import in_a_line, show_value

from . import MINIMUM
from .atomic_folder import check_writable

SCHEMA, KIND = 2, "rkface calibration set"
RECORD, LIST = "calibration.json", "dataset.txt"
MAX_BYTES = 50_000_000  # of the record and of a list
CONTACT, SPREAD = "contact.png", "spread.png"
FOLDERS = ("recognizer", "detector")
FILES = "|".join(map(re.escape, (RECORD, CONTACT, SPREAD)))
LAYOUT = re.compile(rf"({'|'.join(FOLDERS)})(/(\d{{4,}}\.png|{re.escape(LIST)}))?|{FILES}")


@dataclass(frozen=True)
class CalibrationSet:
    """A calibration set that was read and verified.

    recognizer, detector  paths of their dataset.txt
    digest                SHA-256 of the content and order of all images
    faces, frames         number of images for the recognizer and the detector
    width, height         of the frames, in pixels
    crop                  how the faces are aligned
    sources               SHA-256 of every photo in the set; evaluation must not use these photos
    """

    folder: Path
    recognizer: Path
    detector: Path
    digest: str
    faces: int
    frames: int
    width: int
    height: int
    crop: CropTemplate
    sources: frozenset[str]


@dataclass(frozen=True)
class ImageRecord:
    """An image of the set and the photo that it was made from. ``file`` is relative to the set."""

    file: str
    sha256: str
    source: str
    source_sha256: str
    box: tuple[float, ...] | None = None  # of the face, in pixels of the photo after it was turned; None for a frame
    quality: dict[str, float] | None = None
    turned: int | None = None  # by how many degrees the photo was turned clockwise; None if it was not


def read_set(folder: Path) -> CalibrationSet:
    """Read and verify the set in ``folder``.

    Raises InputError if it is not a calibration set, has another schema, or if an image or list is missing or changed.
    """
    raw = _parse(folder)
    schema = raw.get("schema")
    if type(schema) is not int or not 1 <= schema <= SCHEMA:
        raise InputError(
            f"{folder / RECORD}: schema {show_value(schema)}, this rkface reads 1 to {SCHEMA}: run `rkface calibrate` "
            "again"
        )
    try:
        crops, scenes = ([ImageRecord(**entry) for entry in raw[name]["images"]] for name in FOLDERS)
        width, height, digest = int(raw["detector"]["width"]), int(raw["detector"]["height"]), str(raw["digest"])
        crop = ARCFACE_112 if schema == 1 else read_crop(raw["recognizer"]["crop"])
        texts = [text for one in (*crops, *scenes) for text in (one.file, one.sha256, one.source_sha256)]
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("a name or a digest is not a text")
    except (InputError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise _damaged(folder / RECORD, f"has a missing or wrong entry ({in_a_line(str(error)[:200])})") from error
    for name, images in zip(FOLDERS, (crops, scenes), strict=True):
        _check_list(folder / name / LIST, [Path(image.file).name for image in images])
        for image in images:
            _check_image(folder, image)
    if digest_of([*crops, *scenes]) != digest or len(crops) < MINIMUM or not scenes:
        raise _damaged(folder / RECORD, "does not match its own digest")
    return CalibrationSet(
        folder=folder,
        recognizer=folder / "recognizer" / LIST,
        detector=folder / "detector" / LIST,
        digest=digest,
        faces=len(crops),
        frames=len(scenes),
        width=width,
        height=height,
        crop=crop,
        sources=frozenset(image.source_sha256 for image in (*crops, *scenes)),
    )


def is_set(folder: Path) -> bool:
    """Whether ``folder`` has the record of a calibration set; ``read_set`` verifies the set."""
    return (folder / RECORD).is_file()


def check_output_folder(out: Path) -> None:
    """Check that a set can be written to ``out``; changes nothing.

    Raises InputError unless ``out`` does not exist, is an empty folder, or is a calibration set without other files.
    Raises WorkError if it cannot be written.
    """
    check_writable(out)
    if out.is_dir():
        foreign = sorted(
            name for path in out.rglob("*") if not LAYOUT.fullmatch(name := path.relative_to(out).as_posix())
        )
        if foreign or (any(out.iterdir()) and not (out / RECORD).is_file()):
            what = f"contains {foreign[0]}" if foreign else f"has no {RECORD}"
            raise InputError(
                f"{out} exists and is not a calibration set (it {what}): choose another folder or empty it"
            )
        if (out / RECORD).is_file():
            _parse(out)
    elif out.exists():
        raise InputError(f"{out} is a file, but the calibration set needs a folder: choose another name")


def digest_of(images: Iterable[ImageRecord]) -> str:
    """SHA-256 of the names and contents of ``images``, in their order."""
    lines = "".join(f"{image.sha256}  {image.file}\n" for image in images)
    return hashlib.sha256(lines.encode()).hexdigest()


def _parse(folder: Path) -> dict[str, Any]:
    path = folder / RECORD
    try:
        raw = parse_json(read_text(path, MAX_BYTES))
    except (InputError, ValueError) as error:
        if not is_set(folder):
            raise InputError(
                f"{folder} is not a calibration set: it has no {RECORD}; `rkface calibrate` makes one"
            ) from error
        raise _damaged(path, f"cannot be read as JSON ({error})") from error
    if not isinstance(raw, dict) or raw.get("kind") != KIND:
        raise InputError(
            f"{folder} is not a calibration set (its {RECORD} is of another kind); `rkface calibrate` makes one"
        )
    return raw


def _check_list(path: Path, expected: list[str]) -> None:
    try:
        names = read_text(path, MAX_BYTES).splitlines()
    except InputError as error:
        raise _damaged(path, "is missing or unreadable") from error
    if names != expected:
        raise _damaged(path, f"does not list the images of {RECORD}")


def _check_image(folder: Path, image: ImageRecord) -> None:
    if not LAYOUT.fullmatch(image.file):
        raise _damaged(folder / RECORD, f"names a file outside the set: {show_value(image.file)}")
    try:
        same = sha256(folder / image.file) == image.sha256
    except OSError as error:
        raise _damaged(folder / image.file, "is missing or unreadable") from error
    if not same:
        raise _damaged(folder / image.file, "was changed or damaged (its SHA-256 is different)")


def _damaged(path: Path, how: str) -> InputError:
    return InputError(f"{path} {how}: run `rkface calibrate` again, or copy the whole set again")
