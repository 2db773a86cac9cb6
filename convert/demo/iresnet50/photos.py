"""Faces of the user's photos: those to learn from, and labeled ones that are only judged."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rkface.calibration.collect import CandidateFace, collect_faces
from rkface.runtime.core.crop_template import ARCFACE_112
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.progress import stage
from rkface.runtime.vision.bare_onnx import open_detector
from rkface.runtime.vision.detect import Detector

from ...label_files import read_pairs, require_both_labels
from .judge import Crops, JudgedFaces


@dataclass(frozen=True)
class PhotoCrops:
    """``training`` N×112×112×3 uint8 BGR; ``labeled`` faces of other photos, None if no pairs were given."""

    training: Crops
    labeled: JudgedFaces | None


def read_photo_faces(folder: Path, detector: Path, pairs: Path | None) -> PhotoCrops:
    """The faces in ``folder``. Photos that are named in ``pairs`` (CSV: photo, photo, Yes or No) are not learned from.

    Of the labeled photos, those with one usable face are judged. Raises InputError if a file cannot be read, or if no
    face is left to learn from.
    """
    backend, input, outputs = open_detector(detector, threads=1)
    with stage("find faces") as line:
        found = collect_faces(folder, Detector(backend, input, outputs), ARCFACE_112, progress=line.advance)
    labels = read_pairs(pairs) if pairs else []
    named = {name for left, right, _ in labels for name in (left, right)}
    training = [face for face in found.candidates if face.name not in named]
    if not training:
        raise InputError(f"{folder}: no photo with a usable face is left to learn from: add photos that {pairs} does "
                         "not name")  # fmt: skip
    labeled = _labeled(found.candidates, labels)
    if pairs:
        require_both_labels(pairs, [same for *_, same in labeled.pairs], "name photos with one face each")
    return PhotoCrops(np.stack([face.crop for face in training]), labeled if pairs else None)


def _labeled(faces: tuple[CandidateFace, ...], labels: list[tuple[str, str, bool]]) -> JudgedFaces:
    counts = Counter(face.name for face in faces)
    named = {name for left, right, _ in labels for name in (left, right)}
    chosen = [face for face in faces if face.name in named and counts[face.name] == 1]
    place = {face.name: index for index, face in enumerate(chosen)}
    pairs = [(place[left], place[right], same) for left, right, same in labels if left in place and right in place]
    return JudgedFaces(
        np.stack([face.crop for face in chosen]) if chosen else np.empty((0, 112, 112, 3), np.uint8), pairs
    )
