"""Evaluates on labeled faces how well a bundle's recognizer tells people apart, FP32 and quantized, and finds a
threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.core.progress import stage

from .bootstrap import Estimate, bootstrap_interval, resample_people
from .groups import GroupResult, evaluate_groups, group_notes
from .labeled_faces import LabeledFaces
from .model_figures import ModelFigures, model_figures, resampled_figures
from .verification import (
    ERRORS_TO_BE_SURE,
    FEW_PEOPLE,
    FEW_SAME,
    enough_pairs,
    rank_pairs,
)
from .worst_pairs import WorstPair, find_worst_pairs

BINS = 60  # of the histograms

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class EvaluationResult:
    """The result of an evaluation.

    bundle, digest   name of the bundle, and SHA-256 of its SHA256SUMS
    kind             of the labels: "people", "pairs" or "bin"
    people, photos   number of each; ``faceless``, ``unreadable`` and ``unclear`` photos have no face in the evaluation
    same, different  number of pairs of one person, and of two people
    far              the requested FAR
    models           FP32 first, then what the NPU computes
    bins             edges of the histograms
    shift            INT8's threshold minus FP32's at ``far``; None without INT8
    shift_best       the same for the thresholds with the highest accuracy
    changed          pairs that INT8 decides differently at the manifest's threshold
    few              what the photos have too little of, so that the threshold cannot be trusted
    notes            remarks for people
    groups           figures by group
    worst_pairs      those of one person first
    command          the command line
    """

    bundle: str
    digest: str
    synthetic: bool
    kind: str
    people: int
    photos: int
    faceless: int
    unreadable: int
    unclear: int
    faces: int
    same: int
    different: int
    far: float
    models: tuple[ModelFigures, ...]
    bins: tuple[float, ...]
    shift: Estimate | None
    shift_best: Estimate | None
    changed: int | None
    few: tuple[str, ...]
    notes: tuple[str, ...]
    groups: tuple[GroupResult, ...] = ()
    worst_pairs: tuple[WorstPair, ...] = ()
    command: str = ""

    @property
    def decisive(self) -> ModelFigures:
        """The figures that decide: those of the model that the board runs, or FP32's if only FP32 was evaluated."""
        return self.models[-1]

    def to_dict(self) -> dict[str, Any]:
        """For JSON, with None instead of NaN."""
        return dict(without_nan(asdict(self)))


@dataclass(frozen=True)
class EvaluationRequest:
    """What to evaluate: a bundle, the requested ``far``, and the manifest's ``current`` threshold."""

    bundle: str
    digest: str
    synthetic: bool
    far: float
    current: float


def evaluate_pairs(
    request: EvaluationRequest,
    labeled: LabeledFaces,
    cosines: dict[str, Floats],
    notes: Sequence[str] = (),
    groups: NDArray[np.str_] | None = None,
) -> EvaluationResult:
    """Compute all figures.

    cosines  of every pair, by name of the model: FP32 first, then what the NPU computes
    notes    remarks to add to the result
    groups   group of each face; None without groups
    """
    same, people = labeled.same, len(np.unique(labeled.people))
    different = int((~same).sum())
    ranked = {name: rank_pairs(values, same) for name, values in cosines.items()}
    with stage("resample people") as shown:
        owners = labeled.people[labeled.first], labeled.people[labeled.second]
        drawn = resample_people(list(ranked.values()), *owners, resampled_figures(request.far), shown.advance)
        shown.note = f"{len(drawn)} times, {people} people"
    low, high = (float(limit(np.concatenate(list(cosines.values())))) for limit in (np.min, np.max))
    bins = np.linspace(low, max(high, low + 1e-3), BINS + 1)
    models = tuple(
        model_figures(
            name,
            one,
            cosines[name],
            labeled,
            drawn=drawn[:, index],
            far=request.far,
            current=request.current,
            bins=bins,
        )
        for index, (name, one) in enumerate(ranked.items())
    )
    shifts: list[Estimate | None] = [None, None]
    if len(models) > 1:
        moved = drawn[:, 1] - drawn[:, 0]
        shifts = [
            bootstrap_interval(models[1].chosen.threshold.value - models[0].chosen.threshold.value, moved[:, 0]),
            bootstrap_interval(models[1].best_threshold.value - models[0].best_threshold.value, moved[:, 1]),
        ]
    parts: tuple[GroupResult, ...] = ()
    group_remarks: list[str] = []
    if groups is not None:
        parts = evaluate_groups(labeled, groups, cosines, [one.chosen.threshold.value for one in models], request.far)
        group_remarks = group_notes(parts, groups, request.far, models[-1].chosen.tar)
    decided = [values >= request.current for values in cosines.values()]
    return EvaluationResult(
        bundle=request.bundle, digest=request.digest, synthetic=request.synthetic, kind=labeled.kind, people=people,
        photos=labeled.photos, faceless=labeled.faceless, unreadable=labeled.unreadable, unclear=labeled.unclear,
        faces=len(labeled.crops), same=int(same.sum()), different=different, far=request.far, models=models,
        bins=tuple(bins.tolist()), shift=shifts[0], shift_best=shifts[1],
        changed=int(np.sum(decided[0] != decided[1])) if len(decided) > 1 else None,
        few=tuple(_find_shortages(models[-1], people, request.far)),
        notes=(*labeled.notes, *notes, *_advise(models[-1], request), *group_remarks), groups=parts,
        worst_pairs=find_worst_pairs(labeled, cosines),
    )  # fmt: skip


def _find_shortages(figures: ModelFigures, people: int, far: float) -> list[str]:
    different, same = figures.chosen.far, figures.chosen.tar.total
    found = []
    if not enough_pairs(far, different.total):
        found.append(
            f"{different.total:,.0f} pairs of different people are too few for a FAR of {far:g}, at least "
            f"{math.ceil(1 / far - 1e-9):,} are needed: the threshold is the lowest that accepts none of them, and its "
            f"FAR may be as high as {different.high:.2g}"
        )
    if same < FEW_SAME:
        found.append(f"{same:.0f} pairs of one person are too few for a reliable TAR, at least {FEW_SAME} are needed")
    if people < FEW_PEOPLE:
        found.append(
            f"{people} people are too few to represent others, so the intervals are too narrow: at least {FEW_PEOPLE} "
            "are needed"
        )
    return found


def _advise(figures: ModelFigures, request: EvaluationRequest) -> list[str]:
    found, far = [], request.far
    chosen, current = figures.chosen, figures.current
    if 1 - 1e-9 <= far * chosen.far.total < ERRORS_TO_BE_SURE:
        found.append(
            f"{figures.model}: the FAR of {far:g} is based on {chosen.far.count:g} accepted pairs and may be "
            f"{chosen.far.low:.2g} to {chosen.far.high:.2g}; {math.ceil(ERRORS_TO_BE_SURE / far):,} pairs of different "
            "people would determine it to within a third"
        )
    if current.far.low > request.far:
        found.append(
            f"{figures.model}: the bundle's threshold {request.current:.4f} has a FAR of {current.far.value:.2%}, but "
            f"{request.far:.2g} is requested: --write-threshold changes the threshold"
        )
    return found


def without_nan(value: Any) -> Any:
    """``value`` with None instead of NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
