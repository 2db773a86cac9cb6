"""Labeled faces → how well a bundle's recognizer tells people apart, FP32 and quantized, and the threshold for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.core.progress import stage
from rkface.runtime.vision.embed import unit

from .groups import Group, by_group
from .groups import remarks as remarks_on_groups
from .labeled import Labeled
from .verification import (
    ERRORS_TO_BE_SURE,
    FEW_PEOPLE,
    FEW_SAME,
    FOLDS,
    Counts,
    Estimate,
    Ranked,
    Share,
    TenFold,
    accuracy,
    enough,
    interval,
    rank,
    resample,
    share,
    tars,
    ten_fold,
)

BATCH = 50_000  # pairs at once: their embeddings, not the pairs, are what takes memory
BINS = 60
CURVE = 120  # points of the ROC

Floats = NDArray[np.float32]
Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Operating:
    """What happens at a threshold: ``far`` of the different-person and ``tar`` of the same-person pairs pass."""

    threshold: Estimate
    far: Share
    tar: Share


@dataclass(frozen=True)
class Figures:
    """One model.

    chosen      at the lowest threshold that keeps to the FAR asked for; of too few pairs it accepts none
    current     at the threshold in the manifest
    tar         by FAR, where there are enough pairs
    roc         (FAR, TAR), by rising FAR
    histograms  how many pairs lie in each bin of cosine: of one person, of two
    """

    model: str
    eer: Estimate
    best_threshold: Estimate
    accuracy: Share
    folds: TenFold | None
    tar: dict[str, Share]
    chosen: Operating
    current: Operating
    roc: tuple[tuple[float, float], ...]
    histograms: tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Evaluation:
    """kind, people, photos, same, different: what was evaluated on. far: asked for. bins: edges of the histograms.
    shift, shift_best: INT8's threshold minus FP32's, at ``far`` and where each is the most accurate; None without INT8.
    changed: pairs that INT8 decides otherwise at the manifest's threshold. few: what there is too little of to trust
    the threshold."""

    bundle: str
    digest: str
    synthetic: bool
    kind: str
    people: int
    photos: int
    faceless: int
    unreadable: int
    faces: int
    same: int
    different: int
    far: float
    models: tuple[Figures, ...]
    bins: tuple[float, ...]
    shift: Estimate | None
    shift_best: Estimate | None
    changed: int | None
    few: tuple[str, ...]
    notes: tuple[str, ...]
    groups: tuple[Group, ...] = ()
    command: str = ""

    @property
    def decisive(self) -> Figures:
        """The model that the board runs, where it was evaluated."""
        return self.models[-1]

    def to_dict(self) -> dict[str, Any]:
        return dict(_without_nan(asdict(self)))


@dataclass(frozen=True)
class Asked:
    """What to work out: the threshold for ``far``, beside the manifest's ``current`` one."""

    bundle: str
    digest: str
    synthetic: bool
    far: float
    current: float


def questions(labeled: Labeled, golden: Images | None = None) -> Images:
    """What the recognizer is asked: ``golden`` inputs, the crops and, where the protocol wants it, these mirrored."""
    parts = [labeled.crops] if golden is None else [golden, labeled.crops]
    return np.concatenate([*parts, labeled.crops[:, :, ::-1]] if labeled.mirrored else parts)


def faces_of(raw: Floats, labeled: Labeled) -> Floats:
    """Raw embeddings of the crops, and of the mirrored ones behind them → N×D of unit length, one a face."""
    count = len(labeled.crops)
    return unit(raw[:count] + raw[count:] if labeled.mirrored else raw)


def cosines_of(embeddings: Floats, labeled: Labeled) -> Floats:
    """P float32."""
    cosines = np.zeros(len(labeled.first), np.float32)
    for start in range(0, len(cosines), BATCH):
        part = slice(start, start + BATCH)
        pair = embeddings[labeled.first[part]], embeddings[labeled.second[part]]
        cosines[part] = np.einsum("nd,nd->n", *pair)
    return cosines


def evaluate(
    asked: Asked,
    labeled: Labeled,
    cosines: dict[str, Floats],
    notes: Sequence[str] = (),
    groups: NDArray[np.str_] | None = None,
) -> Evaluation:
    """``cosines``: of every pair, by the name of the model; FP32's first, then what the NPU computes. ``groups``: that
    of each face."""
    same, people = labeled.same, len(np.unique(labeled.people))
    different = int((~same).sum())
    ranked = {name: rank(values, same) for name, values in cosines.items()}
    with stage("resample people") as shown:
        owners = labeled.people[labeled.first], labeled.people[labeled.second]
        drawn = resample(list(ranked.values()), *owners, asked.far, shown.advance)
        shown.note = f"{len(drawn)} times, {people} people"
    low, high = (float(limit(np.concatenate(list(cosines.values())))) for limit in (np.min, np.max))
    bins = np.linspace(low, max(high, low + 1e-3), BINS + 1)
    models = tuple(
        _figures(
            name, one, cosines[name], labeled, drawn=drawn[:, index], far=asked.far, current=asked.current, bins=bins
        )
        for index, (name, one) in enumerate(ranked.items())
    )
    shifts: list[Estimate | None] = [None, None]
    if len(models) > 1:
        moved = drawn[:, 1] - drawn[:, 0]
        shifts = [
            interval(models[1].chosen.threshold.value - models[0].chosen.threshold.value, moved[:, 0]),
            interval(models[1].best_threshold.value - models[0].best_threshold.value, moved[:, 1]),
        ]
    parts: tuple[Group, ...] = ()
    told: list[str] = []
    if groups is not None:
        parts = by_group(labeled, groups, cosines, [one.chosen.threshold.value for one in models], asked.far)
        told = remarks_on_groups(parts, groups, asked.far, models[-1].chosen.tar)
    decided = [values >= asked.current for values in cosines.values()]
    return Evaluation(
        bundle=asked.bundle, digest=asked.digest, synthetic=asked.synthetic, kind=labeled.kind, people=people,
        photos=labeled.photos, faceless=labeled.faceless, unreadable=labeled.unreadable, faces=len(labeled.crops),
        same=int(same.sum()), different=different, far=asked.far, models=models,
        bins=tuple(bins.tolist()), shift=shifts[0], shift_best=shifts[1],
        changed=int(np.sum(decided[0] != decided[1])) if len(decided) > 1 else None,
        few=tuple(_few(models[-1], people, asked.far)),
        notes=(*labeled.notes, *notes, *_advice(models[-1], asked), *told), groups=parts,
    )  # fmt: skip


def _figures(
    name: str,
    ranked: Ranked,
    cosines: Floats,
    labeled: Labeled,
    *,
    drawn: NDArray[Any],
    far: float,
    current: float,
    bins: NDArray[Any],
) -> Figures:
    counts, same = ranked.counts(), labeled.same
    best = counts.most_accurate()
    at = counts.at_far(far)
    order = np.arange(len(same)) if labeled.ordered else np.random.default_rng(0).permutation(len(same))
    return Figures(
        model=name,
        eer=interval(counts.eer(), drawn[:, 2]),
        best_threshold=interval(counts.thresholds[best], drawn[:, 1]),
        accuracy=accuracy(counts, best),
        folds=ten_fold(cosines[order], same[order]) if len(same) >= FOLDS else None,
        tar={f"{one:g}": value for one, value in tars(counts).items()},
        chosen=_operating(counts, at, interval(counts.thresholds[at], drawn[:, 0])),
        current=_operating(counts, ranked.at(current), Estimate(current, current, current)),
        roc=_roc(counts),
        histograms=(_histogram(cosines[same], bins), _histogram(cosines[~same], bins)),
    )


def _histogram(values: Floats, bins: NDArray[Any]) -> tuple[int, ...]:
    return tuple(np.histogram(values, bins)[0].tolist())


def _operating(counts: Counts, at: int, threshold: Estimate) -> Operating:
    return Operating(
        threshold, share(counts.different[at], counts.different[0]), share(counts.same[at], counts.same[0])
    )


def _roc(counts: Counts) -> tuple[tuple[float, float], ...]:
    """At a FAR of 0, and from that of one pair to 1, evenly on a logarithmic axis."""
    places = [counts.at_far(far) for far in (0, *np.geomspace(1 / counts.different[0], 1, CURVE))]
    return tuple(
        (float(counts.different[at] / counts.different[0]), float(counts.same[at] / counts.same[0]))
        for at in dict.fromkeys(places)
    )


def _few(figures: Figures, people: int, far: float) -> list[str]:
    different, same = figures.chosen.far, figures.chosen.tar.total
    found = []
    if not enough(far, different.total):
        found.append(
            f"{different.total:,.0f} pairs of different people say nothing about a FAR of {far:g}, at least "
            f"{math.ceil(1 / far - 1e-9):,} are needed: the threshold is the lowest that accepts none of them, and its "
            f"FAR may be as high as {different.high:.2g}"
        )
    if same < FEW_SAME:
        found.append(
            f"{same:.0f} pairs of one person are too few to know how often one is missed, {FEW_SAME} or more are needed"
        )
    if people < FEW_PEOPLE:
        found.append(
            f"{people} people are too few to speak for others: the intervals are too narrow, {FEW_PEOPLE} or "
            "more are needed"
        )
    return found


def _advice(figures: Figures, asked: Asked) -> list[str]:
    found, far = [], asked.far
    chosen, current = figures.chosen, figures.current
    if 1 - 1e-9 <= far * chosen.far.total < ERRORS_TO_BE_SURE:
        found.append(
            f"{figures.model}: the FAR of {far:g} rests on {chosen.far.count:g} accepted pairs and may be "
            f"{chosen.far.low:.2g} to {chosen.far.high:.2g}; {math.ceil(ERRORS_TO_BE_SURE / far):,} pairs of different "
            "people would tell it to a third"
        )
    if current.far.low > asked.far:
        found.append(
            f"{figures.model}: the bundle's threshold {asked.current:.4f} lets {current.far.value:.2%} of different "
            f"people pass, {asked.far:.2g} is asked: --write-threshold changes it"
        )
    return found


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: null says that nothing is known."""
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value
