"""Which faces calibrate, which are kept apart to evaluate on."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rkface.runtime.errors import InputError

from . import MINIMUM
from .collect import Candidate, Collection, Skipped

# Measured on 74 faces in 64 press photos and on copies of each photo, shrunk, recompressed, brightened and shifted:
# copies of one face differ in at most 18 of the 143 bits, different faces in at least 28.
HASH_SIDE, HASH_RADIUS = 12, 22
COPY, SURPLUS = "near-duplicate", "better faces filled the count"
BLOCK = 1024  # rows of the cosine matrix held at once


def choose(candidates: Sequence[Candidate], count: int) -> tuple[Candidate, ...]:
    """The ``count`` best faces by quality, best first, no two of them near-duplicates; all where there are fewer.

    Near-duplicates are faces whose perceptual hashes differ in at most ``HASH_RADIUS`` bits, and those of a second copy
    of the same file. The result does not depend on the order of ``candidates``.
    """
    first_name: dict[str, str] = {}
    for candidate in candidates:
        first_name[candidate.sha256] = min(first_name.get(candidate.sha256, candidate.name), candidate.name)
    ranked = sorted(
        (candidate for candidate in candidates if candidate.name == first_name[candidate.sha256]),
        key=lambda one: (-one.quality.score, one.name, one.faces.boxes[0].tolist()),
    )
    chosen: list[Candidate] = []
    hashes = np.zeros((min(count, len(ranked)), HASH_SIDE**2 - 1), np.bool_)
    for candidate in ranked:
        if len(chosen) == count:
            break
        mark = perceptual_hash(candidate.crop)
        if not _near(mark, hashes[: len(chosen)]):
            hashes[len(chosen)] = mark
            chosen.append(candidate)
    return tuple(chosen)


def left_out(candidates: Iterable[Candidate], chosen: Sequence[Candidate]) -> tuple[Skipped, ...]:
    """Why ``choose`` did not take the rest of ``candidates``: copies of what it took, or not good enough to fit in."""
    taken = set(chosen)
    names = {candidate.sha256: candidate.name for candidate in chosen}
    hashes = np.array([perceptual_hash(candidate.crop) for candidate in chosen]).reshape(-1, HASH_SIDE**2 - 1)
    rest = []
    for candidate in candidates:
        if candidate in taken:
            continue
        near = np.flatnonzero(_distances(perceptual_hash(candidate.crop), hashes) <= HASH_RADIUS)
        if names.get(candidate.sha256, candidate.name) != candidate.name:
            rest.append(Skipped(candidate.name, COPY, f"the same file as {names[candidate.sha256]}"))
        elif near.size:
            rest.append(Skipped(candidate.name, COPY, f"looks like the face from {chosen[near[0]].name}"))
        else:
            rest.append(Skipped(candidate.name, SURPLUS, f"quality {candidate.quality.score:.3f}"))
    return tuple(rest)


def choose_frames(chosen: Sequence[Candidate], collection: Collection, count: int) -> tuple[Path, ...]:
    """At most ``count`` photos for the detector: those of the ``chosen`` faces, best first, then those in which nothing
    usable was found. Photos whose every face is a near-duplicate or surplus stay out."""
    with_faces = dict.fromkeys(candidate.photo for candidate in chosen)
    usable = {candidate.photo for candidate in collection.candidates}
    without = [photo for photo in collection.photos if photo not in usable]
    return (*with_faces, *without)[:count]


def require_enough(chosen: Sequence[Candidate], collection: Collection, hint: str = "") -> None:
    """InputError where ``chosen`` cannot make a set: how many there are of how many photos, what most of the others
    failed for, and what to do. ``hint`` is added to the advice."""
    if len(chosen) >= MINIMUM:
        return
    reasons = Counter(skip.reason for skip in (*collection.skipped, *left_out(collection.candidates, chosen)))
    total = len({*collection.photos}) + sum(skip.reason == "unreadable" for skip in collection.skipped)
    often = reasons.most_common(1)
    why = f" (most often left out: {often[0][0]}, {often[0][1]}×)" if often else ""
    raise InputError(
        f"{collection.folder}: {count_of(len(chosen), 'usable face')} in {count_of(total, 'photo')}{why}; "
        f"a calibration set needs at least {MINIMUM}, or the INT8 ranges fit those few people only: "
        f"add photos with sharp faces of different people{hint}"
    )


def count_of(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def perceptual_hash(crop: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """143 bits of an S×S×3 uint8 BGR ``crop``: which of its lowest 12×12 DCT coefficients, the mean left out, lie above
    their median (the DCT hash of Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010,
    with 12 frequencies instead of 8, because aligned faces resemble each other more than photos do)."""
    grey = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
    low = cv2.dct(grey.astype(np.float32))[:HASH_SIDE, :HASH_SIDE].ravel()[1:]
    return np.asarray(low > np.median(low), np.bool_)


def _distances(mark: NDArray[np.bool_], hashes: NDArray[np.bool_]) -> NDArray[np.intp]:
    return np.asarray(np.count_nonzero(hashes != mark, axis=1), np.intp)


def _near(mark: NDArray[np.bool_], hashes: NDArray[np.bool_]) -> bool:
    return bool((_distances(mark, hashes) <= HASH_RADIUS).any())


def hold_out(
    candidates: Sequence[Candidate], embeddings: NDArray[np.float32], share: float = 0.4, same_person: float = 0.35
) -> tuple[list[int], list[int]]:
    """Split faces into those to calibrate on and those to evaluate on: indices into ``candidates``, ascending.

    ``embeddings`` (N×D, unit length) belong to ``candidates``. Photos with two faces at cosine ``same_person`` or more
    between them are tied together, chains included (single link), and so are copies of one file: no photo and, as far
    as the embeddings can tell, no person is on both sides. Groups are taken in the order of their hash, not of their
    quality, so that evaluation is not on good faces only. The evaluation side differs from ``share`` of all faces by
    half the largest group at most. InputError where everything hangs together in one group.
    """
    if len(candidates) != len(embeddings) or not 0 < share < 1:
        raise ValueError("one embedding a candidate and a share between 0 and 1")
    groups = _groups(candidates, embeddings, same_person)
    target = share * len(candidates)
    evaluate: list[int] = []
    for group in groups:
        if abs(len(evaluate) + len(group) - target) < abs(len(evaluate) - target):
            evaluate += group
    calibrate = sorted(set(range(len(candidates))) - set(evaluate))
    if not calibrate or not evaluate:
        raise InputError(
            f"the {count_of(len(candidates), 'face')} cannot be split into people to calibrate on and others to "
            f"evaluate on ({count_of(len(groups), 'group')} of people seen together): add photos of other people"
        )
    return calibrate, sorted(evaluate)


def _groups(candidates: Sequence[Candidate], embeddings: NDArray[np.float32], same_person: float) -> list[list[int]]:
    """Indices of ``candidates`` that belong together, the groups in hash order."""
    photos = {digest: index for index, digest in enumerate(sorted({candidate.sha256 for candidate in candidates}))}
    node = [photos[candidate.sha256] for candidate in candidates]
    parent = list(range(len(photos)))

    def root(photo: int) -> int:
        while parent[photo] != photo:
            parent[photo] = parent[parent[photo]]
            photo = parent[photo]
        return photo

    for start in range(0, len(embeddings), BLOCK):
        for row, column in np.argwhere(embeddings[start : start + BLOCK] @ embeddings.T >= same_person):
            low, high = sorted((root(node[start + row]), root(node[column])))
            parent[high] = low
    members: dict[int, list[int]] = {}
    for index, photo in enumerate(node):
        members.setdefault(root(photo), []).append(index)
    # A group goes by its smallest photo hash, hashed again: the smallest of many is small, and large groups would
    # always come first.
    names = {photo: hashlib.sha256(digest.encode()).hexdigest() for digest, photo in photos.items()}
    return [members[photo] for photo in sorted(members, key=lambda photo: names[photo])]
