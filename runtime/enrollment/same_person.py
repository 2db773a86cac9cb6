"""Which faces of a person's photos show this person: those that match each other, or the samples of the gallery."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from .measured_photo import FaceInPhoto, MeasuredFace, MeasuredPhoto, find_large

Embedding = NDArray[np.float32]
CLEARLY = 0.1  # how much closer than all others in a photo the face must be that is taken without a question
MOST_LISTED = 8  # faces that a message lists


@dataclass(frozen=True, eq=False)
class FaceChoice:
    """The face of a photo that shows the person, or the ``reason`` why none is taken.

    cosine  the best cosine of ``face`` with the person's other samples, or None without any
    faces   the faces to choose from, if it is not clear which one is meant
    """

    face: MeasuredFace | None
    cosine: float | None = None
    reason: str = ""
    notes: tuple[str, ...] = ()
    faces: tuple[FaceInPhoto, ...] = ()


@dataclass
class _Samples:
    """Embeddings of the person: of the gallery, and of the photos that were accepted, by their index."""

    known: list[Embedding]
    of_photos: list[tuple[int, Embedding]] = field(default_factory=list)

    def cosine(self, embedding: Embedding, photo: int) -> float | None:
        """The best cosine with the samples that are not of the same photo."""
        vectors = self.known + [vector for index, vector in self.of_photos if index != photo]
        return max((float(vector @ embedding) for vector in vectors), default=None)


def choose_faces(
    name: str,
    photos: Sequence[MeasuredPhoto],
    known: Sequence[Embedding],
    *,
    threshold: float,
    force: bool,
    is_somebody_else: Callable[[Embedding], bool],
) -> list[FaceChoice]:
    """Decide for each photo which face shows the person ``name``.

    ``known``: the person's embeddings in the gallery. A face is accepted if its cosine with one of them, or with an
    accepted face, is ``threshold`` or more. Without them, the largest group of photos that match each other decides;
    only photos that show one person take part in this, if there are any. Photos of other people (``is_somebody_else``)
    do not. ``force``: accept a photo that matches no other one, too.
    """
    samples, accepted = _Samples(list(known)), dict[int, FaceChoice]()
    candidates = _find_candidates(photos, is_somebody_else)
    rivals: list[list[int]] = []
    if not known and candidates:
        rivals = _largest_groups(candidates, threshold)
        if len(rivals) == 1 and _is_one_face_a_photo([candidates[index] for index in rivals[0]], photos):
            samples.of_photos = [(candidates[index][0], _vector(candidates[index][1])) for index in rivals[0]]
            for number, face in (candidates[index] for index in rivals[0]):
                accepted[number] = _accept(photos[number], face, samples.cosine(_vector(face), number))
    while True:  # an accepted face may match further ones; in rounds, so that the order of the photos does not matter
        matches = {
            index: choice
            for index, photo in enumerate(photos)
            if index not in accepted and (choice := _find_match(photo, index, samples, threshold)) is not None
        }
        if not matches:
            break
        accepted |= matches
        samples.of_photos += [(index, _vector(choice.face)) for index, choice in matches.items() if choice.face]
    tied = [photos[candidates[index][0]] for group in rivals for index in group] if len(rivals) > 1 else []
    return [
        accepted.get(index) or _explain(name, photo, index, samples, tied, threshold=threshold, force=force)
        for index, photo in enumerate(photos)
    ]


def _find_candidates(
    photos: Sequence[MeasuredPhoto], is_somebody_else: Callable[[Embedding], bool]
) -> list[tuple[int, MeasuredFace]]:
    """The faces that take part in the decision, each with the index of its photo: the faces that are meant, or without
    one, all faces of photos in which several could be."""
    meant = [(index, photo.meant) for index, photo in enumerate(photos) if photo.meant]
    if not any(face.embedding is not None for _, face in meant):
        meant = [(index, face) for index, photo in enumerate(photos) for face in find_large(photo.faces)]
    return [
        (index, face) for index, face in meant if face.embedding is not None and not is_somebody_else(face.embedding)
    ]


def _largest_groups(candidates: Sequence[tuple[int, MeasuredFace]], threshold: float) -> list[list[int]]:
    """The groups of candidates that match each other (single linkage) and are on the most photos, as indices."""
    groups: list[list[int]] = []
    for index, (_, face) in enumerate(candidates):
        linked = [
            group
            for group in groups
            if any(float(_vector(candidates[other][1]) @ _vector(face)) >= threshold for other in group)
        ]
        groups = [group for group in groups if group not in linked] + [[*chain(*linked), index]]
    on_photos = [{candidates[index][0] for index in group} for group in groups]
    most = max(map(len, on_photos))
    return [group for group, found in zip(groups, on_photos, strict=True) if len(found) == most]


def _is_one_face_a_photo(group: Sequence[tuple[int, MeasuredFace]], photos: Sequence[MeasuredPhoto]) -> bool:
    """Whether ``group`` certainly shows one person: faces that are meant, or one face of each of several photos."""
    if all(photos[index].meant is face for index, face in group):
        return True
    return len(group) > 1 and len({index for index, _ in group}) == len(group)


def _find_match(photo: MeasuredPhoto, index: int, samples: _Samples, threshold: float) -> FaceChoice | None:
    """The face of ``photo`` that matches ``samples``: the one that is meant, or the only one that matches clearly."""
    if photo.meant is not None and (len(photo.faces) == 1 or photo.meant.embedding is not None):
        cosine = None if photo.meant.embedding is None else samples.cosine(photo.meant.embedding, index)
        return _accept(photo, photo.meant, cosine) if cosine is not None and cosine >= threshold else None
    cosines = [
        (cosine, face)
        for face in photo.faces
        if face.embedding is not None and (cosine := samples.cosine(face.embedding, index)) is not None
    ]
    if not cosines:
        return None
    cosines.sort(key=lambda pair: -pair[0])
    (best, face), second = cosines[0], cosines[1][0] if len(cosines) > 1 else -1.0
    if best < threshold or second >= threshold or best - second < CLEARLY:
        return None
    note = f"{len(photo.faces)} faces: used face {face.number}, which matches the other samples (cosine {best:.3f})"
    return replace(_accept(photo, face, best), notes=(*photo.notes, note))


def _accept(photo: MeasuredPhoto, face: MeasuredFace, cosine: float | None) -> FaceChoice:
    return FaceChoice(face, cosine, notes=photo.notes)


def _explain(
    name: str,
    photo: MeasuredPhoto,
    index: int,
    samples: _Samples,
    tied: Sequence[MeasuredPhoto],
    *,
    threshold: float,
    force: bool,
) -> FaceChoice:
    """The choice for a photo that matches nothing: accepted if nothing speaks against it, else with a reason."""
    face = photo.meant
    if photo.problem:
        return FaceChoice(None, reason=photo.problem, notes=photo.notes)
    if face is None:
        return _ask(name, photo, index, samples)
    if face.embedding is None:
        return FaceChoice(face, reason=face.flaw, notes=photo.notes)
    cosine = samples.cosine(face.embedding, index)
    unlike = None if cosine is None else f"unlike the other samples of {name!r} (best cosine {cosine:.3f}, threshold"
    if photo in tied:
        others = [_vector(one.meant) for one in tied if one is not photo and one.meant is not None]
        cosine = max(float(vector @ face.embedding) for vector in others)
        unlike = f"these photos show different people (best cosine {cosine:.3f} with the others, threshold"
    if unlike is None:
        return FaceChoice(face, notes=photo.notes)
    if force:
        return FaceChoice(face, cosine, notes=(*photo.notes, f"{unlike} {threshold:.3f})"))
    what = (
        f"first enroll one that certainly shows {name!r}, or use --force (API: force=true) if all do"
        if photo in tied
        else "check who it is; --force enrolls it anyway"
    )
    return FaceChoice(face, cosine, reason=f"{unlike} {threshold:.3f}): {what}", notes=photo.notes)


def _ask(name: str, photo: MeasuredPhoto, index: int, samples: _Samples) -> FaceChoice:
    """Several faces could be meant."""
    faces = tuple(
        FaceInPhoto(
            face.number,
            face.box,
            face.flaw,
            None if face.embedding is None else samples.cosine(face.embedding, index),
        )
        for face in photo.faces
    )
    large = {face.number for face in find_large(photo.faces)}
    listed = [str(face) for face in faces if face.number in large]
    more = len(faces) - len(listed[:MOST_LISTED])
    text = "; ".join(listed[:MOST_LISTED]) + (f"; and {more} more" if more else "")
    reason = f"{len(faces)} faces: which one is {name!r}? Choose it with --face N, or crop the photo ({text})"
    return FaceChoice(None, reason=reason, notes=photo.notes, faces=faces)


def _vector(face: MeasuredFace) -> Embedding:
    assert face.embedding is not None
    return face.embedding
