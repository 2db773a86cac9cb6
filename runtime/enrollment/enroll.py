"""Enrollment: add the face in a photo, or pictures from a camera, to a person of the gallery.

Each photo gets a verdict. A bad photo does not stop the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.text import in_a_line
from ..gallery.anchors import is_ignored
from ..gallery.gallery import Gallery
from ..gallery.match import Match
from ..gallery.people import Sample, look_alike
from ..gallery.rows import find_spelling
from ..inference.pipeline import Pipeline
from ..vision.embed import unit
from ..vision.image import read_image
from .measured_photo import FaceInPhoto, MeasuredPhoto, measure_photo
from .same_person import FaceChoice, choose_faces
from .stored_crop import encode_crop

# Cosine at or above which a photo adds nothing to a sample of the same person: frames of one second, or a copy.
DUPLICATE = 0.98
FORCE = "--force (API: force=true)"  # in messages for both
NEAR = 0.1  # below the match threshold: other people who are this similar are named, so that a person can check

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


@dataclass(frozen=True)
class Comparison:
    """How new pictures of a person compare with the gallery.

    near    another person of the gallery who looks like the face; None if nobody does
    own     the best cosine with the person's own samples; None without any
    doubts  reasons why the pictures may show somebody else than the person
    """

    near: Match | None
    own: float | None
    doubts: tuple[str, ...]


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
    read and an invalid name are refused. ``measure`` returns what ``measure_file`` does, such as ``ReadAhead.take``
    with it; None calls it."""
    try:
        name = find_spelling(gallery, name)
    except InputError as error:
        reason = f"{error}: rename the folder or file"
        yield from (Verdict("refused", in_a_line(name), in_a_line(str(photo)), reason) for photo in photos)
        return
    measured = [_measured(photo, measure or partial(measure_file, pipeline, rules)) for photo in photos]
    yield from _Enrollment(gallery, name, pipeline, rules, metadata).add(measured)


def measure_file(
    pipeline: Pipeline, rules: EnrollOptions, photo: Path, image: NDArray[np.uint8] | None = None
) -> MeasuredPhoto:
    """The faces of the file ``photo``, measured as ``rules`` say. ``image``: its content, if it was read. Threads may
    call this. Raises InputError if it cannot be read."""
    image = read_image(photo) if image is None else image
    return measure_photo(pipeline, image, in_a_line(str(photo)), strict=rules.strict, face=rules.face)


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
            _known_embeddings(self.gallery, self.name),
            threshold=self.pipeline.thresholds.match,
            force=self.rules.force,
            is_somebody_else=self._is_somebody_else,
        )
        for photo, choice in zip(photos, choices, strict=True):
            yield self._add_choice(photo, choice)

    def _is_somebody_else(self, embedding: NDArray[np.float32]) -> bool:
        near = _find_other(self.gallery, self.name, embedding)
        ignored = _find_ignored(self.gallery, embedding, self.pipeline.thresholds.match)
        return bool(self._why_somebody_else(near, ignored)) and not self.rules.force

    def _why_somebody_else(self, near: Match | None, ignored: str) -> str:
        """Why a face is not the person's; "" if nothing speaks against it. ``near``: another person who looks like it;
        ``ignored``: see ``_find_ignored``."""
        if ignored:
            return f"{ignored}: remove it there first, or {FORCE} if it is another person"
        if near is not None and near.counts(self.pipeline.thresholds.match):
            already = _already_enrolled(near, self.pipeline.thresholds.match)
            return f"{already}: use that name, or {FORCE} if they are two people"
        return ""

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
        ignored = _find_ignored(self.gallery, face.embedding, self.pipeline.thresholds.match)
        near = _find_other(self.gallery, name, face.embedding)
        near = near if near is not None and near.cosine >= self.pipeline.thresholds.match - NEAR else None
        verdict = replace(verdict, near=near)
        if (reason := self._why_somebody_else(near, ignored)) and not self.rules.force:
            return replace(verdict, reason=reason)
        if verdict.reason:
            return verdict
        known = max((float(one @ face.embedding) for one in _known_embeddings(self.gallery, name)), default=-1.0)
        if known >= DUPLICATE:
            return replace(verdict, status="known", reason=f"like an existing sample (cosine {known:.3f})")
        notes = choice.notes + ((_looks_like(near),) if near else ()) + _find_similar_name(self.gallery, name)
        notes += (ignored,) if ignored else ()
        crop = encode_crop(face.crop, self.pipeline.crop) if self.rules.crops else None
        self.gallery.add(name, [Sample(face.embedding, crop, face.quality.score, photo.source)], self.metadata)
        return replace(verdict, status="enrolled", notes=notes)


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
    if near is not None and near.counts(threshold) and not force:
        reason = f"{_already_enrolled(near, threshold)}: use that name, or {FORCE} if they are two people"
        return replace(verdict, reason=reason)
    if comparison.doubts and not force:
        return replace(verdict, reason=f"{' '.join(comparison.doubts)} Then force it")
    notes = ((_looks_like(near),) if near is not None else ()) + _find_similar_name(gallery, name)
    gallery.add(name, shots, metadata)
    return replace(verdict, status="enrolled", notes=notes + comparison.doubts)


def compare_with_gallery(gallery: Gallery, name: str, shots: Sequence[Sample], threshold: float) -> Comparison:
    """Compare ``shots`` of one face with the gallery before they become samples of ``name``. The other person in the
    result has a cosine of at least ``threshold`` - ``NEAR``."""
    name = find_spelling(gallery, name)
    weights = np.array([shot.quality for shot in shots], np.float32)
    vector = unit(weights @ np.stack([shot.embedding for shot in shots]))
    other = _find_other(gallery, name, vector)
    near = other if other is not None and other.cosine >= threshold - NEAR else None
    own = max((float(known @ vector) for known in _known_embeddings(gallery, name)), default=None)
    doubts: tuple[str, ...] = ()
    if own is not None and own < threshold:
        doubts = (
            f"unlike the other samples of {name!r} (best cosine {own:.3f}, threshold {threshold:.3f}): "
            "is it the same person?",
        )
    ignored = _find_ignored(gallery, vector, threshold)
    if ignored:
        doubts += (f"{ignored}: is it another person?",)
    return Comparison(near, own, doubts)


def _known_embeddings(gallery: Gallery, name: str) -> list[NDArray[np.float32]]:
    """The embeddings of the person ``name`` that can be compared with new ones."""
    if not gallery.read("SELECT 1 FROM person JOIN sample ON person = person.id WHERE name = ?", [name]):
        return []
    samples = gallery.samples(gallery.person(name))
    return [sample.embedding for sample in samples if sample.identity == gallery.identity]


def _find_other(gallery: Gallery, name: str, embedding: NDArray[np.float32]) -> Match | None:
    """The most similar person of the gallery who is not ``name``."""
    return next((match for match in gallery.search(embedding[None], 2)[0] if match.name != name), None)


def _find_ignored(gallery: Gallery, embedding: NDArray[np.float32], threshold: float) -> str:
    """A sentence if the face is on the ignore list; otherwise ""."""
    cosine = float(gallery.anchor_cosines(embedding[None])[0])
    if cosine < threshold or not is_ignored(gallery.search(embedding[None])[0], cosine, threshold):
        return ""
    return f"this face is on the ignore list (cosine {cosine:.3f}, threshold {threshold:.3f})"


def _find_similar_name(gallery: Gallery, name: str) -> tuple[str, ...]:
    """A sentence if ``name`` is new in the gallery, and another name differs from it only in case."""
    names = [other for (other,) in gallery.read("SELECT name FROM person")]
    other = None if name in names else look_alike(name, names)
    return () if other is None else (f"the gallery also has {other!r}: if they are one person, merge them",)


def _already_enrolled(match: Match, threshold: float) -> str:
    return f"already enrolled as {match.name!r} (cosine {match.cosine:.3f}, threshold {match.needed(threshold):.3f})"


def _looks_like(match: Match) -> str:
    return f"looks like {match.name!r} (cosine {match.cosine:.3f})"
