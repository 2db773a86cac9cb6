"""Enrollment: add the face in a photo, or pictures from a camera, to a person of the gallery.

Each photo gets a verdict. A bad photo does not stop the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.text import in_a_line
from ..gallery.gallery import Gallery
from ..gallery.match import Match
from ..gallery.people import Sample, look_alike
from ..gallery.rows import find_spelling
from ..inference.pipeline import Pipeline
from ..vision.embed import unit
from ..vision.image import read_image
from ..vision.quality import Quality, measure

# Cosine at or above which a photo adds nothing to a sample of the same person: frames of one second, or a copy.
DUPLICATE = 0.98
NEAR = 0.1  # below the match threshold: other people who are this similar are named, so that a person can check

Status = Literal["enrolled", "known", "refused"]


@dataclass(frozen=True)
class EnrollOptions:
    """Options of enrollment.

    strict  refuse a photo with several faces instead of using the largest face
    force   enroll a face even if it looks like another person of the gallery
    crops   store the aligned face, so that another model can embed it again
    """

    strict: bool = False
    force: bool = False
    crops: bool = True


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
    """

    status: Status
    person: str
    source: str
    reason: str = ""
    notes: tuple[str, ...] = ()
    quality: float | None = None
    near: Match | None = None


@dataclass(frozen=True)
class Comparison:
    """How new pictures of a person compare with the gallery.

    near    another person of the gallery who looks like the face; None if nobody does
    doubts  reasons why the pictures may show somebody else than the person
    """

    near: Match | None
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
    """Add the largest face in ``image`` (H×W×3 uint8 BGR) to the person ``name``, or refuse it and say why.

    A face with the verdict "enrolled" is on the disk. Raises InputError if the gallery contains embeddings of another
    model.
    """
    name = find_spelling(gallery, name)
    faces = pipeline.detect(image)
    if not len(faces):
        return _refuse(name, source, "no face found: use a photo with a larger face that looks at the camera")
    if len(faces) > 1 and rules.strict:
        return _refuse(name, source, f"{len(faces)} faces: crop the photo to one person, or do not use --strict")
    notes: tuple[str, ...] = (f"{len(faces)} faces: used the largest",) if len(faces) > 1 else ()
    face = faces.largest()
    crop = pipeline.align(image, faces.landmarks[face])
    quality = measure(crop, faces.landmarks[face], float(faces.scores[face]))
    if (flaw := quality.flaw()) is not None:
        return _refuse(name, source, f"{flaw.reason}: {flaw.detail}", quality)
    vector = pipeline.embed([crop])[0]

    # The two nearest people include the nearest other person, and this person if it is one of them.
    nearest = gallery.search(vector[None], 2)[0]
    own = next((match.cosine for match in nearest if match.name == name), None)
    other = next((match for match in nearest if match.name != name), None)
    threshold = pipeline.thresholds.match
    near = other if other is not None and other.cosine >= threshold - NEAR else None
    if near is not None and near.cosine >= threshold and not rules.force:
        reason = f"{_already_enrolled(near, threshold)}: use that name, or --force if they are two people"
        return _refuse(name, source, reason, quality, near)
    if own is not None and own >= DUPLICATE:
        return Verdict("known", name, source, f"like an existing sample (cosine {own:.3f})", notes, quality.score, near)
    if near is not None:
        notes += (_looks_like(near),)
    notes += _find_contradiction(gallery, name, vector, own, threshold)
    notes += _find_similar_name(gallery, name)
    sample = Sample(vector, encode_crop(crop) if rules.crops else None, quality.score, source)
    gallery.add(name, [sample], metadata)
    return Verdict("enrolled", name, source, "", notes, quality.score, near)


def enroll_photo(
    gallery: Gallery,
    pipeline: Pipeline,
    name: str,
    photo: Path,
    *,
    rules: EnrollOptions,
    metadata: Mapping[str, Any] | None = None,
) -> Verdict:
    """As ``enroll``, for a file. A file that cannot be read and an invalid name are refused too."""
    source = in_a_line(str(photo))
    try:
        name = find_spelling(gallery, name)
    except InputError as error:
        return Verdict("refused", in_a_line(name), source, f"{error}: rename the folder or file")
    try:
        image = read_image(photo)
    except InputError as error:
        return Verdict("refused", name, source, str(error).removeprefix(f"{photo}: "))
    return enroll(gallery, pipeline, name, image, source, rules=rules, metadata=metadata)


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
    if they look like another person. Raises InputError as ``enroll``.
    """
    name = find_spelling(gallery, name)
    comparison = compare_with_gallery(gallery, name, shots, threshold)
    near, quality = comparison.near, shots[0].quality
    if near is not None and near.cosine >= threshold and not force:
        reason = f"{_already_enrolled(near, threshold)}: use that name, or force it if they are two people"
        return Verdict("refused", name, source, reason, quality=quality, near=near)
    notes: tuple[str, ...] = (_looks_like(near),) if near is not None else ()
    notes += _find_similar_name(gallery, name)
    gallery.add(name, shots, metadata)
    return Verdict("enrolled", name, source, "", notes + comparison.doubts, quality, near)


def compare_with_gallery(gallery: Gallery, name: str, shots: Sequence[Sample], threshold: float) -> Comparison:
    """Compare ``shots`` of one face with the gallery before they become samples of ``name``. The other person in the
    result has a cosine of at least ``threshold`` - ``NEAR``."""
    name = find_spelling(gallery, name)
    weights = np.array([shot.quality for shot in shots], np.float32)
    vector = unit(weights @ np.stack([shot.embedding for shot in shots]))
    nearest = gallery.search(vector[None], 2)[0]
    near = next((match for match in nearest if match.name != name and match.cosine >= threshold - NEAR), None)
    own = next((match.cosine for match in nearest if match.name == name), None)
    return Comparison(near, _find_contradiction(gallery, name, vector, own, threshold))


def encode_crop(crop: NDArray[np.uint8]) -> bytes:
    """``crop`` (H×W×3 uint8 BGR) as a PNG file: without loss, so that the same model embeds it the same again."""
    return cv2.imencode(".png", crop)[1].tobytes()


def decode_crop(crop: bytes) -> NDArray[np.uint8] | None:
    """The image in the PNG file ``crop``, H×W×3 uint8 BGR, or None if it is damaged."""
    try:
        image = cv2.imdecode(np.frombuffer(crop, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if image is None else np.asarray(image, np.uint8)


def _find_contradiction(
    gallery: Gallery, name: str, vector: NDArray[np.float32], own: float | None, threshold: float
) -> tuple[str, ...]:
    """A sentence if the embedding ``vector`` is unlike the existing samples of ``name``. ``own``: the best cosine with
    them, or None if the search did not return it."""
    if own is None:  # no samples yet, or two other people are nearer
        person = next((person for person in gallery.people() if person.name == name and person.samples), None)
        if person is None:
            return ()
        own = max(float(sample.embedding @ vector) for sample in gallery.samples(person))
    if own >= threshold:
        return ()
    return (f"unlike the other samples of {name!r} (best cosine {own:.3f}): is it the same person?",)


def _find_similar_name(gallery: Gallery, name: str) -> tuple[str, ...]:
    """A sentence if ``name`` is new in the gallery, and another name differs from it only in case."""
    names = [other for (other,) in gallery.read("SELECT name FROM person")]
    other = None if name in names else look_alike(name, names)
    return () if other is None else (f"the gallery also has {other!r}: if they are one person, merge them",)


def _already_enrolled(match: Match, threshold: float) -> str:
    return f"already enrolled as {match.name!r} (cosine {match.cosine:.3f}, threshold {threshold:.3f})"


def _looks_like(match: Match) -> str:
    return f"looks like {match.name!r} (cosine {match.cosine:.3f})"


def _refuse(name: str, source: str, reason: str, quality: Quality | None = None, near: Match | None = None) -> Verdict:
    return Verdict("refused", name, source, reason, (), None if quality is None else quality.score, near)
