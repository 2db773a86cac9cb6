"""Which faces calibrate, which are kept apart to evaluate on."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rkface.runtime.core.errors import InputError

from . import MINIMUM
from .collect import CandidateFace, Collection, Skipped
from .facility_location import SAME_PERSON, UNCLEAR, select_cover

# Measured on 74 faces in 64 press photos and on copies of each photo, shrunk, recompressed, brightened and shifted:
# copies of one face differ in at most 18 of the 143 bits, different faces in at least 28.
HASH_SIDE, HASH_RADIUS = 12, 22
HASH_BITS = HASH_SIDE**2 - 1
COPY = "near-duplicate"
BLOCK = 1024  # rows of a table of all pairs held at once


@dataclass(frozen=True)
class Choice:
    """``faces`` calibrate, the most telling first; ``left_out`` are the others, with the reason."""

    faces: tuple[CandidateFace, ...]
    left_out: tuple[Skipped, ...]


def choose_faces(
    candidates: Sequence[CandidateFace], count: int, embeddings: NDArray[np.float32] | None = None
) -> Choice:
    """The ``count`` faces that stand best for all ``candidates`` in pose, light, skin tone and, where ``embeddings``
    (N×D, unit length) are given, in who they are; all where there are fewer.

    Of near-duplicates, faces whose perceptual hashes differ in at most ``HASH_RADIUS`` bits and those of a second copy
    of the same file, the best by quality counts. What else is passed over until the count cannot be reached otherwise,
    and how the rest are chosen: spread.py. The result does not depend on the order of ``candidates``.
    """
    different, copies = _without_copies(candidates)
    if not different:
        return Choice((), ())
    faces = [candidates[index] for index in different]
    found = select_cover(
        [face.appearance for face in faces],
        np.array([face.quality.clarity for face in faces], np.float32),
        None if embeddings is None else embeddings[different],
        count,
    )
    surplus = []
    for index, reason, like in found.surplus:
        unclear = f"clarity {faces[index].quality.clarity:.2f}"
        detail = unclear if reason == UNCLEAR else f"most like the face from {faces[like].name}"
        surplus.append(Skipped(faces[index].name, reason, detail))
    return Choice(tuple(faces[index] for index in found.order), (*copies, *surplus))


def _without_copies(candidates: Sequence[CandidateFace]) -> tuple[list[int], list[Skipped]]:
    """Indices of those ``candidates`` that are no copy of a better one, best first; and the copies."""
    first_name: dict[str, str] = {}
    for candidate in candidates:
        first_name[candidate.sha256] = min(first_name.get(candidate.sha256, candidate.name), candidate.name)
    ranked = sorted(range(len(candidates)), key=lambda index: _rank(candidates[index]))
    faces, copies = [], []
    for index in ranked:
        name, first = candidates[index].name, first_name[candidates[index].sha256]
        if name == first:
            faces.append(index)
        else:
            copies.append(Skipped(name, COPY, f"the same file as {first}"))
    marks = np.array([perceptual_hash(candidates[index].crop) for index in faces]).reshape(-1, HASH_BITS)
    # Of signs, the product counts how many are equal minus how many are not.
    originals = _originals(np.where(marks, 1, -1).astype(np.float32), HASH_BITS - 2 * HASH_RADIUS)
    different = []
    for index, original in zip(faces, (faces[place] for place in originals), strict=True):
        if index == original:
            different.append(index)
        else:
            detail = f"looks like the face from {candidates[original].name}"
            copies.append(Skipped(candidates[index].name, COPY, detail))
    return different, copies


def _rank(candidate: CandidateFace) -> tuple[float, str, list[float]]:
    return -candidate.quality.score, candidate.name, candidate.faces.boxes[0].tolist()


def _originals(vectors: NDArray[np.float32], least: float) -> list[int]:
    """For each of N×D ``vectors`` the first one, itself no copy, of which it is a copy: their product is ``least`` or
    more. Its own index for what is no copy."""
    originals = np.full(len(vectors), -1)
    for start in range(0, len(vectors), BLOCK):
        for index, like in enumerate(vectors[start : start + BLOCK] @ vectors.T >= least, start):
            if originals[index] < 0:
                originals[like & (originals < 0)] = index
    return [int(original) for original in originals]


def choose_frames(chosen: Sequence[CandidateFace], collection: Collection, count: int) -> tuple[Path, ...]:
    """At most ``count`` photos for the detector: those of the ``chosen`` faces, best first, then those in which nothing
    usable was found. Photos whose every face is a near-duplicate or surplus stay out."""
    with_faces = dict.fromkeys(candidate.photo for candidate in chosen)
    usable = {candidate.photo for candidate in collection.candidates}
    without = [photo for photo in collection.photos if photo not in usable]
    return (*with_faces, *without)[:count]


def require_enough_faces(choice: Choice, collection: Collection, hint: str = "") -> None:
    """InputError where ``choice`` cannot make a set: how many there are of how many photos, what most of the others
    failed for, and what to do. ``hint`` is added to the advice."""
    if len(choice.faces) >= MINIMUM:
        return
    count_reasons = Counter(skip.reason for skip in (*collection.skipped, *choice.left_out))
    total = len({*collection.photos}) + sum(skip.reason == "unreadable" for skip in collection.skipped)
    often = count_reasons.most_common(1)
    why = f" (most often left out: {often[0][0]}, {often[0][1]}×)" if often else ""
    raise InputError(
        f"{collection.folder}: {plural(len(choice.faces), 'usable face')} in {plural(total, 'photo')}{why}; "
        f"a calibration set needs at least {MINIMUM}, or the INT8 ranges fit those few people only: "
        f"add photos with sharp faces of different people{hint}"
    )


def plural(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def perceptual_hash(crop: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """143 bits of an S×S×3 uint8 BGR ``crop``: which of its lowest 12×12 DCT coefficients, the mean left out, lie above
    their median (the DCT hash of Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010,
    with 12 frequencies instead of 8, because aligned faces resemble each other more than photos do)."""
    gray = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
    low = cv2.dct(gray.astype(np.float32))[:HASH_SIDE, :HASH_SIDE].ravel()[1:]
    return np.asarray(low > np.median(low), np.bool_)


def hold_out(
    candidates: Sequence[CandidateFace], embeddings: NDArray[np.float32], share: float = 0.4
) -> tuple[list[int], list[int]]:
    """Split faces into those to calibrate on and those to evaluate on: indices into ``candidates``, ascending.

    ``embeddings`` (N×D, unit length) belong to ``candidates``. Photos with two faces at cosine ``SAME_PERSON`` or more
    between them are tied together, chains included (single link), and so are copies of one file: no photo and, as far
    as the embeddings can tell, no person is on both sides. Groups are taken in the order of their hash, not of their
    quality, so that evaluation is not on good faces only. The evaluation side differs from ``share`` of all faces by
    half the largest group at most. InputError where everything hangs together in one group.
    """
    if len(candidates) != len(embeddings) or not 0 < share < 1:
        raise ValueError("one embedding a candidate and a share between 0 and 1")
    groups = _groups(candidates, embeddings)
    target = share * len(candidates)
    evaluate: list[int] = []
    for group in groups:
        if abs(len(evaluate) + len(group) - target) < abs(len(evaluate) - target):
            evaluate += group
    calibrate = sorted(set(range(len(candidates))) - set(evaluate))
    if not calibrate or not evaluate:
        raise InputError(
            f"the {plural(len(candidates), 'face')} cannot be split into people to calibrate on and others to "
            f"evaluate on ({plural(len(groups), 'group')} of people seen together): add photos of other people"
        )
    return calibrate, sorted(evaluate)


def _groups(candidates: Sequence[CandidateFace], embeddings: NDArray[np.float32]) -> list[list[int]]:
    """Indices of ``candidates`` that belong together, the groups in hash order."""
    photos = {digest: index for index, digest in enumerate(sorted({candidate.sha256 for candidate in candidates}))}
    node = [photos[candidate.sha256] for candidate in candidates]
    alike = (
        (node[start + row], node[column])
        for start in range(0, len(embeddings), BLOCK)
        for row, column in np.argwhere(embeddings[start : start + BLOCK] @ embeddings.T >= SAME_PERSON)
    )
    group = connected_components(len(photos), alike)
    members: dict[int, list[int]] = {}
    for index, photo in enumerate(node):
        members.setdefault(group[photo], []).append(index)
    # A group goes by its smallest photo hash, hashed again: the smallest of many is small, and large groups would
    # always come first.
    names = {photo: hashlib.sha256(digest.encode()).hexdigest() for digest, photo in photos.items()}
    return [members[photo] for photo in sorted(members, key=lambda photo: names[photo])]


def connected_components(count: int, joined: Iterable[tuple[int, int]]) -> list[int]:
    """For each of ``count`` things the smallest one that ``joined`` pairs connect it with, itself among them."""
    parent = list(range(count))

    def root(one: int) -> int:
        while parent[one] != one:
            parent[one] = one = parent[parent[one]]
        return one

    for left, right in joined:
        low, high = sorted((root(left), root(right)))
        parent[high] = low
    return [root(one) for one in range(count)]
