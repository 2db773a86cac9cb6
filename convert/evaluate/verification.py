"""How well a model tells people apart: figures from the cosines of labeled pairs. Pure functions.

A pair is accepted where its cosine is at least the threshold. FAR is the share of different-person pairs that are, TAR
the share of same-person pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
Z95 = 1.959964  # of the normal distribution, 2.5 % on either side
# Doddington's rule of 30 (Speech Communication 31, 2000): with 30 errors seen, the true rate lies within 30 % of the
# observed one with a confidence of 90 %.
ERRORS_TO_BE_SURE = 30
FEW_SAME, FEW_PEOPLE = 30, 10  # below these a few photos decide the figures
FOLDS = 10
RESAMPLES = (200, 1000)  # at least, and at most; between them as many as take seconds
RESAMPLED_PAIRS = 50_000_000

Floats = NDArray[Any]
Bools = NDArray[np.bool_]
Indices = NDArray[Any]


@dataclass(frozen=True)
class Proportion:
    """``count`` of ``total``, with Wilson's 95 % interval from ``low`` to ``high``."""

    count: float
    total: float
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """A figure with its bootstrap 95 % interval; NaN where no resample had a value."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Verification:
    """One model on labeled pairs: accuracy at its best threshold, and TAR by FAR where there are enough pairs."""

    best_threshold: float
    best_accuracy: float
    tar: dict[str, float]


@dataclass(frozen=True)
class TenFold:
    """``mean`` and ``deviation`` over the folds; ``pooled`` counts all pairs, each in the fold where it was tested."""

    mean: float
    deviation: float
    pooled: Proportion


@dataclass(frozen=True)
class RankedPairs:
    """P labeled pairs by rising cosine.

    order       P ints: their places in the order given
    same        P bool, by rising cosine
    values      C − 1 float64: their cosines, each once
    cuts        C ints: how many pairs lie below each threshold; pairs of equal cosine are never parted
    thresholds  C float64: half-way between two neighbors, the first below and the last above all pairs
    """

    order: Indices
    same: Bools
    values: Floats
    cuts: Indices
    thresholds: Floats

    def at(self, threshold: float) -> int:
        """The place among ``thresholds`` that accepts the pairs that ``threshold`` accepts."""
        return int(np.searchsorted(self.values, threshold))

    def counts(self, weights: Floats | None = None) -> AcceptCounts:
        """What each threshold accepts, every pair counted ``weights`` times (P, in the order given)."""
        one = np.ones(len(self.same)) if weights is None else weights[self.order]
        below = [np.concatenate([[0.0], np.cumsum(one * which)]) for which in (self.same, ~self.same)]
        same, different = (total[-1] - total[self.cuts] for total in below)
        return AcceptCounts(self.thresholds, same, different)


@dataclass(frozen=True)
class AcceptCounts:
    """Accepted same-person and different-person pairs at each threshold (C float64 each); all at the first, none at the
    last."""

    thresholds: Floats
    same: Floats
    different: Floats

    def most_accurate(self) -> int:
        return int(np.argmax(self.same - self.different))

    def at_far(self, far: float) -> int:
        """The lowest threshold that accepts no more than ``far`` of the different-person pairs."""
        return int(np.argmax(self.different <= far * self.different[0] + 1e-9))

    def eer(self) -> float:
        """The error rate at which as many of one person are rejected as of two are accepted, on the line between the
        two thresholds around it."""
        far, frr = self.different / self.different[0], 1 - self.same / self.same[0]
        after = int(np.argmax(frr >= far))
        gap, over = far[after - 1] - frr[after - 1], frr[after] - far[after]
        part = gap / (gap + over)
        return float(far[after - 1] * (1 - part) + far[after] * part)


def rank_pairs(cosines: Floats, same: Bools) -> RankedPairs:
    """``cosines`` and ``same``: P each, P at least 1."""
    order = np.argsort(cosines, kind="stable")
    values = np.asarray(cosines, np.float64)[order]
    cuts = np.concatenate([[0], np.flatnonzero(np.diff(values)) + 1, [len(values)]])
    values = values[cuts[:-1]]
    thresholds = np.concatenate([[values[0] - 1e-3], (values[:-1] + values[1:]) / 2, [values[-1] + 1e-3]])
    return RankedPairs(order, same[order], values, cuts, thresholds)


def verify_pairs(cosines: Floats, same: Bools) -> Verification:
    """Accuracy and TAR@FAR over labeled pairs; the threshold lies half-way between the two cosines around it.

    A FAR is reported where there are at least 1/FAR different-person pairs: with fewer, its threshold is a guess.
    """
    counts = rank_pairs(cosines, same).counts()
    best = counts.most_accurate()
    tar = {f"{far:g}": share.value for far, share in tar_at_fars(counts).items()} if counts.same[0] else {}
    return Verification(float(counts.thresholds[best]), accuracy_at(counts, best).value, tar)


def accuracy_at(counts: AcceptCounts, at: int) -> Proportion:
    right = counts.same[at] + counts.different[0] - counts.different[at]
    return proportion(right, counts.same[0] + counts.different[0])


def tar_at_fars(counts: AcceptCounts) -> dict[float, Proportion]:
    """TAR at those of ``FARS`` for which there are enough different-person pairs."""
    known = [far for far in FARS if enough_pairs(far, counts.different[0])]
    return {far: proportion(counts.same[counts.at_far(far)], counts.same[0]) for far in known}


def enough_pairs(far: float, different: float) -> bool:
    """Whether a threshold for ``far`` can be read off so many pairs: one of them may pass."""
    return far * different >= 1 - 1e-9


def proportion(count: float, total: float) -> Proportion:
    """``count`` of ``total`` (at least 1), with the score interval of E. B. Wilson ("Probable inference, the law of
    succession, and statistical inference", J. Am. Stat. Assoc. 22, 1927), which also holds for 0 and for all."""
    value, spread = count / total, Z95**2 / total
    middle = (value + spread / 2) / (1 + spread)
    reach = Z95 / (1 + spread) * math.sqrt(value * (1 - value) / total + spread / (4 * total))
    return Proportion(float(count), float(total), float(value), max(0.0, middle - reach), min(1.0, middle + reach))


def ten_fold(cosines: Floats, same: Bools) -> TenFold:
    """Accuracy on each tenth of the pairs, in the order given, at the best threshold of the other nine.

    The protocol of Labeled Faces in the Wild as InsightFace's recognition/arcface_torch/eval/verification.py computes
    it, so that its published figures can be compared: folds unshuffled, thresholds every 0.01 of the squared distance
    2 − 2·cosine from 0 to 4, the smallest distance where several are best. P is at least 10.
    """
    grid = 1 - np.arange(0, 4, 0.01) / 2
    folds = np.zeros(len(same), int)
    for number, places in enumerate(np.array_split(np.arange(len(same)), FOLDS)):
        folds[places] = number
    # right[f, t]: pairs of fold f that threshold t decides rightly
    right = np.zeros((FOLDS, len(grid)))
    for number in range(FOLDS):
        inside = folds == number
        for label in (True, False):
            values = np.sort(cosines[inside & (same == label)])
            accepted = len(values) - np.searchsorted(values, grid, side="right")
            right[number] += accepted if label else len(values) - accepted
    best = np.argmax(right.sum(axis=0) - right, axis=1)
    tested = right[np.arange(FOLDS), best]
    each = tested / np.bincount(folds, minlength=FOLDS)
    return TenFold(float(each.mean()), float(each.std()), proportion(float(tested.sum()), len(same)))


def resample_people(
    models: Sequence[RankedPairs],
    first: Indices,
    second: Indices,
    far: float,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Floats:
    """Bootstrap: R×M×3, for M ``models`` on the same pairs their threshold at ``far``, their best threshold and their
    EER, each time on other people.

    ``first`` and ``second`` (P each) say who the faces of a pair show, as small integers. People are drawn with
    replacement, and a pair counts as often as both of its people were drawn (one of a single person as often as they
    were): pairs that share a face are not independent, which drawing pairs would pretend (Bolle, Ratha, Pankanti,
    "Error analysis of pattern recognition systems: the subsets bootstrap", CVIU 93, 2004). The seed is fixed. A draw
    without both kinds of pairs is NaN.
    """
    people = int(max(first.max(), second.max())) + 1
    low, high = RESAMPLES
    runs = max(low, min(high, RESAMPLED_PAIRS // len(first)))
    random = np.random.default_rng(0)
    found = np.full((runs, len(models), 3), np.nan)
    for run in range(runs):
        progress(run, runs)
        times = np.bincount(random.integers(people, size=people), minlength=people).astype(np.float64)
        weights = np.where(first == second, times[first], times[first] * times[second])
        for index, model in enumerate(models):
            counts = model.counts(weights)
            if counts.same[0] and counts.different[0]:
                at, best = counts.at_far(far), counts.most_accurate()
                found[run, index] = counts.thresholds[at], counts.thresholds[best], counts.eer()
    return found


def bootstrap_interval(value: float, resampled: Floats) -> Estimate:
    """``value`` with the 2.5th and 97.5th percentile of what resampling gave."""
    known = resampled[~np.isnan(resampled)]
    low, high = np.percentile(known, [2.5, 97.5]) if len(known) else (np.nan, np.nan)
    return Estimate(float(value), float(low), float(high))
