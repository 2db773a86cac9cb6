"""Measures how well a model tells people apart, from the cosines of labeled pairs. Pure functions.

A pair is accepted if its cosine is at least the threshold. FAR is the share of accepted pairs among the pairs of
different people, TAR the share among the pairs of one person.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
Z95 = 1.959964  # quantile of the normal distribution for 2.5 % on either side
# Doddington's rule of 30 (Speech Communication 31, 2000): with 30 observed errors, the true rate is within 30 % of the
# observed rate with a confidence of 90 %.
ERRORS_TO_BE_SURE = 30
FEW_SAME, FEW_PEOPLE = 30, 10  # with fewer pairs of one person, or fewer people, a few photos decide the figures
FOLDS = 10

Floats = NDArray[Any]
Bools = NDArray[np.bool_]
Indices = NDArray[Any]


@dataclass(frozen=True)
class Proportion:
    """``count`` of ``total``: the share ``value`` with Wilson's 95 % interval, ``low`` to ``high``."""

    count: float
    total: float
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Verification:
    """One model on labeled pairs: its best threshold, the accuracy there, and TAR by FAR if there are enough pairs."""

    best_threshold: float
    best_accuracy: float
    tar: dict[str, float]


@dataclass(frozen=True)
class TenFold:
    """Accuracy in 10 folds: mean and standard deviation over the folds; ``pooled`` counts the pairs of all folds."""

    mean: float
    deviation: float
    pooled: Proportion


@dataclass(frozen=True)
class RankedPairs:
    """P labeled pairs, sorted by cosine.

    order       P ints: their indices in the original order
    same        P bool: one person
    values      C − 1 float64: the distinct cosines, rising
    cuts        C ints: number of pairs below each threshold
    thresholds  C float64: halfway between neighboring cosines; the first is below and the last above all pairs
    """

    order: Indices
    same: Bools
    values: Floats
    cuts: Indices
    thresholds: Floats

    def at(self, threshold: float) -> int:
        """The index into ``thresholds`` that accepts the same pairs as ``threshold``."""
        return int(np.searchsorted(self.values, threshold))

    def counts(self, weights: Floats | None = None) -> AcceptCounts:
        """The accepted pairs at each threshold. Each pair counts ``weights`` times (P, in the original order)."""
        one = np.ones(len(self.same)) if weights is None else weights[self.order]
        below = [np.concatenate([[0.0], np.cumsum(one * which)]) for which in (self.same, ~self.same)]
        same, different = (total[-1] - total[self.cuts] for total in below)
        return AcceptCounts(self.thresholds, same, different)


@dataclass(frozen=True)
class AcceptCounts:
    """The number of accepted pairs of one person and of different people at each threshold (C float64 each): all at the
    first threshold, and none at the last."""

    thresholds: Floats
    same: Floats
    different: Floats

    def most_accurate(self) -> int:
        """The index of the threshold with the highest accuracy."""
        return int(np.argmax(self.same - self.different))

    def at_far(self, far: float) -> int:
        """The index of the lowest threshold whose FAR is at most ``far``."""
        return int(np.argmax(self.different <= far * self.different[0] + 1e-9))

    def tar_at_far(self, far: float) -> float:
        """TAR at the lowest threshold whose FAR is at most ``far``."""
        return float(self.same[self.at_far(far)] / self.same[0])

    def eer(self) -> float:
        """The equal error rate: FAR and 1 − TAR are equal, interpolated between the two nearest thresholds."""
        far, frr = self.different / self.different[0], 1 - self.same / self.same[0]
        after = int(np.argmax(frr >= far))
        gap, over = far[after - 1] - frr[after - 1], frr[after] - far[after]
        part = gap / (gap + over)
        return float(far[after - 1] * (1 - part) + far[after] * part)


def rank_pairs(cosines: Floats, same: Bools) -> RankedPairs:
    """Sort P ≥ 1 labeled pairs by their cosines. ``cosines`` and ``same`` have P elements each."""
    order = np.argsort(cosines, kind="stable")
    values = np.asarray(cosines, np.float64)[order]
    cuts = np.concatenate([[0], np.flatnonzero(np.diff(values)) + 1, [len(values)]])
    values = values[cuts[:-1]]
    thresholds = np.concatenate([[values[0] - 1e-3], (values[:-1] + values[1:]) / 2, [values[-1] + 1e-3]])
    return RankedPairs(order, same[order], values, cuts, thresholds)


def verify_pairs(cosines: Floats, same: Bools) -> Verification:
    """Accuracy and TAR@FAR over labeled pairs; the threshold is halfway between the two cosines around it.

    A FAR is reported only if there are at least 1/FAR pairs of different people: with fewer, its threshold is a guess.
    """
    counts = rank_pairs(cosines, same).counts()
    best = counts.most_accurate()
    tar = {f"{far:g}": share.value for far, share in tar_at_fars(counts).items()} if counts.same[0] else {}
    return Verification(float(counts.thresholds[best]), accuracy_at(counts, best).value, tar)


def accuracy_at(counts: AcceptCounts, at: int) -> Proportion:
    """The share of correct decisions at the threshold with index ``at``."""
    right = counts.same[at] + counts.different[0] - counts.different[at]
    return proportion(right, counts.same[0] + counts.different[0])


def tar_at_fars(counts: AcceptCounts) -> dict[float, Proportion]:
    """TAR at each of ``FARS`` for which there are enough pairs of different people."""
    known = [far for far in FARS if enough_pairs(far, counts.different[0])]
    return {far: proportion(counts.same[counts.at_far(far)], counts.same[0]) for far in known}


def enough_pairs(far: float, different: float) -> bool:
    """Whether ``different`` pairs of different people are enough to find a threshold for ``far``: one pair may pass."""
    return far * different >= 1 - 1e-9


def proportion(count: float, total: float) -> Proportion:
    """``count`` of ``total`` (at least 1) with its 95 % interval.

    This is the score interval of E. B. Wilson ("Probable inference, the law of succession, and statistical inference",
    J. Am. Stat. Assoc. 22, 1927), which is also correct if ``count`` is 0 or ``total``.
    """
    value, spread = count / total, Z95**2 / total
    middle = (value + spread / 2) / (1 + spread)
    reach = Z95 / (1 + spread) * math.sqrt(value * (1 - value) / total + spread / (4 * total))
    return Proportion(float(count), float(total), float(value), max(0.0, middle - reach), min(1.0, middle + reach))


def ten_fold(cosines: Floats, same: Bools) -> TenFold:
    """Accuracy on each tenth of the P ≥ 10 pairs, in their order, at the best threshold of the other nine tenths.

    This is the protocol of Labeled Faces in the Wild, as InsightFace's recognition/arcface_torch/eval/verification.py
    computes it, so the result can be compared with published figures: folds are not shuffled, thresholds are every 0.01
    of the squared distance 2 − 2·cosine from 0 to 4, and the smallest distance wins if several are equally good.
    """
    grid = 1 - np.arange(0, 4, 0.01) / 2
    folds = np.zeros(len(same), int)
    for number, places in enumerate(np.array_split(np.arange(len(same)), FOLDS)):
        folds[places] = number
    # right[f, t]: pairs of fold f that threshold t decides correctly
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
