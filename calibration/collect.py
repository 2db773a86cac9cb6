"""Find all faces in a folder of photos that can be used for calibration."""

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
from rkface.runtime.vision.image import read_image
from rkface.runtime.vision.photo_files import count_left_out, list_photos
from rkface.runtime.vision.quality import Flaw, Quality, measure

from .appearance_stats import AppearanceStats, measure_appearance

BATCH = 16
NO_FACE = "no face"  # the reason for which a photo is skipped


@dataclass(frozen=True, eq=False)
class CandidateFace:
    """One usable face of one photo.

    photo       its path
    name        its path relative to the collected folder, with /
    sha256      the hash of the photo's file
    faces       this one face, in pixels of the photo
    crop        the aligned face, S×S×3 uint8 BGR (S = 112)
    quality     size, sharpness, exposure, pose and detection score
    appearance  pose, light and skin tone
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
    """A photo or face that was left out. ``reason`` is one of a few texts, so that it can be counted."""

    name: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Collection:
    """The content of a folder.

    candidates  usable faces, in the order of photos, and of scores within a photo
    photos      every readable photo, with or without a face
    skipped     unreadable photos, photos without a face, and unusable faces
    """

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

    ``threshold``: the minimum detection score. Photos that cannot be read or have no face, and faces that are unusable,
    are skipped with the reason. ``progress`` is called with the number of photos that are done and of all photos.
    Raises InputError only if the folder does not exist or has no photos.
    """
    files = list_photos(folder)
    paths = files.photos
    if not paths:
        more = f"; {count_left_out(files.left_out)}" if files.left_out else ""
        raise InputError(f"{folder}: this folder has no JPEG, PNG, WebP, BMP or HEIC photo{more}")
    candidates: list[CandidateFace] = []
    photos: list[Path] = []
    skipped = [Skipped(one.path.relative_to(folder).as_posix(), "unreadable", one.reason) for one in files.left_out]
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
            skipped.append(Skipped(name, NO_FACE, f"the detector found no face with a score of {threshold} or more"))
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
    """The embeddings of ``candidates``: N×D float32, unit length. ``progress`` as in ``collect_faces``."""
    embeddings = np.zeros((len(candidates), embedder.dimensions), np.float32)
    for start in range(0, len(candidates), BATCH):
        progress(start, len(candidates))
        crops = [candidate.crop for candidate in candidates[start : start + BATCH]]
        embeddings[start : start + BATCH] = embedder.embed(crops)
    return embeddings
