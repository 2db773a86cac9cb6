"""The faces of one photo, measured for enrollment, and which of them a user can mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.faces import Faces
from ..inference.pipeline import Pipeline
from ..vision.photo import UNSURE
from ..vision.quality import Quality, measure, standard

# Faces less wide than this share of the widest face are people in the background: nobody enrolls them by accident, and
# nobody wants to be asked about each guest of a wedding.
BACKGROUND = 0.25


@dataclass(frozen=True)
class FaceInPhoto:
    """A face of a photo, for a user who must choose one.

    Attributes:
        number: 1, 2, … in the order of detection scores, as `rkface detect` prints them.
        box: x1, y1, x2, y2 in pixels of the photo, after it was turned (``Verdict.turned``).
        flaw: Why this face cannot be enrolled; "" if it can.
        cosine: The best cosine with the person's other samples; None without other samples, and for a face with a flaw.
    """

    number: int
    box: tuple[int, int, int, int]
    flaw: str = ""
    cosine: float | None = None

    def __str__(self) -> str:
        x1, y1, x2, y2 = self.box
        like = "" if self.cosine is None else f", cosine {self.cosine:.3f}"
        return f"{self.number}: {x2 - x1}×{y2 - y1} px at ({x1}, {y1}){like}{f', {self.flaw}' if self.flaw else ''}"


@dataclass(frozen=True, eq=False)
class MeasuredFace:
    """A face of a photo. ``embedding`` is of unit length; None if ``flaw`` says why the face cannot be enrolled."""

    number: int
    box: tuple[int, int, int, int]
    quality: Quality
    crop: NDArray[np.uint8]
    flaw: str
    embedding: NDArray[np.float32] | None


@dataclass(frozen=True, eq=False)
class MeasuredPhoto:
    """The faces of one photo.

    source   name of the photo
    problem  why no face of the photo can be enrolled; "" if one may be
    faces    all faces, best detection score first
    meant    the face that the user means: the chosen one, the only one, or the only one that is not in the background;
             None if it is not clear
    turned   by how many degrees the photo was turned clockwise
    notes    what a user should know
    """

    source: str
    problem: str = ""
    faces: tuple[MeasuredFace, ...] = ()
    meant: MeasuredFace | None = None
    turned: int = 0
    notes: tuple[str, ...] = ()


def measure_photo(
    pipeline: Pipeline, image: NDArray[np.uint8], source: str, *, strict: bool = False, face: int | None = None
) -> MeasuredPhoto:
    """Find and measure the faces in the photo ``image`` (H×W×3 uint8 BGR). ``strict``: refuse several faces. ``face``:
    the number of the face that the user chose."""
    look = pipeline.detect_photo(image)
    faces, turned = look.faces, look.turned
    if not len(faces):
        reason = "no face found, upright, turned or close up: use a photo in which the whole face is visible"
        return MeasuredPhoto(source, reason)
    if not look.sure:
        return MeasuredPhoto(source, UNSURE, turned=turned)
    if strict and len(faces) > 1:
        return MeasuredPhoto(source, f"{len(faces)} faces: crop the photo to one person, or do not use --strict")
    if face is not None and not 1 <= face <= len(faces):
        return MeasuredPhoto(source, f"there is no face {face}: the photo has {len(faces)}; `rkface detect` lists them")
    crops, qualities = measure_faces(pipeline, look.image, faces)
    flaws = [describe_flaw(one) or "" for one in qualities]
    embeddings = iter(pipeline.embed([crop for crop, flaw in zip(crops, flaws, strict=True) if not flaw]))
    measured = tuple(
        MeasuredFace(number, _whole(box), quality, crop, flaw, None if flaw else next(embeddings))
        for number, (box, quality, crop, flaw) in enumerate(
            zip(faces.boxes, qualities, crops, flaws, strict=True), start=1
        )
    )
    large = find_large(measured)
    meant = measured[face - 1] if face else large[0] if len(large) == 1 else None
    notes = look.notes
    if meant and not face and len(measured) > 1:
        notes += (f"{len(measured)} faces: used face {meant.number}; the others are small, in the background",)
    return MeasuredPhoto(source, "", measured, meant, turned, notes)


def measure_faces(
    pipeline: Pipeline, image: NDArray[np.uint8], faces: Faces
) -> tuple[list[NDArray[np.uint8]], list[Quality]]:
    """The crop for the recognizer and the quality of each of ``faces`` in ``image`` (H×W×3 uint8 BGR)."""
    crops = [pipeline.align(image, points) for points in faces.landmarks]
    qualities = [
        measure(standard(image, points, crop, pipeline.crop), points, float(score))
        for crop, points, score in zip(crops, faces.landmarks, faces.scores, strict=True)
    ]
    return crops, qualities


def describe_flaw(quality: Quality) -> str | None:
    """Why a face of this quality cannot be used, in words; None if it can."""
    flaw = quality.flaw()
    return None if flaw is None else f"{flaw.reason}: {flaw.detail}"


def find_large(faces: Sequence[MeasuredFace]) -> tuple[MeasuredFace, ...]:
    """The ``faces`` that are not in the background."""
    return tuple(faces[index] for index in find_large_boxes(np.array([face.box for face in faces]).reshape(-1, 4)))


def find_large_boxes(boxes: NDArray[Any], share: float = BACKGROUND) -> list[int]:
    """The indices of ``boxes`` (N×4: x1, y1, x2, y2) of faces that are not in the background: those at least
    ``share`` as wide as the widest."""
    widths = (boxes[:, 2] - boxes[:, 0]).tolist()
    return [index for index, width in enumerate(widths) if width >= share * max(widths)]


def _whole(box: NDArray[np.float32]) -> tuple[int, int, int, int]:
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    return x1, y1, x2, y2
