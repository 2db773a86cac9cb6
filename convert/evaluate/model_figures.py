"""The figures of one model in an evaluation: error rates, thresholds, the ROC, with intervals from resamples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bootstrap import Estimate, Figure, bootstrap_interval, equal_error_rate, widen
from .labeled_faces import LabeledFaces
from .verification import (
    FARS,
    FOLDS,
    AcceptCounts,
    Proportion,
    RankedPairs,
    TenFold,
    accuracy_at,
    proportion,
    tar_at_fars,
    ten_fold,
)

CURVE = 120  # points of the ROC
RESAMPLED = 4  # resampled figures before TAR at each of FARS

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class OperatingPoint:
    """FAR and TAR at a threshold."""

    threshold: Estimate
    far: Proportion
    tar: Proportion


@dataclass(frozen=True)
class ModelFigures:
    """The figures of one model.

    eer             equal error rate
    best_threshold  with the highest accuracy
    accuracy        at ``best_threshold``
    folds           accuracy in 10 folds; None with too few pairs
    tar             by FAR, if there are enough pairs
    chosen          at the lowest threshold with the requested FAR; with too few pairs, it accepts no pair of two people
    current         at the threshold in the manifest
    roc             (FAR, TAR), by rising FAR
    histograms      number of pairs in each bin of cosines: pairs of one person, pairs of two people
    """

    model: str
    eer: Estimate
    best_threshold: Estimate
    accuracy: Proportion
    folds: TenFold | None
    tar: dict[str, Proportion]
    chosen: OperatingPoint
    current: OperatingPoint
    roc: tuple[tuple[float, float], ...]
    histograms: tuple[tuple[int, ...], tuple[int, ...]]


def resampled_figures(far: float) -> list[Figure]:
    """The figures of each resample: threshold at ``far``, best threshold, equal error rate, TAR at ``far``, and TAR at
    each of ``FARS``."""
    return [
        lambda counts: float(counts.thresholds[counts.at_far(far)]),
        lambda counts: float(counts.thresholds[counts.most_accurate()]),
        AcceptCounts.eer,
        *(partial(AcceptCounts.tar_at_far, far=one) for one in (far, *FARS)),
    ]


def model_figures(
    name: str,
    ranked: RankedPairs,
    cosines: Floats,
    labeled: LabeledFaces,
    *,
    drawn: NDArray[Any],
    far: float,
    current: float,
    bins: NDArray[Any],
) -> ModelFigures:
    """The figures of the model ``name``, from its ``cosines`` of all pairs, which are also ``ranked``.

    drawn    resamples × ``resampled_figures``, of this model
    far      the requested FAR
    current  the threshold in the manifest
    bins     edges of the histograms
    """
    counts, same = ranked.counts(), labeled.same
    best = counts.most_accurate()
    at = counts.at_far(far)
    chosen = _operating(counts, at, bootstrap_interval(counts.thresholds[at], drawn[:, 0]))
    order = np.arange(len(same)) if labeled.ordered else np.random.default_rng(0).permutation(len(same))
    return ModelFigures(
        model=name,
        eer=equal_error_rate(counts, drawn[:, 2]),
        best_threshold=bootstrap_interval(counts.thresholds[best], drawn[:, 1]),
        accuracy=accuracy_at(counts, best),
        folds=ten_fold(cosines[order], same[order]) if len(same) >= FOLDS else None,
        tar={
            f"{one:g}": widen(value, drawn[:, RESAMPLED + FARS.index(one)])
            for one, value in tar_at_fars(counts).items()
        },
        chosen=replace(chosen, tar=widen(chosen.tar, drawn[:, 3])),
        current=_operating(counts, ranked.at(current), Estimate(current, current, current)),
        roc=_roc(counts),
        histograms=(_histogram(cosines[same], bins), _histogram(cosines[~same], bins)),
    )


def _histogram(values: Floats, bins: NDArray[Any]) -> tuple[int, ...]:
    return tuple(np.histogram(values, bins)[0].tolist())


def _operating(counts: AcceptCounts, at: int, threshold: Estimate) -> OperatingPoint:
    return OperatingPoint(
        threshold, proportion(counts.different[at], counts.different[0]), proportion(counts.same[at], counts.same[0])
    )


def _roc(counts: AcceptCounts) -> tuple[tuple[float, float], ...]:
    """Points at a FAR of 0, and from the FAR of one pair to 1, evenly spaced on a logarithmic axis."""
    places = [counts.at_far(far) for far in (0, *np.geomspace(1 / counts.different[0], 1, CURVE))]
    return tuple(
        (float(counts.different[at] / counts.different[0]), float(counts.same[at] / counts.same[0]))
        for at in dict.fromkeys(places)
    )
