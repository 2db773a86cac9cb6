"""Confidence intervals of verification figures, from a bootstrap over people. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .verification import AcceptCounts, Proportion, RankedPairs, proportion

RESAMPLES = (200, 1000)  # minimum and maximum number; in between, as many as take seconds
RESAMPLED_PAIRS = 50_000_000  # pairs in all resamples together

Floats = NDArray[Any]
Indices = NDArray[Any]
Figure = Callable[[AcceptCounts], float]


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval; the limits are NaN if no resample has a value."""

    value: float
    low: float
    high: float


def resample_people(
    models: Sequence[RankedPairs],
    first: Indices,
    second: Indices,
    figures: Sequence[Figure],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Floats:
    """Bootstrap over people: R×M×F, for R resamples, M ``models`` and F ``figures``. All models share the resamples,
    so that figures can be subtracted from each other (a paired bootstrap).

    ``first`` and ``second`` (P small integers each) say which person the faces of a pair show. People are drawn with
    replacement, and a pair counts as many times as both of its people were drawn (a pair of one person as many times as
    that person was drawn). Drawing pairs would be wrong: pairs that share a face are not independent (Bolle, Ratha,
    Pankanti, "Error analysis of pattern recognition systems: the subsets bootstrap", CVIU 93, 2004). The seed is fixed.
    A resample without both kinds of pairs is NaN.
    """
    people = int(max(first.max(), second.max())) + 1
    low, high = RESAMPLES
    runs = max(low, min(high, RESAMPLED_PAIRS // len(first)))
    random = np.random.default_rng(0)
    found = np.full((runs, len(models), len(figures)), np.nan)
    for run in range(runs):
        progress(run, runs)
        times = np.bincount(random.integers(people, size=people), minlength=people).astype(np.float64)
        weights = np.where(first == second, times[first], times[first] * times[second])
        for index, model in enumerate(models):
            counts = model.counts(weights)
            if counts.same[0] and counts.different[0]:
                found[run, index] = [figure(counts) for figure in figures]
    return found


def bootstrap_interval(value: float, resampled: Floats) -> Estimate:
    """``value`` with the 2.5th and the 97.5th percentile of the resampled values."""
    known = resampled[~np.isnan(resampled)]
    low, high = np.percentile(known, [2.5, 97.5]) if len(known) else (np.nan, np.nan)
    return Estimate(float(value), float(low), float(high))


def widen(share: Proportion, resampled: Floats) -> Proportion:
    """``share`` with an interval that holds both Wilson's, which it has, and the bootstrap's.

    Each is too narrow where the other is not. Wilson's takes pairs for independent, and the threshold for known.
    Without a single error, no resample has one either, and the bootstrap's interval has no width: 0 errors in n pairs
    do not show that errors never occur, but only that they are rarer than about 3/n (the rule of three; Hanley,
    Lippman-Hand, "If nothing goes wrong, is everything all right?", JAMA 249, 1983; Wilson's gives 3.8/n).
    """
    drawn = bootstrap_interval(share.value, resampled)
    return replace(share, low=float(np.fmin(share.low, drawn.low)), high=float(np.fmax(share.high, drawn.high)))


def equal_error_rate(counts: AcceptCounts, resampled: Floats) -> Estimate:
    """The equal error rate, with the interval of ``widen``. For Wilson's, it is a share of the kind of pairs (of one
    person or of two) of which there are fewer, because these say less about it."""
    rate, pairs = counts.eer(), min(counts.same[0], counts.different[0])
    share = widen(proportion(rate * pairs, pairs), resampled)
    return Estimate(rate, share.low, share.high)
