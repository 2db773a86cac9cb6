"""The photos and faces that a conversion is evaluated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rkface.calibration.choose import CopiedFace, find_copies
from rkface.calibration.collect import CandidateFace, Collection, embed_faces
from rkface.calibration.unlike import has_new_appearance
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.manifest import Role
from rkface.runtime.core.progress import stage
from rkface.runtime.core.text import counted
from rkface.runtime.vision.image import read_image
from rkface.runtime.vision.letterbox import letterbox

from .evaluate.augment import AugmentedFaces, augment_faces
from .evaluate.parity import MIN_UNLIKE, FaceGroup
from .face_finder import MIN_EVALUATION_FACES, FaceFinder, PhotoOptions
from .image_lists import to_rgb
from .labeled_pairs import COPY_CALIBRATES, label_pairs, label_people, reasons_left_out
from .mosaic import make_mosaics

# Changed faces: each recipe of the search runs on them in the simulator. With few, the worst ones are chance.
LEAST_AUGMENTED, MOST_AUGMENTED = 60, 100

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


@dataclass(frozen=True)
class CalibratedFaces:
    """What calibration knows of people.

    photos      the names of the photos that calibrate
    candidates  the faces that it was chosen from
    chosen      the faces in the calibration set
    posed       those of them whose pose is known; None for all
    embeddings  N×D float32, unit length, of ``chosen``; None if they are not known yet
    """

    photos: frozenset[str] = frozenset()
    candidates: tuple[CandidateFace, ...] = ()
    chosen: tuple[CandidateFace, ...] = ()
    posed: tuple[CandidateFace, ...] | None = None
    embeddings: NDArray[np.float32] | None = None


def build_evaluation_set(
    photos: PhotoOptions, found: Collection, finder: FaceFinder, calibrated: CalibratedFaces | None = None
) -> EvaluationSet:
    """At most ``photos.evaluation_count`` faces and photos of ``found``, up to half of them unlike those that
    calibrate. Copies of a face, also of one that calibrates, are left out. ``calibrated``: None without calibration.
    Raises InputError if there are too few."""
    known = calibrated or CalibratedFaces()
    different, copies = find_copies(found.candidates, known.candidates)
    candidates = [found.candidates[index] for index in sorted(different)]
    if len(candidates) < MIN_EVALUATION_FACES:
        also = f" (and copies of these: {len(copies)})" if copies else ""
        raise InputError(
            f"{found.folder}: only {len(candidates)} usable faces to evaluate on{also}, at least "
            f"{MIN_EVALUATION_FACES} are needed: add photos, or give other photos with --evaluation"
        )
    unlike = find_unlike(candidates, known, finder, photos.evaluation_count)
    indices = _choose(len(candidates), unlike, photos.evaluation_count)
    faces, strange = tuple(candidates[index] for index in indices), len(unlike.intersection(indices))
    groups: tuple[FaceGroup, ...] = tuple(
        "unlike" if strange >= MIN_UNLIKE and index in unlike else "in-domain" for index in indices
    )
    first = dict.fromkeys(face.photo for face in faces)
    left_out = {copy.face.photo for copy in copies} - {face.photo for face in candidates}
    others = (photo for photo in found.photos if photo not in first and photo not in left_out)
    chosen = (*first, *others)[: photos.evaluation_count]
    with stage("evaluation frames") as shown:
        fitted = [letterbox(read_image(photo), finder.input.width, finder.input.height) for photo in chosen]
        shown.note = f"{len(faces)} faces in {len(chosen)} photos, {groups.count('unlike')} of them unlike"
    scales = tuple(one.scale for one in fitted)
    frames, crops = to_rgb(one.image for one in fitted), to_rgb(face.crop for face in faces)
    labeled: tuple[tuple[int, int, bool], ...] = ()
    notes = [*_copy_notes(copies, known), *(_group_notes(strange, len(faces)) if calibrated else ())]
    nameless, missing = {one.name for one in found.nameless}, _stand_ins(faces, candidates, copies)
    if photos.pairs is not None:
        why = reasons_left_out(found, known.photos, photos.evaluation_count)
        why |= {copy.face.name: COPY_CALIBRATES for copy in _copies_of(copies, known)}
        labeled, left = label_pairs(photos.pairs, faces, why, nameless, missing)
        notes += left
    if photos.people:
        labeled = label_people(found.folder, faces, nameless, missing)
    augmented = augment_faces(faces, finder.embedder.crop, LEAST_AUGMENTED, MOST_AUGMENTED)
    mosaics = make_mosaics(frames)
    return EvaluationSet(chosen, frames, scales, faces, groups, crops, augmented, labeled, mosaics, notes=tuple(notes))


def find_unlike(faces: Sequence[CandidateFace], known: CalibratedFaces, finder: FaceFinder, most: int) -> set[int]:
    """Indices of ``faces`` whose person and appearance both are missing in the calibration set; the first ``most`` of
    new appearance are considered."""
    seen = known.chosen if known.posed is None else known.posed
    new = [int(index) for index in np.flatnonzero(has_new_appearance(faces, seen))[:most]]
    if not new:
        return set()
    with stage("tell people apart") as shown:
        others = embed_faces([faces[index] for index in new], finder.embedder, shown.advance)
        calibrating = embed_faces(known.chosen, finder.embedder) if known.embeddings is None else known.embeddings
    same = others @ calibrating.T >= finder.same_person
    return {index for index, seen in zip(new, same.any(axis=1), strict=True) if not seen}


def _choose(faces: int, unlike: set[int], count: int) -> list[int]:
    """The indices of at most ``count`` of so many ``faces``, ascending. If some must be left out, unlike ones have
    priority up to one half."""
    first = sorted(unlike)[: count // 2]
    others = [index for index in range(faces) if index not in unlike]
    return sorted([*first, *others, *sorted(unlike)[count // 2 :]][:count])


def _stand_ins(
    faces: Sequence[CandidateFace], candidates: Sequence[CandidateFace], copies: Sequence[CopiedFace]
) -> list[tuple[CandidateFace, int | None]]:
    """For each face that is not evaluated: the index of the evaluated face of which it is a copy, or None."""
    places = {id(face): index for index, face in enumerate(faces)}
    originals = {id(copy.face): copy.original for copy in copies}  # that of a second file may itself be a copy
    missing: list[tuple[CandidateFace, int | None]] = [(face, None) for face in candidates if id(face) not in places]
    for copy in copies:
        original = originals.get(id(copy.original), copy.original)
        missing.append((copy.face, places.get(id(original))))
    return missing


def _copy_notes(copies: Sequence[CopiedFace], known: CalibratedFaces) -> list[str]:
    if not copies:
        return []
    seen = len(_copies_of(copies, known))
    return [
        # Without an example: names of photos are often names of people, and this note is printed.
        f"{counted(len(copies), 'face')} left out of the evaluation as copies ({seen} of faces to calibrate on)"
    ]


def _copies_of(copies: Sequence[CopiedFace], known: CalibratedFaces) -> list[CopiedFace]:
    """Those of ``copies`` that show the same picture as a face to calibrate on."""
    calibrate = {id(face) for face in known.candidates}
    return [copy for copy in copies if id(copy.original) in calibrate]


def _group_notes(unlike: int, faces: int) -> list[str]:
    if unlike >= MIN_EVALUATION_FACES:
        return []
    merged = "" if unlike >= MIN_UNLIKE or not unlike else f"; fewer than {MIN_UNLIKE} are no group of their own"
    return [
        f"{unlike or 'none'} of the {faces} evaluation faces {'is' if unlike < 2 else 'are'} unlike those that "
        f"calibrate (other people, with another pose, light or sharpness{merged}), so the accuracy on photos of "
        "another kind is known from changed faces only: give such photos with --evaluation"
    ]
