"""What an evaluation came to: for people on a terminal, and as one HTML file."""

from __future__ import annotations

import math
from html import escape

from ..evaluate.evaluation import EvaluationResult, ModelFigures, OperatingPoint
from ..evaluate.verification import Estimate, Proportion
from .curves import roc, scores
from .page import page, soft, table

KINDS = {"people": "folders of people", "pairs": "labeled pairs", "bin": "an InsightFace verification file"}
INTERVALS = (
    "In brackets: 95 % intervals. Of shares by Wilson's formula, which takes pairs as independent; of thresholds, of "
    "their shift and of the equal error rate by drawing the people anew."
)
CROPS = {
    True: "Crops of the file as they are; a face's embedding is the sum of its crop's and the mirrored crop's, and "
    "folds are in the file's order, as in InsightFace's protocol.",
    False: "The largest face of each photo, found and aligned by the FP32 detector for both models: this compares "
    "recognizers.",
}


def summary(evaluation: EvaluationResult) -> str:
    """On what it was evaluated."""
    one = evaluation
    lost = [f"{one.faceless} without a face"] * bool(one.faceless)
    lost += [f"{one.unreadable} unreadable"] * bool(one.unreadable)
    counted = {
        "people": f"{one.people:,} people, {one.photos:,} photos",
        "pairs": f"{one.people:,} people by the labels, {one.photos:,} photos",
        "bin": f"{one.photos:,} crops",
    }[one.kind] + (f" ({', '.join(lost)})" if lost else "")
    return f"{counted}: {one.same:,} pairs of one person, {one.different:,} of two"


def verdict(evaluation: EvaluationResult) -> str:
    best = evaluation.decisive
    said = (
        f"{best.model}'s threshold for a FAR of {evaluation.far:g} is {_estimate(best.chosen.threshold)}; it accepts "
        f"{best.chosen.tar.value:.2%} of the pairs of one person. The bundle's is {best.current.threshold.value:.4f}."
    )
    if evaluation.shift:
        said += f" Quantization shifts it by {_estimate(evaluation.shift, '+.4f')}."
    return said


def rows(evaluation: EvaluationResult) -> list[list[str]]:
    """The table: a name and a cell a model."""
    models = evaluation.models
    found: list[list[str]] = [
        ["best accuracy", *(_share(one.accuracy) for one in models)],
        ["  its threshold", *(_estimate(one.best_threshold) for one in models)],
        ["accuracy, 10 folds", *(_folds(one) for one in models)],
        ["equal error rate", *(_estimate(one.eer, ".2%") for one in models)],
        *([f"TAR at FAR {far}", *(_share(one.tar[far]) for one in models)] for far in models[0].tar),
        [f"threshold for FAR {evaluation.far:g}", *(_estimate(one.chosen.threshold) for one in models)],
        *_at([one.chosen for one in models]),
        [f"bundle's threshold {models[0].current.threshold.value:.4f}", *("" for _ in models)],
        *_at([one.current for one in models]),
    ]
    if evaluation.shift and evaluation.shift_best:
        found.append([f"shift of the threshold, FAR {evaluation.far:g}", "", _estimate(evaluation.shift, "+.4f")])
        found.append(["  best accuracy", "", _estimate(evaluation.shift_best, "+.4f")])
        found.append(["decided otherwise than by FP32", "", f"{evaluation.changed:,} pairs"])
    return found


def group_rows(evaluation: EvaluationResult) -> list[list[str]]:
    """A head and a row for each group, of the model that the board runs; nothing without groups."""
    if not evaluation.groups:
        return []
    head = ["group", "people", "pairs of one", "of two", "FAR", "TAR", f"its own threshold for {evaluation.far:g}"]
    found = [head]
    for group in evaluation.groups:
        one = group.models[-1]
        shares = [_share(value) if value else "no pairs" for value in (one.far, one.tar)]
        own = f"{one.threshold:.4f}" if one.threshold is not None else "too few pairs"
        found.append([group.name, f"{group.people:,}", f"{group.same:,}", f"{group.different:,}", *shares, own])
    return found


def to_text(evaluation: EvaluationResult) -> str:
    shown = _columns([["", *(one.model for one in evaluation.models)], *rows(evaluation)])
    groups = _columns(group_rows(evaluation))
    if groups:
        best = evaluation.decisive
        groups = ["", f"by group, {best.model} at {best.chosen.threshold.value:.4f}", *groups]
    return "\n".join(
        [
            summary(evaluation),
            "",
            *shown,
            *groups,
            "",
            *(f"too few: {few}" for few in evaluation.few),
            *(f"note: {note}" for note in evaluation.notes),
        ]
    )


def _columns(lines: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in lines]


def to_html(evaluation: EvaluationResult) -> str:
    one = evaluation
    synthetic = (
        "<p><b>Synthetic:</b> the demo models know rendered faces only; nothing here is a claim about people.</p>"
    )
    warned = "".join(f"<li>{escape(text)}</li>" for text in (*one.few, *one.notes))
    facts = [
        ("bundle", f"{one.bundle}, SHA-256 of its SHA256SUMS {one.digest}"),
        ("photos", f"{KINDS[one.kind]}: {summary(one)}"),
        ("command", one.command),
    ]
    code = [(name, f"<code>{escape(text)}</code>") for name, text in facts]
    return page(
        f"rkface: evaluation of {one.bundle}",
        [
            f"<h1>rkface: {escape(one.bundle)}, evaluated</h1>",
            soft(summary(one)),
            f"<p class='verdict{' bad' if one.few else ''}'>{escape(verdict(one))}</p>",
            synthetic if one.synthetic else "",
            f"<ul>{warned}</ul>" if warned else "",
            "<h2>Figures</h2>" + _figures(one),
            soft(INTERVALS),
            soft(CROPS[one.kind == "bin"]),
            *_groups(one),
            "<h2>ROC</h2>" + roc(one) + soft("Dots: at the thresholds above. The left edge is a FAR of 0."),
            "<h2>Scores</h2>" + scores(one) + soft("Each kind of pairs has its own height. Upright: the thresholds."),
            "<h2>Where it comes from</h2>" + table(["", ""], code, raw=True),
        ],
    )


def _groups(evaluation: EvaluationResult) -> list[str]:
    if not evaluation.groups:
        return []
    head, *body = group_rows(evaluation)
    best = evaluation.decisive
    said = (
        f"{best.model}, pairs within a group, at the threshold for all ({best.chosen.threshold.value:.4f}). Groups are "
        "as --groups gives them."
    )
    return ["<h2>By group</h2>" + table(head, body, numbers=1), soft(said)]


def _figures(evaluation: EvaluationResult) -> str:
    """The table with its intervals under the values, so that it fits a phone."""

    def cell(text: str) -> str:
        value, _, between = escape(text).partition(" (")
        return value + (f"<br><small class=soft>{between[:-1]}</small>" if between else "")

    shown = [[row[0].replace("  ", "&emsp;"), *map(cell, row[1:])] for row in rows(evaluation)]
    body = table(["", *(one.model for one in evaluation.models)], shown, numbers=1, raw=True)
    style = ".figures .wide table { width: 100%; min-width: 0; } small { white-space: nowrap; }"
    return f"<style>{style}</style><div class=figures>{body}</div>"


def _at(points: list[OperatingPoint]) -> list[list[str]]:
    return [
        ["  FAR there", *(_share(point.far) for point in points)],
        ["  TAR there", *(_share(point.tar) for point in points)],
    ]


def _folds(figures: ModelFigures) -> str:
    folds = figures.folds
    if folds is None:
        return "too few pairs"
    return f"{folds.mean:.2%} ± {folds.deviation:.2%} ({folds.pooled.low:.2%} to {folds.pooled.high:.2%})"


def _share(share: Proportion) -> str:
    digits = 4 if share.value < 0.0005 and share.count else 2
    return f"{share.value:.{digits}%} ({share.low:.{digits}%} to {share.high:.{digits}%})"


def _estimate(estimate: Estimate, form: str = ".4f") -> str:
    if math.isnan(estimate.low):
        return format(estimate.value, form)
    return f"{estimate.value:{form}} ({estimate.low:{form}} to {estimate.high:{form}})"
