"""The photos and faces that a conversion is evaluated on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rkface.calibration.collect import CandidateFace, Collection
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.manifest import Role
from rkface.runtime.core.progress import stage
from rkface.runtime.vision.image import read_image
from rkface.runtime.vision.letterbox import letterbox

from .evaluate.augment import AugmentedFaces, augment_faces
from .evaluate.parity import FaceGroup
from .face_finder import MIN_EVALUATION_FACES, FaceFinder, PhotoOptions
from .image_lists import to_rgb
from .labeled_pairs import label_pairs, reasons_left_out
from .mosaic import make_mosaics

MOST_AUGMENTED = 100  # faces: each recipe of the search runs on them in the simulator

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class EvaluationSet:
    """Photos that calibration never saw, with their faces as the FP32 detector finds them.

    A face is "unlike" if both its person and its appearance (pose, light, sharpness) are missing in the calibration
    set, and "in-domain" otherwise, also without calibration.

    photos        paths, N
    frames        N×H×W×3 uint8 RGB: ``photos`` letterboxed for the detector
    scales        N: input pixels per photo pixel
    faces         M
    groups        M: "in-domain" or "unlike"
    crops         M×h×w×3 uint8 RGB: ``faces`` aligned for the recognizer
    augmented     changed crops of ``faces``
    labeled       (index, index, same person) into ``faces``; empty without labels
    mosaics       8×H×W×3 uint8 RGB: crowds of small faces, made of ``frames``; they test the detector separately
    surroundings  M×h×w×3 uint8 RGB: ``faces`` with their surroundings, for a liveness model; None without one
    notes         remarks for the report
    """

    photos: tuple[Path, ...]
    frames: Image
    scales: tuple[float, ...]
    faces: tuple[CandidateFace, ...]
    groups: tuple[FaceGroup, ...]
    crops: Image
    augmented: AugmentedFaces
    labeled: tuple[tuple[int, int, bool], ...]
    mosaics: Image
    surroundings: Image | None = None
    notes: tuple[str, ...] = ()

    @property
    def scenes(self) -> Image:
        """All inputs for the detector: ``frames``, then ``mosaics``."""
        return np.concatenate([self.frames, self.mosaics])

    @property
    def crop_groups(self) -> tuple[FaceGroup, ...]:
        """The group of each input for the recognizer."""
        augmented: FaceGroup = "augmented"
        return self.groups + (augmented,) * len(self.augmented.crops)

    def images(self, role: Role) -> Image:
        """All inputs for the model of ``role``, N×H×W×3 uint8 RGB. Those of the recognizer are ``crops``, then the
        augmented ones."""
        if role == "liveness":
            assert self.surroundings is not None
            return self.surroundings
        return self.scenes if role == "detector" else np.concatenate([self.crops, self.augmented.crops])


def build_evaluation_set(
    photos: PhotoOptions, found: Collection, finder: FaceFinder, calibrated: Iterable[str] = ()
) -> EvaluationSet:
    """At most ``photos.evaluation_count`` faces and photos of ``found``. ``calibrated``: names of the photos that
    calibrate. Raises InputError if there are too few."""
    if len(found.candidates) < MIN_EVALUATION_FACES:
        raise InputError(
            f"{found.folder}: only {len(found.candidates)} usable faces to evaluate on, at least "
            f"{MIN_EVALUATION_FACES} are needed: add photos, or give other photos with --evaluation"
        )
    faces = found.candidates[: photos.evaluation_count]
    first = dict.fromkeys(face.photo for face in faces)
    chosen = (*first, *(photo for photo in found.photos if photo not in first))[: photos.evaluation_count]
    faces = tuple(face for face in faces if face.photo in set(chosen))
    with stage("evaluation frames") as shown:
        fitted = [letterbox(read_image(photo), finder.input.width, finder.input.height) for photo in chosen]
        shown.note = f"{len(faces)} faces in {len(chosen)} photos"
    scales = tuple(one.scale for one in fitted)
    frames, crops = to_rgb(one.image for one in fitted), to_rgb(face.crop for face in faces)
    labeled: tuple[tuple[int, int, bool], ...] = ()
    notes: tuple[str, ...] = ()
    if photos.pairs is not None:
        why = reasons_left_out(found, calibrated, photos.evaluation_count)
        labeled, notes = label_pairs(photos.pairs, faces, why, {one.name for one in found.nameless})
    in_domain: FaceGroup = "in-domain"
    groups = (in_domain,) * len(faces)
    augmented = augment_faces(faces, finder.embedder.crop, MOST_AUGMENTED)
    return EvaluationSet(
        chosen, frames, scales, faces, groups, crops, augmented, labeled, make_mosaics(frames), notes=notes
    )
