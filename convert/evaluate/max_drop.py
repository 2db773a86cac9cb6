"""Decides by the user's own figure (--max-drop) whether a quantized recognizer is close enough to FP32.

Both models decide on the same labeled pairs, each at its own threshold. What is judged is the difference of their
figures with its interval from a paired bootstrap over people (``bootstrap.resample_people``): both models share each
resample, so that only the pairs count that quantization decides differently. A recipe is accepted if the upper limit of
the interval is within the bar. This is a test of non-inferiority (Blackwelder, "'Proving the null hypothesis' in
clinical trials", Controlled Clinical Trials 3, 1982): too few pairs cannot show that little is lost. NNCF's accuracy
control (``quantize_with_accuracy_control``, ``max_drop``) compares the two figures only. Pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rkface.calibration.choose import connected_components
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.text import show_beyond

from ..metric_bar import MetricBar
from ..recipe_search import Grade
from .bootstrap import Estimate, Figure, bootstrap_interval, resample_people
from .verification import (
    ERRORS_TO_BE_SURE,
    FEW_PEOPLE,
    AcceptCounts,
    accuracy_at,
    enough_pairs,
    rank_pairs,
)

WELL = 0.5  # of what is allowed: a recipe that loses at most this share clears the bar well

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class LabeledPairs:
    """P labeled pairs of N faces.

    first, second  P ints: indices of the faces
    same           P bool: labeled as one person
    people         N ints: faces that pairs of one person connect show the same person
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    same: NDArray[np.bool_]
    people: NDArray[np.int64]

    @classmethod
    def of(cls, labeled: Sequence[tuple[int, int, bool]], faces: int) -> LabeledPairs:
        """``labeled`` pairs of ``faces`` faces: (index, index, same person)."""
        first, second, same = np.array(labeled, np.int64).reshape(-1, 3).T
        joined = zip(first[same > 0].tolist(), second[same > 0].tolist(), strict=True)
        return cls(first, second, same > 0, np.array(connected_components(faces, joined), np.int64))

    @property
    def owners(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The person of each pair's first and second face, as small integers: P each."""
        both = np.concatenate([self.people[self.first], self.people[self.second]])
        first, second = np.split(np.unique(both, return_inverse=True)[1], 2)
        return first, second


@dataclass(frozen=True)
class MetricDrop:
    """How much worse one figure is after quantization.

    figure     as in --max-drop, such as ``tar@0.001``; ``title`` is for people
    reference  FP32's figure, 0 to 1
    quantized  the same of the quantized recognizer
    drop       by how many percentage points it is worse, with its interval; negative if it is better
    allowed    percentage points that it may be worse
    same       number of pairs of one person; ``different`` is that of two people, ``people`` that of people
    """

    figure: str
    title: str
    reference: float
    quantized: float
    drop: Estimate
    allowed: float
    same: int
    different: int
    people: int

    @property
    def met(self) -> bool:
        """Whether the bar is kept: also the upper limit of the interval is within it."""
        return self.drop.high <= self.allowed

    def __str__(self) -> str:
        return (
            f"{self.title} {self.reference:.2%} → {self.quantized:.2%}, {show_points(self.drop.value)} points worse "
            f"({show_points(self.drop.low)} to {show_points(self.drop.high)}; allowed: {self.allowed:g})"
        )


def measure_drops(
    reference: Floats, quantized: Floats, pairs: LabeledPairs, bars: Sequence[MetricBar]
) -> tuple[MetricDrop, ...]:
    """How much worse each figure of ``bars`` is with the ``quantized`` embeddings (N×D, unit length) than with those of
    FP32, the ``reference``."""
    ranked = [
        rank_pairs(np.einsum("nd,nd->n", one[pairs.first], one[pairs.second]), pairs.same)
        for one in (reference, quantized)
    ]
    figures = [_figure(bar) for bar in bars]
    drawn = 100 * resample_people(ranked, *pairs.owners, figures)
    same, people = int(pairs.same.sum()), len(np.unique(np.concatenate(pairs.owners)))
    found = []
    for index, (bar, figure) in enumerate(zip(bars, figures, strict=True)):
        before, after = (figure(one.counts()) for one in ranked)
        sign = -1 if bar.metric == "eer" else 1  # an error rate is worse when it is higher
        drop = bootstrap_interval(100 * sign * (before - after), sign * (drawn[:, 0, index] - drawn[:, 1, index]))
        found.append(
            MetricDrop(bar.figure, bar.title, before, after, drop, bar.allowed, same, len(pairs.same) - same, people)
        )
    return tuple(found)


def _figure(bar: MetricBar) -> Figure:
    if bar.metric == "eer":
        return AcceptCounts.eer
    if bar.metric == "accuracy":
        return lambda counts: accuracy_at(counts, counts.most_accurate()).value
    far = bar.far or 0.0
    return lambda counts: counts.tar_at_far(far)


def grade_drops(drops: Sequence[MetricDrop], cosines: Grade) -> Grade:
    """Grade by the figure that uses up most of what it may lose. ``cosines``: the grade by cosines, which decides
    between recipes that lose equally much."""
    used = max(drop.drop.high / drop.allowed for drop in drops)
    return Grade(
        all(drop.met for drop in drops),
        (-used, *cosines.rank),
        f"{'; '.join(map(str, drops))}; {cosines.summary}",
        cosines.accuracy,
        used <= WELL,
    )


def find_drop_fault(drops: Sequence[MetricDrop], kind: str, advice: str) -> str | None:
    """Why the recognizer should not be used; None if all bars are kept. ``kind``: "quantized" or "FP16". ``advice``:
    what to do about a drop that is certain."""
    lost = [drop for drop in drops if not drop.met]
    if not lost:
        return None
    certain = any(drop.drop.value > drop.allowed for drop in lost)
    other = ". Or use --recipe auto" if kind == "quantized" else ""
    return (
        f"the {kind} recognizer may lose more than --max-drop allows, on {lost[0].same:,} pairs of one person and "
        f"{lost[0].different:,} of two people: {'; '.join(map(_describe, lost))}. "
        + (advice if certain else f"More labeled photos narrow the interval{other}")
        + ", or allow more with --max-drop"
    )


def _describe(drop: MetricDrop) -> str:
    verb = "rises" if drop.quantized > drop.reference else "falls" if drop.quantized < drop.reference else "goes"
    return (
        f"{drop.title} {verb} from {drop.reference:.2%} to {drop.quantized:.2%}, which is "
        f"{show_points(drop.drop.value)} percentage points worse, and up to "
        f"{show_beyond(drop.drop.high, drop.allowed, 2)} by the 95 % interval (allowed: "
        f"{drop.allowed:g})"
    )


def show_points(value: float) -> str:
    """``value`` with two digits, and 0 without a sign."""
    return f"{round(value, 2) + 0.0:.2f}"


def require_enough_pairs(bars: Sequence[MetricBar], same: int, different: int, where: str, more: str) -> None:
    """Raise InputError if ``same`` pairs of one person and ``different`` pairs of two people are too few to judge
    ``bars``. ``where`` says whose pairs they are, ``more`` how to get more of them."""
    for bar in bars:
        if bar.far is not None and not enough_pairs(bar.far, different):
            raise InputError(
                f"--max-drop {bar}: a FAR of {bar.far:g} needs at least {math.ceil(1 / bar.far - 1e-9):,} pairs of "
                f"different people, but {where} {different:,}: {_advise_far(bar, different)}{more}"
            )
        counted, pairs = _deciding_pairs(bar, same, different)
        if pairs * bar.allowed < 100 * (1 - 1e-9):
            raise InputError(
                f"--max-drop {bar}: {where} {pairs:,} {counted}, and one of them is {100 / max(pairs, 1):.2f} "
                f"percentage points, more than the {bar.allowed:g} allowed: allow "
                f"{math.ceil(1e4 / max(pairs, 1)) / 100:g} or more, or use at least "
                f"{math.ceil(100 / bar.allowed - 1e-9):,} such pairs: {more}"
            )


def _advise_far(bar: MetricBar, different: int) -> str:
    lowest = 10.0 ** -math.floor(math.log10(different)) if different else 1.0
    return f"ask for tar@{lowest:g}={bar.allowed:g} instead, or " if lowest <= 0.1 else ""


def _deciding_pairs(bar: MetricBar, same: int, different: int) -> tuple[str, int]:
    """Of which kind of pairs the figure of ``bar`` is a share, and their number."""
    if bar.metric == "accuracy":
        return "pairs", same + different
    if bar.metric == "eer" and different < same:
        return "pairs of two people", different
    return "pairs of one person", same


def describe_doubts(bars: Sequence[MetricBar], pairs: LabeledPairs) -> Iterator[str]:
    """Remarks about pairs that are enough to judge ``bars``, but not to be sure."""
    different, people = int((~pairs.same).sum()), len(np.unique(np.concatenate(pairs.owners)))
    if people < FEW_PEOPLE:
        yield (
            f"--max-drop: {people} people are too few to represent others, so the intervals are too narrow: at least "
            f"{FEW_PEOPLE} are needed"
        )
    for bar in bars:
        if bar.far is not None and bar.far * different < ERRORS_TO_BE_SURE:
            yield (
                f"--max-drop {bar}: the FAR of {bar.far:g} is based on {int(bar.far * different + 1e-9)} of "
                f"{different:,} pairs of different people; {math.ceil(ERRORS_TO_BE_SURE / bar.far):,} pairs would "
                "determine it to within a third"
            )
