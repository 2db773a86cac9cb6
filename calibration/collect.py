"""Walk a folder of photos and find every face that could calibrate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.core.bundle import sha256
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.faces import Faces
from rkface.runtime.vision.align import CROP_SIZE, align
from rkface.runtime.vision.detect import THRESHOLD, Detector
from rkface.runtime.vision.embed import Embedder
from rkface.runtime.vision.image import find_images, read_image
from rkface.runtime.vision.quality import Flaw, Quality, measure

from .appearance_stats import AppearanceStats, measure_appearance

BATCH = 16


@dataclass(frozen=True, eq=False)
class CandidateFace:
    """One usable face of one photo.

    name    the photo's path below the collected folder, with /
    sha256  of the photo's file
    faces   this one face, in pixels of the photo
    crop    aligned, S×S×3 uint8 BGR (S = 112)
    """

    photo: Path
    name: str
    sha256: str
    faces: Faces
    crop: NDArray[np.uint8]
    quality: Quality
    appearance: AppearanceStats


@dataclass(frozen=True)
class Skipped:
    """A photo or a face that was left out: ``reason`` is one of a few, to count by; ``detail`` says more."""

    name: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Collection:
    """What a folder holds: usable faces in the order of photos, best score first in each; every readable photo, with a
    face or without; and what was skipped."""

    folder: Path
    candidates: tuple[CandidateFace, ...]
    photos: tuple[Path, ...]
    skipped: tuple[Skipped, ...]


def collect_faces(
    folder: Path,
    detector: Detector,
    *,
    threshold: float = THRESHOLD,
    crop_size: int = CROP_SIZE,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Collection:
    """Detect, align and measure every face of every photo below ``folder``.

    A photo that cannot be read, has no face, or whose faces are unusable is skipped with the reason. ``progress`` hears
    how many photos of how many are done. InputError only for a folder that is missing or has no photo at all.
    """
    paths = find_images(folder)
    if not paths:
        raise InputError(f"{folder}: no JPEG, PNG, WebP or BMP photo in it (HEIC has to be converted to JPEG first)")
    candidates: list[CandidateFace] = []
    photos: list[Path] = []
    skipped: list[Skipped] = []
    for index, path in enumerate(paths):
        progress(index, len(paths))
        name = path.relative_to(folder).as_posix()
        try:
            image, digest = read_image(path), sha256(path)
        except (InputError, OSError) as error:
            skipped.append(Skipped(name, "unreadable", str(error).removeprefix(f"{path}: ")))
            continue
        photos.append(path)
        faces = detector.detect(image, threshold)
        if not len(faces):
            skipped.append(Skipped(name, "no face", f"the detector found none at score {threshold}"))
        for one in range(len(faces)):
            face = faces[one : one + 1]
            found = _usable(image, face, crop_size)
            if isinstance(found, Flaw):
                skipped.append(Skipped(name, found.reason, found.detail))
            else:
                candidates.append(CandidateFace(path, name, digest, face, *found))
    progress(len(paths), len(paths))
    return Collection(folder, tuple(candidates), tuple(photos), tuple(skipped))


def _usable(
    image: NDArray[np.uint8], face: Faces, crop_size: int
) -> tuple[NDArray[np.uint8], Quality, AppearanceStats] | Flaw:
    crop = align(image, face.landmarks[0], crop_size)
    quality = measure(crop, face.landmarks[0], float(face.scores[0]))
    return quality.flaw() or (crop, quality, measure_appearance(crop, face.landmarks[0]))


def embed_faces(
    candidates: Sequence[CandidateFace],
    embedder: Embedder,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> NDArray[np.float32]:
    """N×D float32, unit length: who the ``candidates`` are, as far as a recognizer can tell."""
    embeddings = np.zeros((len(candidates), embedder.dimensions), np.float32)
    for start in range(0, len(candidates), BATCH):
        progress(start, len(candidates))
        crops = [candidate.crop for candidate in candidates[start : start + BATCH]]
        embeddings[start : start + BATCH] = embedder.embed(crops)
    return embeddings
