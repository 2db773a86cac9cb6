"""Select a few faces that represent all: a space in which different faces are far apart, and a greedy selection in it.

The method is facility location; see ``select_cover``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from .appearance_stats import AppearanceStats

FAR = 3.0  # robust standard deviations (1.4826 × the median absolute deviation); larger values are clipped to it
PARTS = (slice(0, 3), slice(3, 6), slice(6, 7))  # fields of AppearanceStats: pose, light, skin tone
SAMPLE = 1024  # the most faces that distances are measured to, so that memory is linear in the number of faces

# Lower than 0.41, the threshold at which buffalo_l accepts one impostor in a million (InsightFace's MR-ALL protocol):
# here, mistaking two people for one is better than mistaking one person for two.
SAME_PERSON = 0.35
PER_PERSON = 2  # faces of one person, while faces of other people are left
UNCLEAR_BELOW = 0.75  # of the median clarity: less clear faces are taken only when no others are left

# Why a face was left out.
UNCLEAR, PERSON, ALIKE = "less clear than the others", "enough faces of this person", "similar to selected faces"

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Cover:
    """A selection of faces.

    order    indices of the selected faces, most representative first
    surplus  for every other face: its index, the reason, and the index of the nearest selected face (of the same
             person, if that is the reason)
    """

    order: list[int]
    surplus: list[tuple[int, str, int]]


def appearance_space(appearances: Sequence[AppearanceStats], embeddings: Floats | None) -> Floats:
    """A point for each face, N×F float32; the Euclidean distance of two points says how different the faces are.

    Pose, light, skin tone and, if given, the embeddings (N×D float32) are each scaled to a mean squared distance of 1
    between two faces, so that they have equal weight. Outliers are clipped to ``FAR``: otherwise wrong landmarks or an
    overexposed face would determine the scale, or be selected first.
    """
    values = np.array([astuple(face) for face in appearances], np.float64)
    values -= np.median(values, axis=0)
    deviation = 1.4826 * np.median(np.abs(values), axis=0)
    deviation = np.where(deviation > 0, deviation, values.std(axis=0))
    values = np.clip(np.divide(values, deviation, out=np.zeros_like(values), where=deviation > 0), -FAR, FAR)
    parts = [values[:, part] for part in PARTS] + ([embeddings] if embeddings is not None else [])
    scales = [float(np.sqrt(2 * part.var(axis=0).sum())) for part in parts]
    scaled = [part / scale for part, scale in zip(parts, scales, strict=True) if scale > 0]
    # The column of zeros is the only one if all faces are equal.
    return np.hstack([*scaled, np.zeros((len(values), 1))]).astype(np.float32)


def select_cover(
    appearances: Sequence[AppearanceStats],
    clarity: Floats,
    embeddings: Floats | None,
    count: int,
    same_person: float = SAME_PERSON,
) -> Cover:
    """Select ``count`` of N ≥ 1 faces; of equal faces, the earlier one.

    ``appearances``: N appearances. ``clarity``: N float32, 0 to 1. ``embeddings``: N×D float32, unit length, or None.

    Facility location: greedily minimize the sum of distances from every face to the nearest selected one, which reaches
    at least 63 % of the best possible gain (Nemhauser, Wolsey, Fisher, Mathematical Programming 14, 1978). A gain is
    multiplied by the clarity of the face. K-center (Gonzalez, Theoretical Computer Science 38, 1985; arXiv 1708.00489)
    minimizes the *largest* distance instead. It therefore selects the strangest faces first, also wrong detections,
    although calibration only needs ranges and means of typical faces. (Measured, neither is better than random faces:
    docs/calibration.md.) The first k faces are the selection for ``count`` = k; tuning uses only the first few.

    While other faces are left, a face is skipped if it has a cosine of ``same_person`` or more to ``PER_PERSON``
    selected faces, or, with lower priority, if it is unclear (``UNCLEAR_BELOW``). Faces are compared with selected
    faces only: among thousands of faces, single linkage would chain many people into one.
    """
    points = appearance_space(appearances, embeddings)
    fit = clarity >= UNCLEAR_BELOW * np.median(clarity)
    distance = _distances(points, points[fit][:: -(-int(fit.sum()) // SAMPLE)])
    # From each face of the sample to the nearest selected face.
    left = np.full(distance.shape[1], distance.max(), np.float32)
    gains = clarity * (left - distance).sum(axis=1)
    same, limit = np.zeros(len(points), int), PER_PERSON
    free = np.ones(len(points), np.bool_)
    order: list[int] = []
    while len(order) < min(count, len(points)):
        allowed = free & fit & (same < limit)
        if allowed.any():
            order.append(best := _best(gains, allowed, clarity, distance, left))
            free[best] = False
            left = np.minimum(left, distance[best])
            if embeddings is not None:
                same += embeddings @ embeddings[best] >= same_person
        elif (free & fit).any():
            limit += 1
        else:
            fit[:] = True
    nearest = np.argmin(_distances(points, points[order]), axis=1)
    surplus = []
    for index in np.flatnonzero(free):
        reason, like = ALIKE if fit[index] else UNCLEAR, order[nearest[index]]
        if fit[index] and embeddings is not None and same[index] >= limit:
            reason, like = PERSON, order[int(np.argmax(embeddings[order] @ embeddings[index]))]
        surplus.append((int(index), reason, like))
    return Cover(order, surplus)


def _best(gains: Floats, allowed: NDArray[np.bool_], clarity: Floats, distance: Floats, left: Floats) -> int:
    """The allowed face with the largest gain.

    ``gains`` are from earlier rounds and can only shrink, so the first whose updated gain is still the largest is the
    best (lazy evaluation; Minoux, 1978).
    """
    updated = np.zeros_like(allowed)
    while True:
        best = int(np.argmax(np.where(allowed, gains, -1)))
        if updated[best]:
            return best
        gains[best] = clarity[best] * np.maximum(left - distance[best], 0).sum()
        updated[best] = True


def _distances(points: Floats, others: Floats) -> Floats:
    """Euclidean distances, N×M, between ``points`` (N×F) and ``others`` (M×F)."""
    squares = [np.sum(one * one, axis=1) for one in (points, others)]
    return np.asarray(np.sqrt(np.maximum(squares[0][:, None] + squares[1] - 2 * points @ others.T, 0)), np.float32)
