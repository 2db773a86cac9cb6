"""Which few faces stand for all: a space in which different looks lie far apart, and a greedy cover of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from .appearance_stats import AppearanceStats

FAR = 3.0  # robust standard deviations (1.4826 times the median deviation) beyond which everything is equally far
PARTS = (slice(0, 3), slice(3, 6), slice(6, 7))  # of a Look: pose, light, skin tone
STAND_INS = 1024  # faces that the cover is measured on, where there are more: memory stays linear in their number

# Under the 0.41 at which buffalo_l accepts one impostor in a million (InsightFace's MR-ALL protocol): here it is better
# to take two people for one than one for two.
SAME_PERSON = 0.35
FEW = 2  # faces of one person, as long as there are others to take
POOR = 0.75  # a face whose clarity is below this share of the median waits until all better ones are taken

# Why a face was left out.
UNCLEAR, PERSON, ALIKE = "less clear than the others", "enough of this person", "like faces already taken"

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Cover:
    """``order``: indices of the faces taken, the most telling first. ``surplus``: of every other face its index, the
    reason, and the index of the taken face that is nearest (the same person's, where that is the reason)."""

    order: list[int]
    surplus: list[tuple[int, str, int]]


def appearance_space(looks: Sequence[AppearanceStats], embeddings: Floats | None) -> Floats:
    """N×F float32: a point for each face, so that Euclidean distance is how different two faces are.

    Pose, light, skin tone and, where there is one, the embedding (N×D) are scaled to a mean squared distance of 1
    between two faces, so that each part has the same say. What lies far out counts as ``FAR``: astray landmarks or a
    burnt-out face would otherwise set the scale for everyone, or pass for the most interesting of all.
    """
    values = np.array([astuple(look) for look in looks], np.float64)
    values -= np.median(values, axis=0)
    deviation = 1.4826 * np.median(np.abs(values), axis=0)
    deviation = np.where(deviation > 0, deviation, values.std(axis=0))
    values = np.clip(np.divide(values, deviation, out=np.zeros_like(values), where=deviation > 0), -FAR, FAR)
    parts = [values[:, part] for part in PARTS] + ([embeddings] if embeddings is not None else [])
    scales = [float(np.sqrt(2 * part.var(axis=0).sum())) for part in parts]
    scaled = [part / scale for part, scale in zip(parts, scales, strict=True) if scale > 0]
    return np.hstack([*scaled, np.zeros((len(values), 1))]).astype(np.float32)  # where all are alike, no part is left


def select_cover(looks: Sequence[AppearanceStats], clarity: Floats, embeddings: Floats | None, count: int) -> Cover:
    """Choose ``count`` of N ≥ 1 faces by their ``looks``, ``clarity`` (N, 0 to 1) and ``embeddings`` (N×D, unit
    length); of equals the earlier.

    Facility location: the sum of distances from every face to the nearest chosen one is made small, greedily, which
    reaches at least 63 % of the best gain possible (Nemhauser, Wolsey, Fisher, Mathematical Programming 14, 1978). A
    gain counts in proportion to the clarity of the face that brings it. K-center (Gonzalez, Theoretical Computer
    Science 38, 1985; arXiv 1708.00489) makes the *largest* distance small instead and so collects the oddest faces
    first, bad detections among them, while ranges and means, which is all that calibration takes from the faces, are
    those of a crowd. (Measured, neither beats random faces; docs/calibration.md.) Every beginning of the order is a
    cover by the same rule: tuning looks at the first few faces only.

    Faces with a cosine of ``SAME_PERSON`` or more to ``FEW`` chosen ones are passed over while there are others, and
    ``POOR`` ones after that. (Faces are compared to the chosen ones only: groups by single link would, among thousands,
    chain many people into one.)
    """
    points = appearance_space(looks, embeddings)
    fit = clarity >= POOR * np.median(clarity)
    distance = _distances(points, points[fit][:: -(-int(fit.sum()) // STAND_INS)])
    left = np.full(distance.shape[1], distance.max(), np.float32)  # from each stand-in to the nearest chosen face
    gains = clarity * (left - distance).sum(axis=1)
    same, cap = np.zeros(len(points), int), FEW
    free = np.ones(len(points), np.bool_)
    order: list[int] = []
    while len(order) < min(count, len(points)):
        allowed = free & fit & (same < cap)
        if allowed.any():
            order.append(best := _best(gains, allowed, clarity, distance, left))
            free[best] = False
            left = np.minimum(left, distance[best])
            if embeddings is not None:
                same += embeddings @ embeddings[best] >= SAME_PERSON
        elif (free & fit).any():
            cap += 1
        else:
            fit[:] = True
    nearest = np.argmin(_distances(points, points[order]), axis=1)
    surplus = []
    for index in np.flatnonzero(free):
        reason, like = ALIKE if fit[index] else UNCLEAR, order[nearest[index]]
        if fit[index] and embeddings is not None and same[index] >= cap:
            reason, like = PERSON, order[int(np.argmax(embeddings[order] @ embeddings[index]))]
        surplus.append((int(index), reason, like))
    return Cover(order, surplus)


def _best(gains: Floats, allowed: NDArray[np.bool_], clarity: Floats, distance: Floats, left: Floats) -> int:
    """The allowed face that brings the most. ``gains`` are of earlier rounds: they only shrink, so one that still leads
    when it is up to date needs no comparison with the rest (Minoux, 1978)."""
    fresh = np.zeros_like(allowed)
    while True:
        best = int(np.argmax(np.where(allowed, gains, -1)))
        if fresh[best]:
            return best
        gains[best] = clarity[best] * np.maximum(left - distance[best], 0).sum()
        fresh[best] = True


def _distances(points: Floats, others: Floats) -> Floats:
    """N×M Euclidean distances."""
    squares = [np.sum(one * one, axis=1) for one in (points, others)]
    return np.asarray(np.sqrt(np.maximum(squares[0][:, None] + squares[1] - 2 * points @ others.T, 0)), np.float32)
