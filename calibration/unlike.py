"""Which faces have a pose, light or sharpness that the faces of a calibration set do not have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .collect import CandidateFace

# A face is new if it is further from the nearest known face than this percentage of the known faces are from the
# nearest other one. The distance to the nearest neighbor is a usual measure of novelty (Ramaswamy et al., "Efficient
# Algorithms for Mining Outliers from Large Data Sets", SIGMOD 2000).
USUAL = 90
# Pose, light and sharpness have equal weight: three, three and one value.
WEIGHTS = np.sqrt([1 / 3] * 6 + [1])
BLOCK = 1024  # rows of the matrix of all distances that are in memory at the same time

Floats = NDArray[np.float64]


def has_new_appearance(faces: Sequence[CandidateFace], known: Sequence[CandidateFace]) -> NDArray[np.bool_]:
    """For each of ``faces``, whether its appearance is new to ``known``; never, if there are fewer than two of these.

    Appearances are compared by pose, light and sharpness, in robust standard deviations of ``known``. Skin tone is not
    compared: in a photo, it can hardly be told from the light.
    """
    if len(faces) == 0 or len(known) < 2:
        return np.zeros(len(faces), np.bool_)
    points, others = _appearances(faces), _appearances(known)
    middle = np.median(others, axis=0)
    deviation = 1.4826 * np.median(np.abs(others - middle), axis=0)
    deviation = np.where(deviation > 0, deviation, others.std(axis=0))
    used = deviation > 0
    points, others = ((one[:, used] - middle[used]) / deviation[used] * WEIGHTS[used] for one in (points, others))
    return _nearest(points, others) > np.percentile(_nearest(others, others, other=True), USUAL)


def _appearances(faces: Sequence[CandidateFace]) -> Floats:
    """N×7: yaw, pitch, roll; light, contrast, side; the logarithm of the sharpness."""
    rows = []
    for face in faces:
        seen = face.appearance
        sharpness = np.log(max(face.quality.sharpness, 1e-6))
        rows.append((seen.yaw, seen.pitch, seen.roll, seen.light, seen.contrast, seen.side, sharpness))
    return np.array(rows, np.float64)


def _nearest(points: Floats, others: Floats, *, other: bool = False) -> Floats:
    """For each of the N×F ``points``, the distance to the nearest of the M×F ``others``. ``other``: both are the same
    points, and a point is not its own neighbor."""
    squares = np.sum(others * others, axis=1)
    nearest = np.zeros(len(points))
    for start in range(0, len(points), BLOCK):
        block = points[start : start + BLOCK]
        distances = np.sum(block * block, axis=1)[:, None] + squares - 2 * block @ others.T
        if other:
            distances[np.arange(len(block)), np.arange(start, start + len(block))] = np.inf
        nearest[start : start + BLOCK] = distances.min(axis=1)
    return np.asarray(np.sqrt(np.maximum(nearest, 0)), np.float64)
