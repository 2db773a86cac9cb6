"""Statistics of `make bench`: how the times of the two sides compare, and whether their results agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# Limits of agreement: if results differ more, the two sides did not do the same work. A box may differ by a pixel of
# the detector's input, or by this share of the face's size.
SHARE, COSINE = 0.005, 0.999
RESAMPLES = 2000


@dataclass(frozen=True)
class Times:
    """Milliseconds of one call."""

    median: float
    p95: float


@dataclass(frozen=True)
class Ratio:
    """How many times as long insightface takes, over pairs of runs that followed each other.

    ``low`` and ``high`` bound the 95 % interval of the median by the percentile bootstrap (Efron, 1979).
    ``quartiles`` bound the middle half of the pairs.
    """

    median: float
    low: float
    high: float
    quartiles: tuple[float, float]


@dataclass(frozen=True)
class Agreement:
    """How far the results of the two sides agree.

    ours, theirs  number of faces
    pixels        largest difference between the coordinates of two boxes of one face, in pixels of the frame
    same_crop     lowest cosine between embeddings of the same crop
    own_crop      lowest cosine when each side cuts its own crop

    within        whether no box differs by more than it may

    ``pixels`` and the cosines are None without faces.
    """

    ours: int
    theirs: int
    pixels: float | None
    same_crop: float | None
    own_crop: float | None
    within: bool = True

    @property
    def problem(self) -> str:
        """Why the times cannot be compared; empty if they can."""
        if self.ours != self.theirs:
            return f"{self.ours} and {self.theirs} faces"
        if not self.within:
            return f"boxes differ by {self.pixels:.2f} px"
        if self.same_crop is not None and not self.same_crop >= COSINE:
            return f"cosine {self.same_crop:.4f}"
        return ""


def summarize_times(seconds: Sequence[float]) -> Times:
    median, p95 = np.percentile(np.asarray(seconds) * 1e3, (50, 95))
    return Times(round(float(median), 3), round(float(p95), 3))


def compare_times(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Compare seconds of runs in the order in which they were measured."""
    pairs = np.asarray(theirs) / np.maximum(np.asarray(ours), 1e-9)
    resamples = np.random.default_rng(0).integers(0, len(pairs), (RESAMPLES, len(pairs)))
    low, high = np.percentile(np.median(pairs[resamples], axis=1), (2.5, 97.5))
    first, third = np.percentile(pairs, (25, 75))
    return Ratio(
        *(round(float(value), 2) for value in (np.median(pairs), low, high)),
        (round(float(first), 2), round(float(third), 2)),
    )


def compare_results(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], same_crop: float | None, pixel: float = 1.0
) -> Agreement:
    """Compare boxes and embeddings of two sides, which may list the faces in different order. ``pixel``: how many
    pixels of the frame are one pixel of the detector's input."""
    counts = len(ours["boxes"]), len(theirs["boxes"])
    if counts[0] != counts[1] or not counts[0]:
        return Agreement(*counts, None, None, None)
    boxes = np.asarray(ours["boxes"]), np.asarray(theirs["boxes"])
    distances = np.abs(boxes[0][:, None] - boxes[1]).max(axis=-1)
    nearest = distances.argmin(axis=1)
    if len(set(nearest.tolist())) < len(nearest):  # one of their faces is the nearest to two of ours
        return Agreement(*counts, float("inf"), same_crop, None, within=False)
    embeddings = np.asarray(ours["embeddings"]), np.asarray(theirs["embeddings"])[nearest]
    own = float((embeddings[0] * embeddings[1]).sum(axis=1).min())
    apart, within = float(distances.min(axis=1).max()), are_close(boxes[0], boxes[1][nearest], pixel)
    return Agreement(*counts, round(apart, 4), same_crop, round(own, 5), within)


def are_close(ours: np.ndarray, theirs: np.ndarray, pixel: float) -> bool:
    """Whether the boxes of the same faces, N×4, are as close as they must be. ``pixel`` as in ``compare_results``."""
    sizes = np.sqrt(np.prod(ours[:, 2:] - ours[:, :2], axis=1))
    return bool((np.abs(ours - theirs).max(axis=1) <= np.maximum(pixel, SHARE * sizes)).all())


def lowest_cosine(ours: Sequence[Any], theirs: Sequence[Any]) -> float | None:
    """Lowest cosine of the rows of two N×D matrices of unit vectors; None if N is 0."""
    if not len(ours):
        return None
    return round(float((np.asarray(ours) * np.asarray(theirs)).sum(axis=1).min()), 6)
