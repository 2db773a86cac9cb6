"""What the two sides' times and answers say: pure functions over numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

PIXELS, COSINE = 0.5, 0.999  # results further apart than this are not the same work
RESAMPLES = 2000


@dataclass(frozen=True)
class Times:
    """Milliseconds of one call."""

    median: float
    p95: float


@dataclass(frozen=True)
class Ratio:
    """How many times as long the peer takes, of runs that followed each other. ``low`` to ``high`` is the 95 % interval
    of the median by the percentile bootstrap (Efron, 1979), ``quartiles`` the middle half of the single pairs."""

    median: float
    low: float
    high: float
    quartiles: tuple[float, float]


@dataclass(frozen=True)
class Agreement:
    """``pixels``: between the worst corners of two boxes of one face. ``same_crop``: lowest cosine of the embeddings of
    one and the same crop. ``own_crop``: of whole pipelines, each with the crop that it cuts itself. None without faces.
    """

    ours: int
    theirs: int
    pixels: float | None
    same_crop: float | None
    own_crop: float | None

    @property
    def problem(self) -> str:
        """Why the times cannot be compared; empty where they can."""
        if self.ours != self.theirs:
            return f"{self.ours} against {self.theirs} faces"
        if self.pixels is not None and not self.pixels <= PIXELS:
            return f"boxes {self.pixels:.2f} px apart"
        if self.same_crop is not None and not self.same_crop >= COSINE:
            return f"cosine {self.same_crop:.4f}"
        return ""


def times(seconds: Sequence[float]) -> Times:
    median, p95 = np.percentile(np.asarray(seconds) * 1e3, (50, 95))
    return Times(round(float(median), 3), round(float(p95), 3))


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Of pairs of seconds, in the order they were taken."""
    pairs = np.asarray(theirs) / np.maximum(np.asarray(ours), 1e-9)
    drawn = np.random.default_rng(0).integers(0, len(pairs), (RESAMPLES, len(pairs)))
    low, high = np.percentile(np.median(pairs[drawn], axis=1), (2.5, 97.5))
    first, third = np.percentile(pairs, (25, 75))
    return Ratio(
        *(round(float(value), 2) for value in (np.median(pairs), low, high)),
        (round(float(first), 2), round(float(third), 2)),
    )


def agreement(ours: Mapping[str, Any], theirs: Mapping[str, Any], same_crop: float | None) -> Agreement:
    """Of two answers (boxes, embeddings), whose faces may be in different order."""
    counts = len(ours["boxes"]), len(theirs["boxes"])
    if counts[0] != counts[1] or not counts[0]:
        return Agreement(*counts, None, None, None)
    boxes = np.asarray(ours["boxes"]), np.asarray(theirs["boxes"])
    apart = np.abs(boxes[0][:, None] - boxes[1]).max(axis=-1)
    partner = apart.argmin(axis=1)
    if len(set(partner.tolist())) < len(partner):  # two of ours are nearest to one of theirs
        return Agreement(*counts, float("inf"), same_crop, None)
    vectors = np.asarray(ours["embeddings"]), np.asarray(theirs["embeddings"])[partner]
    own = float((vectors[0] * vectors[1]).sum(axis=1).min())
    return Agreement(*counts, round(float(apart.min(axis=1).max()), 4), same_crop, round(own, 5))


def lowest_cosine(ours: Sequence[Any], theirs: Sequence[Any]) -> float | None:
    """Of unit vectors N×D, row by row; None where there is none."""
    if not len(ours):
        return None
    return round(float((np.asarray(ours) * np.asarray(theirs)).sum(axis=1).min()), 6)
