"""Enrollment: is this photo a good sample of that person? Each photo gets a verdict; one bad one stops no other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
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
from ..gallery.people import Sample, check_name
from ..inference.pipeline import Pipeline
from ..vision.embed import unit
from ..vision.image import find_images, read_image
from ..vision.quality import Quality, measure

# From this cosine on, a photo shows nothing that a sample of the same person does not: frames of one second, or a copy.
DUPLICATE = 0.98
NEAR = 0.1  # below the match threshold: other people this near are named, for a person to look at

Status = Literal["enrolled", "known", "refused"]


@dataclass(frozen=True)
class EnrollOptions:
    """strict  refuse a photo with several faces instead of taking the largest
    force   enroll even someone who looks like another person of the gallery
    crops   keep the aligned face, so that another model can embed it again
    """

    strict: bool = False
    force: bool = False
    crops: bool = True


@dataclass(frozen=True)
class Verdict:
    """What became of one photo. ``reason`` says why it was not enrolled, ``notes`` what a person should look at;
    ``near`` is who else of the gallery it looks like."""

    status: Status
    person: str
    source: str
    reason: str = ""
    notes: tuple[str, ...] = ()
    quality: float | None = None
    near: Match | None = None


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
    """Add the face in ``image`` (H×W×3 uint8 BGR) to the person ``name``, or say why not.

    A verdict of "enrolled" is on the disk; "known" means that a sample like it is there already. InputError where the
    gallery holds another model's embeddings.
    """
    faces = pipeline.detect(image)
    if not len(faces):
        return _refused(name, source, "no face found: use a photo in which it is larger and looks at the camera")
    if len(faces) > 1 and rules.strict:
        return _refused(name, source, f"{len(faces)} faces: cut out the one that is meant, or go without --strict")
    notes: tuple[str, ...] = (f"{len(faces)} faces: took the largest",) if len(faces) > 1 else ()
    face = faces.largest()
    crop = pipeline.align(image, faces.landmarks[face])
    quality = measure(crop, faces.landmarks[face], float(faces.scores[face]))
    if (flaw := quality.flaw()) is not None:
        return _refused(name, source, f"{flaw.reason}: {flaw.detail}", quality)
    vector = pipeline.embed([crop])[0]

    # Two nearest: the person meant, if it is one of them, and the nearest of the others.
    nearest = gallery.search(vector[None], 2)[0]
    own = next((match.cosine for match in nearest if match.name == name), None)
    other = next((match for match in nearest if match.name != name), None)
    threshold = pipeline.thresholds.match
    near = other if other is not None and other.cosine >= threshold - NEAR else None
    if near is not None and near.cosine >= threshold and not rules.force:
        reason = f"already enrolled as {near.name!r} (cosine {near.cosine:.3f}, threshold {threshold:.3f}): "
        return _refused(name, source, f"{reason}use that name, or --force if they are two people", quality, near)
    if own is not None and own >= DUPLICATE:
        return Verdict(
            "known", name, source, f"like a sample that is there (cosine {own:.3f})", notes, quality.score, near
        )
    if near is not None:
        notes += (f"looks like {near.name!r} (cosine {near.cosine:.3f})",)
    notes += _contradiction(gallery, name, vector, own, threshold)
    sample = Sample(vector, encode(crop) if rules.crops else None, quality.score, source)
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
    """As ``enroll`` for a file; one that cannot be read is refused like any other bad photo."""
    source = in_a_line(str(photo))
    try:
        check_name(name)
    except InputError as error:
        return Verdict("refused", in_a_line(name), source, f"{error}: rename the folder or file")
    try:
        image = read_image(photo)
    except InputError as error:
        return Verdict("refused", name, source, str(error).removeprefix(f"{photo}: "))
    return enroll(gallery, pipeline, name, image, source, rules=rules, metadata=metadata)


def _contradiction(
    gallery: Gallery, name: str, vector: NDArray[np.float32], own: float | None, threshold: float
) -> tuple[str, ...]:
    if own is None:  # no sample yet, or two other people are nearer
        person = next((person for person in gallery.people() if person.name == name and person.samples), None)
        if person is None:
            return ()
        own = max(float(sample.embedding @ vector) for sample in gallery.samples(person))
    if own >= threshold:
        return ()
    return (f"unlike the other samples of {name!r} (best cosine {own:.3f}): is it the same person?",)


def _refused(name: str, source: str, reason: str, quality: Quality | None = None, near: Match | None = None) -> Verdict:
    return Verdict("refused", name, source, reason, (), None if quality is None else quality.score, near)


def encode(crop: NDArray[np.uint8]) -> bytes:
    """``crop`` as PNG: without loss, so that the same model embeds it the same again."""
    return cv2.imencode(".png", crop)[1].tobytes()


def decode(crop: bytes) -> NDArray[np.uint8] | None:
    """The crop of a sample, H×W×3 uint8 BGR, or None for one that is damaged."""
    try:
        image = cv2.imdecode(np.frombuffer(crop, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if image is None else np.asarray(image, np.uint8)


def photos_by_person(folder: Path) -> Iterator[tuple[str, Path]]:
    """Name and photo for all below ``folder``: a sub-folder is a person; a photo beside them is named for the person,
    with a number behind a dash where there are several (ada.jpg, ada-2.jpg, jean-luc-01.jpg). InputError for none."""
    photos = find_images(folder)
    if not photos:
        raise InputError(f"{folder}: no photos in it (JPEG, PNG, WebP or BMP)")
    for photo in photos:
        first, *rest = photo.relative_to(folder).parts
        yield (first if rest else re.sub(r"-\d+$", "", photo.stem)), photo


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
    """Add what a camera saw of somebody to the person ``name``: ``shots`` of one face, best first, which were judged
    when they were embedded. All of them or, with the reason, none. InputError as for ``enroll``."""
    near, doubts = review(gallery, name, shots, threshold)
    quality = shots[0].quality
    if near is not None and near.cosine >= threshold and not force:
        reason = f"already enrolled as {near.name!r} (cosine {near.cosine:.3f}, threshold {threshold:.3f}): "
        return Verdict(
            "refused",
            name,
            source,
            f"{reason}use that name, or force it if they are two people",
            quality=quality,
            near=near,
        )
    notes = (f"looks like {near.name!r} (cosine {near.cosine:.3f})",) if near is not None else ()
    gallery.add(name, shots, metadata)
    return Verdict("enrolled", name, source, "", notes + doubts, quality, near)


def review(
    gallery: Gallery, name: str, shots: Sequence[Sample], threshold: float
) -> tuple[Match | None, tuple[str, ...]]:
    """Before ``shots`` of one face become samples of ``name``: who else of the gallery it looks like, from a little
    below ``threshold`` on, and why it may not be ``name``."""
    weights = np.array([shot.quality for shot in shots], np.float32)
    vector = unit(weights @ np.stack([shot.embedding for shot in shots]))
    nearest = gallery.search(vector[None], 2)[0]
    near = next((match for match in nearest if match.name != name and match.cosine >= threshold - NEAR), None)
    own = next((match.cosine for match in nearest if match.name == name), None)
    return near, _contradiction(gallery, name, vector, own, threshold)
