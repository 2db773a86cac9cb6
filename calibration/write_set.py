"""Writing the calibration set: images, lists of them for the toolkit, their sources, and pictures of the whole set."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rkface.runtime.core.crop_template import CropTemplate
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.text import readable
from rkface.runtime.vision.image import read_photo
from rkface.runtime.vision.letterbox import letterbox

from . import MINIMUM
from .atomic_folder import atomic_folder
from .collect import CandidateFace, Skipped
from .contact_sheet import contact_sheet
from .dataset import (
    CONTACT,
    FOLDERS,
    KIND,
    LIST,
    RECORD,
    SCHEMA,
    SPREAD,
    CalibrationSet,
    ImageRecord,
    check_output_folder,
    digest_of,
    read_set,
)
from .histograms import histogram_sheet


@dataclass(frozen=True)
class Provenance:
    """How the faces were found; it is recorded in the set.

    photos           the folder of photos; paths are recorded relative to it, so that equal photos give equal sets
    detector_sha256  the hash of the detector's ONNX file
    threshold        minimum detection score
    crop             how they were aligned
    left_out         photos and faces that were not used
    """

    photos: Path
    detector_sha256: str
    threshold: float
    crop: CropTemplate
    left_out: tuple[Skipped, ...] = ()


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
    """Write a calibration set to ``out``, replacing an older set there, and read it back.

    ``faces`` are for the recognizer; the photos ``frames``, letterboxed to ``width``×``height`` pixels, are for the
    detector. ``among``: all usable faces, for the histograms. The same input gives the same bytes. The set is written
    atomically: if this fails, ``out`` is unchanged. Raises InputError for fewer than ``MINIMUM`` faces, no frame, a
    photo that became unreadable, or an ``out`` that exists and is not a calibration set; WorkError if the disk is full
    or cannot be written.
    """
    if len(faces) < MINIMUM:
        raise InputError(f"calibration needs at least {MINIMUM} faces, but there are only {len(faces)}: add photos")
    if not frames:
        raise InputError("calibration of the detector needs at least one photo: add photos")
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
                face.turned or None,
            )
            for index, face in enumerate(faces)
        ]
        scenes = [
            ImageRecord(
                file := f"detector/{index:04}.png",
                write_png(folder / file, letterbox(photo.image, width, height).image),
                _name(photo.path, provenance.photos),
                photo.sha256,
            )
            for index, photo in enumerate(map(read_photo, frames))
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
        text = readable(json.dumps(record, indent=1, ensure_ascii=False))  # file names need not be valid UTF-8
        (folder / RECORD).write_text(f"{text}\n", encoding="utf-8")
        read_set(folder)  # a set that cannot be read must not replace one that can
    return read_set(out)


def _record(
    crops: list[ImageRecord], scenes: list[ImageRecord], width: int, height: int, provenance: Provenance
) -> dict[str, Any]:
    # No time and no absolute path, so that equal photos give equal records.
    return {
        "kind": KIND,
        "schema": SCHEMA,
        "digest": digest_of([*crops, *scenes]),
        "rkface": version("rkface"),
        "found_by": {"detector_sha256": provenance.detector_sha256, "threshold": provenance.threshold},
        "recognizer": {"crop": asdict(provenance.crop), "images": [_without_none(image) for image in crops]},
        "detector": {"width": width, "height": height, "images": [_without_none(image) for image in scenes]},
        "left_out": {
            "counts": dict(sorted(count_reasons(provenance.left_out))),
            "items": [asdict(skip) for skip in provenance.left_out],
        },
    }


def count_reasons(left_out: Iterable[Skipped]) -> list[tuple[str, int]]:
    """Each reason and its count, the most frequent first."""
    return Counter(skip.reason for skip in left_out).most_common()


def _without_none(image: ImageRecord) -> dict[str, Any]:
    return {key: value for key, value in asdict(image).items() if value is not None}


def _rounded(face: CandidateFace) -> dict[str, float]:
    quality = {**asdict(face.quality), "score": face.quality.score}
    return {name: round(value, 4) for name, value in quality.items()}


def _name(path: Path, photos: Path) -> str:
    return path.relative_to(photos).as_posix() if path.is_relative_to(photos) else path.name


def write_png(path: Path, image: NDArray[np.uint8]) -> str:
    """Write ``image`` (uint8, BGR or gray) and return the file's SHA-256."""
    # On a full disk, cv2.imwrite returns False or writes half a file; write_bytes raises an error with the reason.
    coded, data = cv2.imencode(".png", image)
    if not coded:
        raise ValueError(f"OpenCV cannot encode {image.shape} {image.dtype} as PNG")
    path.write_bytes(data.tobytes())
    return hashlib.sha256(data.tobytes()).hexdigest()
