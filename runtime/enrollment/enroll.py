"""Enrollment: add the face in a photo, or pictures from a camera, to a person of the gallery.

Each photo gets a verdict. A bad photo does not stop the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.text import in_a_line
from ..gallery.gallery import Gallery
from ..gallery.match import Match
from ..gallery.people import Sample
from ..gallery.rows import find_spelling
from ..inference.pipeline import Pipeline
from ..vision.image import ReadPhoto, read_photo
from .gallery_comparison import (
    Rivals,
    already_enrolled,
    compare_with_gallery,
    find_rivals,
    known_embeddings,
    things_to_check,
)
from .measured_photo import FaceInPhoto, MeasuredPhoto, measure_photo
from .same_person import FaceChoice, choose_faces
from .stored_crop import encode_crop

# Cosine at or above which a photo adds nothing to a sample of the same person: frames of one second, or a copy.
DUPLICATE = 0.98
Status = Literal["enrolled", "known", "refused"]


@dataclass(frozen=True)
class EnrollOptions:
    """Options of enrollment.

    strict  refuse a photo with several faces, even if it is clear which one is meant
    force   enroll a face even if it looks like another person of the gallery, or unlike the person's other samples
    face    the number of the face to enroll, of a photo with several faces; None: find it out
    crops   store the aligned face, so that another model can embed it again
    """

    strict: bool = False
    force: bool = False
    crops: bool = True
    face: int | None = None


@dataclass(frozen=True)
class Verdict:
    """The result of enrolling one photo.

    Attributes:
        status: "enrolled", "known" (the gallery already has a sample like it), or "refused".
        person: Name of the person.
        source: The photo's file name, or the camera's name.
        reason: Why the photo was not enrolled; "" if it was.
        notes: What a person should check.
        quality: Quality of the face, 0 to 1. None if no face was measured.
        near: Another person of the gallery who looks like this face, if any.
        own: The best cosine with the person's other samples, of the gallery or of the photos enrolled together. None
            without other samples.
        turned: By how many degrees the photo was turned clockwise: 0, 90, 180 or 270.
        faces: The faces to choose from, if it is not clear which one to enroll.
        id: Id of the person, who has the sample. None if it was refused.
    """

    status: Status
    person: str
    source: str
    reason: str = ""
    notes: tuple[str, ...] = ()
    quality: float | None = None
    near: Match | None = None
    own: float | None = None
    turned: int = 0
    faces: tuple[FaceInPhoto, ...] = ()
    id: str | None = None


def enroll(
    gallery: Gallery,
    pipeline: Pipeline,
    name: str,
    image: NDArray[np.uint8],
    source: str,
    *,
    rules: EnrollOptions,
    metadata: Mapping[str, Any] | None = None,
) -> Verdict:
    """Add the face in the photo ``image`` (H×W×3 uint8 BGR) to the person ``name``, or refuse it and say why.

    Of several faces, the one is added that ``rules.face`` names, or that matches the person's other samples. A face
    with the verdict "enrolled" is on the disk. Raises InputError if the gallery contains embeddings of another model.
    """
    name = find_spelling(gallery, name)
    measured = measure_photo(pipeline, image, source, strict=rules.strict, face=rules.face)
    (verdict,) = _Enrollment(gallery, name, pipeline, rules, metadata).add([measured])
    return verdict


def enroll_photos(
    gallery: Gallery,
    pipeline: Pipeline,
    name: str,
    photos: Sequence[Path],
    *,
    rules: EnrollOptions,
    metadata: Mapping[str, Any] | None = None,
    measure: Callable[[Path], MeasuredPhoto] | None = None,
) -> Iterator[Verdict]:
    """As ``enroll``, for files with photos of one person, which are compared with each other too. A file that cannot be
    read and an invalid name are refused. ``measure`` reads a file and returns what ``measure_read`` does, such as
    ``ReadAhead.take``; None does it here."""

    def read_and_measure(path: Path) -> MeasuredPhoto:
        return measure_read(pipeline, rules, read_photo(path))

    try:
        name = find_spelling(gallery, name)
    except InputError as error:
        reason = f"{error}: rename the folder or file"
        yield from (Verdict("refused", in_a_line(name), in_a_line(str(photo)), reason) for photo in photos)
        return
    measured = [_measured(photo, measure or read_and_measure) for photo in photos]
    yield from _Enrollment(gallery, name, pipeline, rules, metadata).add(measured)


def measure_read(pipeline: Pipeline, rules: EnrollOptions, photo: ReadPhoto) -> MeasuredPhoto:
    """The faces of ``photo``, measured as ``rules`` say. Threads may call this."""
    return measure_photo(pipeline, photo.image, in_a_line(str(photo.path)), strict=rules.strict, face=rules.face)


def _measured(photo: Path, measure: Callable[[Path], MeasuredPhoto]) -> MeasuredPhoto:
    try:
        return measure(photo)
    except InputError as error:
        return MeasuredPhoto(in_a_line(str(photo)), str(error).removeprefix(f"{photo}: "))


def enroll_photo(
    gallery: Gallery,
    pipeline: Pipeline,
    name: str,
    photo: Path,
    *,
    rules: EnrollOptions,
    metadata: Mapping[str, Any] | None = None,
) -> Verdict:
    """As ``enroll_photos``, for one file."""
    (verdict,) = enroll_photos(gallery, pipeline, name, [photo], rules=rules, metadata=metadata)
    return verdict


@dataclass(frozen=True)
class _Enrollment:
    """Adds measured photos to the person ``name``."""

    gallery: Gallery
    name: str
    pipeline: Pipeline
    rules: EnrollOptions
    metadata: Mapping[str, Any] | None

    def add(self, photos: Sequence[MeasuredPhoto]) -> Iterator[Verdict]:
        choices = choose_faces(
            self.name,
            photos,
            known_embeddings(self.gallery, self.name),
            threshold=self.pipeline.thresholds.match,
            force=self.rules.force,
            is_somebody_else=self._is_somebody_else,
        )
        for photo, choice in zip(photos, choices, strict=True):
            yield self._add_choice(photo, choice)

    def _is_somebody_else(self, embedding: NDArray[np.float32]) -> bool:
        return bool(self._find_rivals(embedding).objection(self.pipeline.thresholds.match)) and not self.rules.force

    def _find_rivals(self, embedding: NDArray[np.float32]) -> Rivals:
        return find_rivals(self.gallery, self.name, embedding, self.pipeline.thresholds.match)

    def _add_choice(self, photo: MeasuredPhoto, choice: FaceChoice) -> Verdict:
        """Add the chosen face to the gallery, unless a reason or another person of the gallery speaks against it."""
        face, name = choice.face, self.name
        verdict = Verdict("refused", name, photo.source, choice.reason, choice.notes, turned=photo.turned)
        verdict = replace(verdict, own=choice.cosine, faces=choice.faces)
        if face is None:
            return verdict
        verdict = replace(verdict, quality=face.quality.score)
        if face.embedding is None:
            return verdict
        rivals = self._find_rivals(face.embedding)
        verdict = replace(verdict, near=rivals.near)
        if (reason := rivals.objection(self.pipeline.thresholds.match)) and not self.rules.force:
            return replace(verdict, reason=reason)
        if verdict.reason:
            return verdict
        known = max((float(one @ face.embedding) for one in known_embeddings(self.gallery, name)), default=-1.0)
        if known >= DUPLICATE:
            reason = f"like an existing sample (cosine {known:.3f})"
            return replace(verdict, status="known", reason=reason, id=self.gallery.person(name).id)
        notes = choice.notes + things_to_check(self.gallery, name, rivals.near)
        notes += (rivals.ignored,) if rivals.ignored else ()
        crop = encode_crop(face.crop, self.pipeline.crop) if self.rules.crops else None
        sample = Sample(face.embedding, crop, face.quality.score, photo.source)
        person = self.gallery.add(name, [sample], self.metadata)
        return replace(verdict, status="enrolled", notes=notes, id=person.id)


def enroll_shots(
    gallery: Gallery,
    name: str,
    shots: Sequence[Sample],
    source: str,
    *,
    threshold: float,
    force: bool = False,
    metadata: Mapping[str, Any] | None = None,
) -> Verdict:
    """Add pictures of one face from a camera to the person ``name``: all of them or, with a reason, none.

    ``shots``: samples of good quality, best first. ``threshold``: minimum cosine for a match. ``force``: add them even
    if they look like another person, or unlike the person's other samples. Raises InputError as ``enroll``.
    """
    name = find_spelling(gallery, name)
    comparison = compare_with_gallery(gallery, name, shots, threshold)
    near, own = comparison.near, comparison.own
    verdict = Verdict("refused", name, source, quality=shots[0].quality, near=near, own=own)
    if (reason := already_enrolled(near, threshold)) and not force:
        return replace(verdict, reason=reason)
    if comparison.doubts and not force:
        return replace(verdict, reason=f"{' '.join(comparison.doubts)} Then force it")
    notes = things_to_check(gallery, name, near) + comparison.doubts
    person = gallery.add(name, shots, metadata)
    return replace(verdict, status="enrolled", notes=notes, id=person.id)
