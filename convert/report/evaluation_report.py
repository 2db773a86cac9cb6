"""The result of an evaluation, for people: as text on a terminal, and as one HTML file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..evaluate.bootstrap import Estimate
from ..evaluate.evaluation import EvaluationResult
from ..evaluate.model_figures import ModelFigures, OperatingPoint
from ..evaluate.verification import Proportion
from ..evaluate.worst_pairs import WorstPair
from .curves import roc, scores
from .page import Card, ReportVerdict, Table, jpeg, render, sections

KINDS = {"people": "folders of people", "pairs": "labeled pairs", "bin": "an InsightFace verification file"}
SHOWN_PAIRS = 4  # of each kind, one row on a wide screen; the others are folded away
INTERVALS = (
    "Below a figure: its 95 % interval. Those of shares use Wilson's formula, which assumes independent pairs; those "
    "of thresholds and of their shift resample the people. TAR at a FAR and the equal error rate have the wider limits "
    "of both: a few pairs without an error do not show that errors never occur."
)
FILE_CROPS = (
    "The crops are those of the file. A face's embedding is the sum of the embeddings of its crop and of the mirrored "
    "crop, and the folds are in the file's order, as in InsightFace's protocol."
)
PHOTO_CROPS = (
    "The largest face of each photo, found and aligned by the FP32 detector for both models: this compares recognizers."
)


@dataclass(frozen=True)
class Cell:
    """A value, and its 95 % interval if it has one."""

    value: str
    interval: str = ""

    def __str__(self) -> str:
        return f"{self.value} ({self.interval})" if self.interval else self.value


@dataclass(frozen=True)
class Row:
    """A line of the table of figures: a label and a cell for each model."""

    label: str
    cells: tuple[Cell, ...]
    indented: bool = False


def summary(result: EvaluationResult) -> str:
    """What the evaluation is based on, in one line."""
    lost = [f"{result.faceless} without a face"] * bool(result.faceless)
    lost += [f"{result.unreadable} unreadable"] * bool(result.unreadable)
    lost += [f"{result.unclear} unclear"] * bool(result.unclear)
    counted = {
        "people": f"{result.people:,} people, {result.photos:,} photos",
        "pairs": f"{result.people:,} people by the labels, {result.photos:,} photos",
        "bin": f"{result.photos:,} crops",
    }[result.kind] + (f" ({', '.join(lost)})" if lost else "")
    return f"{counted}: {result.same:,} pairs of one person, {result.different:,} pairs of two people"


def verdict(result: EvaluationResult) -> ReportVerdict:
    """Whether the bundle's threshold can stay. ``bad``: the threshold cannot be trusted, or accepts more pairs of two
    people than requested."""
    best, far = result.decisive, result.far
    chosen, current = best.chosen, best.current
    text = (
        f"{best.model}'s threshold for a FAR of {far:g} is {_estimate(chosen.threshold)}; it accepts "
        f"{chosen.tar.value:.2%} of the pairs of one person. The bundle's threshold {current.threshold.value:.4f} has "
        f"a FAR of {_share(current.far)} and a TAR of {_share(current.tar)}."
    )
    if result.shift:
        text += f" Quantization shifts the threshold by {_estimate(result.shift, '+.4f')}."
    if result.few:
        return ReportVerdict("bad", "The photos are too few to trust these thresholds.", text)
    if current.far.low > far:
        return ReportVerdict("bad", "Change the threshold: the bundle's accepts too many pairs of two people.", text)
    if current.far.value > far:
        return ReportVerdict("warn", "The bundle's threshold may accept too many pairs of two people.", text)
    if current.tar.high < chosen.tar.low:
        return ReportVerdict("warn", "The bundle's threshold is higher than the requested FAR needs.", text)
    return ReportVerdict("good", "The bundle's threshold keeps the requested FAR.", text)


def figure_rows(result: EvaluationResult) -> list[Row]:
    """The table of figures."""
    models = result.models
    far, current = f"{result.far:g}", f"{models[0].current.threshold.value:.4f}"
    rows = [
        Row("best accuracy", tuple(_share(one.accuracy) for one in models)),
        Row("its threshold", tuple(_estimate(one.best_threshold) for one in models), indented=True),
        Row("accuracy, 10 folds", tuple(_folds(one) for one in models)),
        Row("equal error rate", tuple(_estimate(one.eer, ".2%") for one in models)),
        *(Row(f"TAR at FAR {known}", tuple(_share(one.tar[known]) for one in models)) for known in models[0].tar),
        Row(f"threshold for FAR {far}", tuple(_estimate(one.chosen.threshold) for one in models)),
        *_rates([one.chosen for one in models]),
        Row(f"bundle's threshold {current}", tuple(Cell("") for _ in models)),
        *_rates([one.current for one in models]),
    ]
    if result.shift and result.shift_best:
        empty = Cell("")
        rows.append(Row(f"shift of the threshold, FAR {far}", (empty, _estimate(result.shift, "+.4f"))))
        rows.append(Row("best accuracy", (empty, _estimate(result.shift_best, "+.4f")), indented=True))
        changed = "1 pair" if result.changed == 1 else f"{result.changed:,} pairs"
        rows.append(Row("decided differently from FP32", (empty, Cell(changed))))
    return rows


def group_table(result: EvaluationResult) -> Table | None:
    """A row for each group, of the model that the board runs; None without groups."""
    if not result.groups:
        return None
    head = ("group", "people", "pairs of one", "pairs of two", "FAR", "TAR", f"own threshold for {result.far:g}")
    rows = []
    for group in result.groups:
        figures = group.models[-1]
        shares = [str(_share(value)) if value else "no pairs" for value in (figures.far, figures.tar)]
        own = f"{figures.threshold:.4f}" if figures.threshold is not None else "too few pairs"
        rows.append((group.name, f"{group.people:,}", f"{group.same:,}", f"{group.different:,}", *shares, own))
    return Table(head, rows, numbers=1)


def to_text(result: EvaluationResult) -> str:
    """The figures as text, without the verdict."""
    lines = [["", *(one.model for one in result.models)]]
    lines += [["  " * row.indented + row.label, *map(str, row.cells)] for row in figure_rows(result)]
    groups = []
    if table := group_table(result):
        best = result.decisive
        groups = ["", f"by group, {best.model} at {best.chosen.threshold.value:.4f}"]
        groups += _columns([list(map(str, row)) for row in (table.head, *table.rows)])
    return "\n".join(
        [
            summary(result),
            "",
            *_columns(lines),
            *groups,
            "",
            *(f"too few: {few}" for few in result.few),
            *(f"note: {note}" for note in result.notes),
        ]
    )


def _columns(lines: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in lines]


def to_html(result: EvaluationResult, crops: NDArray[np.uint8]) -> str:
    """The report as one self-contained HTML page. ``crops`` (N×H×W×3 uint8 RGB) are the faces of the pairs in
    ``result``."""
    pairs = [_PairPictures.of(pair, crops) for pair in result.worst_pairs]
    groups = group_table(result)
    absent = {"worst-pairs": not pairs, "notes": not (result.few or result.notes), "groups": groups is None}
    return render(
        verdict(result),
        [section for section in _SECTIONS if not absent.get(section.anchor)],
        title=f"rkface: evaluation of {result.bundle}",
        heading=f"{result.bundle}, evaluated",
        origin=summary(result),
        synthetic="the demo models know only rendered faces; nothing here is a claim about people." * result.synthetic,
        cards=list(_cards(result)),
        result=result,
        notes=(*result.few, *result.notes),
        models=[one.model for one in result.models],
        figures=figure_rows(result),
        intervals=INTERVALS,
        crops=FILE_CROPS if result.kind == "bin" else PHOTO_CROPS,
        same_pairs=[one for one in pairs if one.pair.same],
        different_pairs=[one for one in pairs if not one.pair.same],
        shown_pairs=SHOWN_PAIRS,
        groups=groups,
        roc=roc(result),
        scores=scores(result),
        sources=[
            ("bundle", f"{result.bundle}, SHA-256 of its SHA256SUMS {result.digest}"),
            ("photos", f"{KINDS[result.kind]}: {summary(result)}"),
            ("command", result.command),
        ],
    )


def _cards(result: EvaluationResult) -> Iterator[Card]:
    best, far = result.decisive, f"{result.far:g}"
    for title, cell in (
        (f"{best.model}: TAR at the bundle's threshold", _share(best.current.tar)),
        (f"{best.model}: FAR at the bundle's threshold", _share(best.current.far)),
        (f"{best.model}: threshold for FAR {far}", _estimate(best.chosen.threshold)),
        (f"{best.model}: equal error rate", _estimate(best.eer, ".2%")),
    ):
        yield Card(title, cell.value, cell.interval)


@dataclass(frozen=True)
class _PairPictures:
    """A pair with its two faces as data URIs."""

    pair: WorstPair
    sources: tuple[str, str]

    @classmethod
    def of(cls, pair: WorstPair, crops: NDArray[np.uint8]) -> _PairPictures:
        first, second = (jpeg(np.ascontiguousarray(crops[face, ..., ::-1])) for face in pair.faces)
        return cls(pair, (first, second))


_SECTIONS = sections(
    "evaluation",
    {
        "worst-pairs": "Worst pairs",
        "notes": "Notes",
        "figures": "Figures",
        "groups": "By group",
        "roc": "ROC",
        "scores": "Scores",
        "sources": "Sources",
    },
)


def _rates(points: list[OperatingPoint]) -> list[Row]:
    return [
        Row("FAR there", tuple(_share(point.far) for point in points), indented=True),
        Row("TAR there", tuple(_share(point.tar) for point in points), indented=True),
    ]


def _folds(figures: ModelFigures) -> Cell:
    folds = figures.folds
    if folds is None:
        return Cell("too few pairs")
    return Cell(f"{folds.mean:.2%} ± {folds.deviation:.2%}", f"{folds.pooled.low:.2%} to {folds.pooled.high:.2%}")


def _share(share: Proportion) -> Cell:
    digits = 4 if share.value < 0.0005 and share.count else 2
    return Cell(f"{share.value:.{digits}%}", f"{share.low:.{digits}%} to {share.high:.{digits}%}")


def _estimate(estimate: Estimate, form: str = ".4f") -> Cell:
    if math.isnan(estimate.low):
        return Cell(format(estimate.value, form))
    return Cell(format(estimate.value, form), f"{estimate.low:{form}} to {estimate.high:{form}}")
