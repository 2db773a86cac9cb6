"""The calibration set on disk: images, their lists for the toolkit, where they come from, and a contact sheet.

::

    set/                  mode 0700, because it holds people's faces
      recognizer/         0000.png …, aligned 112×112 crops, the most telling first; dataset.txt lists them
      detector/           0000.png …, letterboxed frames of the detector's size; dataset.txt
      calibration.json    digest, and for every image its source; what was left out and why
      contact.png         all faces at one glance
      spread.png          how their pose, light, skin tone, size and quality are spread, beside all there were

The PNGs show right colors in any viewer. rknn-toolkit2 reads them as RGB by default, which is what the runtime feeds.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rkface.runtime.core.bundle import sha256
from rkface.runtime.core.errors import InputError
from rkface.runtime.vision.detect import letterbox
from rkface.runtime.vision.image import read_image

from . import MINIMUM
from .atomic_folder import atomic_folder, check_writable
from .collect import CandidateFace, Skipped
from .contact_sheet import contact_sheet
from .histograms import histogram_sheet

__all__ = ["MINIMUM", "CalibrationSet", "Provenance", "check_output_folder", "is_set", "read_set", "write_set"]

SCHEMA, KIND = 1, "rkface calibration set"
RECORD, LIST = "calibration.json", "dataset.txt"
CONTACT, SPREAD = "contact.png", "spread.png"
FOLDERS = ("recognizer", "detector")
FILES = "|".join(map(re.escape, (RECORD, CONTACT, SPREAD)))
LAYOUT = re.compile(rf"({'|'.join(FOLDERS)})(/(\d{{4,}}\.png|{re.escape(LIST)}))?|{FILES}")


@dataclass(frozen=True)
class CalibrationSet:
    """A verified set.

    recognizer, detector  their dataset.txt
    digest                SHA-256 over the content and order of all images
    faces, frames         how many images each list has
    width, height         of the detector's frames
    sources               SHA-256 of every photo that an image was made from: what evaluation must not use
    """

    folder: Path
    recognizer: Path
    detector: Path
    digest: str
    faces: int
    frames: int
    width: int
    height: int
    sources: frozenset[str]


@dataclass(frozen=True)
class Provenance:
    """How the faces were found: the folder of ``photos``, the SHA-256 of the detector's ONNX, the ``threshold`` on its
    scores, and all that was ``left_out``. Paths are recorded relative to ``photos``, so that sets of equal photos are
    equal wherever they were made."""

    photos: Path
    detector_sha256: str
    threshold: float
    left_out: tuple[Skipped, ...] = ()


@dataclass(frozen=True)
class ImageRecord:
    """One written image and the photo it was made from."""

    file: str
    sha256: str
    source: str
    source_sha256: str
    box: tuple[float, ...] | None = None  # of the face, in pixels of the photo; a frame has none
    quality: dict[str, float] | None = None


def write_set(
    out: Path,
    faces: Sequence[CandidateFace],
    frames: Sequence[Path],
    width: int,
    height: int,
    *,
    provenance: Provenance,
    among: Sequence[CandidateFace] = (),
) -> CalibrationSet:
    """Write ``faces`` for the recognizer and the photos ``frames``, letterboxed to ``width``×``height``, for the
    detector; ``spread.png`` shows ``faces`` beside those they were chosen ``among``.

    The same input gives the same bytes. Whole or not at all: a failure leaves what stood at ``out``. InputError for
    fewer than ``MINIMUM`` faces, no frame, a photo that became unreadable, or an ``out`` that is something else than a
    calibration set; WorkError where the disk does not play along.
    """
    if len(faces) < MINIMUM:
        raise InputError(f"{len(faces)} faces for calibration, at least {MINIMUM} are needed: add photos")
    if not frames:
        raise InputError("no photo to calibrate the detector on: give at least one")
    check_output_folder(out)
    with atomic_folder(out) as folder:
        for name in FOLDERS:
            (folder / name).mkdir()
        crops = [
            ImageRecord(
                file := f"recognizer/{index:04}.png",
                write_png(folder / file, face.crop),
                face.name,
                face.sha256,
                tuple(round(float(value), 2) for value in face.faces.boxes[0]),
                _rounded(face),
            )
            for index, face in enumerate(faces)
        ]
        scenes = [
            ImageRecord(
                file := f"detector/{index:04}.png",
                write_png(folder / file, letterbox(read_image(path), width, height).image),
                _name(path, provenance.photos),
                sha256(path),
            )
            for index, path in enumerate(frames)
        ]
        for name, images in zip(FOLDERS, (crops, scenes), strict=True):
            text = "".join(f"{Path(image.file).name}\n" for image in images)
            (folder / name / LIST).write_text(text, encoding="utf-8")
        scores = [face.quality.score for face in faces]
        title = f"{len(faces)} calibration faces, quality {max(scores):.2f}..{min(scores):.2f}"
        write_png(folder / CONTACT, contact_sheet(faces, title))
        lines = [f"left out: {number} x {reason}" for reason, number in count_reasons(provenance.left_out)]
        write_png(folder / SPREAD, histogram_sheet(faces, among or faces, lines))
        record = _record(crops, scenes, width, height, provenance)
        (folder / RECORD).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        read_set(folder)  # a set that cannot be read back never replaces one that can
    return read_set(out)


def read_set(folder: Path) -> CalibrationSet:
    """Read and verify the set in ``folder``. InputError, with the next step, for a folder that is none, another
    schema, and an image or list that is missing, foreign or changed."""
    raw = _parse(folder)
    if raw.get("schema") != SCHEMA:
        raise InputError(
            f"{folder / RECORD}: schema {raw.get('schema')}, this rkface reads {SCHEMA}: run `rkface calibrate` again"
        )
    try:
        crops, scenes = ([ImageRecord(**entry) for entry in raw[name]["images"]] for name in FOLDERS)
        width, height, digest = int(raw["detector"]["width"]), int(raw["detector"]["height"]), str(raw["digest"])
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(folder / RECORD, f"lacks or garbles an entry ({error})") from error
    for name, images in zip(FOLDERS, (crops, scenes), strict=True):
        _check_list(folder / name / LIST, [Path(image.file).name for image in images])
        for image in images:
            _check_image(folder, image)
    if digest_of([*crops, *scenes]) != digest or len(crops) < MINIMUM or not scenes:
        raise _damaged(folder / RECORD, "does not fit its own digest")
    return CalibrationSet(
        folder=folder,
        recognizer=folder / "recognizer" / LIST,
        detector=folder / "detector" / LIST,
        digest=digest,
        faces=len(crops),
        frames=len(scenes),
        width=width,
        height=height,
        sources=frozenset(image.source_sha256 for image in (*crops, *scenes)),
    )


def is_set(folder: Path) -> bool:
    """Whether ``folder`` claims to be a calibration set; ``read_set`` tells whether it is a good one."""
    return (folder / RECORD).is_file()


def check_output_folder(out: Path) -> None:
    """InputError unless ``out`` is free, an empty folder, or a calibration set and nothing besides; WorkError where
    it could not be written. Changes nothing."""
    check_writable(out)
    if out.is_dir():
        foreign = sorted(
            name for path in out.rglob("*") if not LAYOUT.fullmatch(name := path.relative_to(out).as_posix())
        )
        if foreign or (any(out.iterdir()) and not (out / RECORD).is_file()):
            what = f"holds {foreign[0]}" if foreign else f"has no {RECORD}"
            raise InputError(f"{out} exists and is no calibration set (it {what}): choose another folder or empty it")
        if (out / RECORD).is_file():
            _parse(out)
    elif out.exists():
        raise InputError(f"{out} is a file, the calibration set needs a folder: choose another name")


def digest_of(images: Iterable[ImageRecord]) -> str:
    """SHA-256 over ``images``' names and contents, in their order."""
    lines = "".join(f"{image.sha256}  {image.file}\n" for image in images)
    return hashlib.sha256(lines.encode()).hexdigest()


def _record(
    crops: list[ImageRecord], scenes: list[ImageRecord], width: int, height: int, provenance: Provenance
) -> dict[str, Any]:
    # No time and no absolute path: equal photos make equal records.
    return {
        "kind": KIND,
        "schema": SCHEMA,
        "digest": digest_of([*crops, *scenes]),
        "rkface": version("rkface"),
        "found_by": {"detector_sha256": provenance.detector_sha256, "threshold": provenance.threshold},
        "recognizer": {"images": [asdict(image) for image in crops]},
        "detector": {"width": width, "height": height, "images": [_without_none(image) for image in scenes]},
        "left_out": {
            "counts": dict(sorted(count_reasons(provenance.left_out))),
            "items": [asdict(skip) for skip in provenance.left_out],
        },
    }


def count_reasons(left_out: Iterable[Skipped]) -> list[tuple[str, int]]:
    """How often each reason, the most frequent first."""
    return Counter(skip.reason for skip in left_out).most_common()


def _without_none(image: ImageRecord) -> dict[str, Any]:
    return {key: value for key, value in asdict(image).items() if value is not None}


def _rounded(face: CandidateFace) -> dict[str, float]:
    quality = {**asdict(face.quality), "score": face.quality.score}
    return {name: round(value, 4) for name, value in quality.items()}


def _name(path: Path, photos: Path) -> str:
    return path.relative_to(photos).as_posix() if path.is_relative_to(photos) else path.name


def write_png(path: Path, image: NDArray[np.uint8]) -> str:
    """Write ``image`` and return the file's SHA-256."""
    # cv2.imwrite would answer a full disk with False or a half file; a failing write_bytes says why.
    coded, data = cv2.imencode(".png", image)
    if not coded:
        raise ValueError(f"OpenCV cannot code {image.shape} {image.dtype} as PNG")
    path.write_bytes(data.tobytes())
    return hashlib.sha256(data.tobytes()).hexdigest()


def _parse(folder: Path) -> dict[str, Any]:
    path = folder / RECORD
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{folder} is no calibration set: it has no {RECORD}; `rkface calibrate` makes one") from error
    except (OSError, ValueError) as error:
        raise _damaged(path, f"cannot be read as JSON ({error})") from error
    if not isinstance(raw, dict) or raw.get("kind") != KIND:
        raise InputError(f"{folder} is no calibration set ({RECORD} is something else); `rkface calibrate` makes one")
    return raw


def _check_list(path: Path, expected: list[str]) -> None:
    try:
        names = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise _damaged(path, "is missing or unreadable") from error
    if names != expected:
        raise _damaged(path, f"does not list the images of {RECORD}")


def _check_image(folder: Path, image: ImageRecord) -> None:
    if not LAYOUT.fullmatch(image.file):
        raise _damaged(folder / RECORD, f"names a file outside the set: {image.file!r}")
    try:
        same = sha256(folder / image.file) == image.sha256
    except OSError as error:
        raise _damaged(folder / image.file, "is missing or unreadable") from error
    if not same:
        raise _damaged(folder / image.file, "was changed or damaged (its SHA-256 differs)")


def _damaged(path: Path, how: str) -> InputError:
    return InputError(f"{path} {how}: run `rkface calibrate` again, or copy the set again, whole")
