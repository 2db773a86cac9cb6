"""ROC and score histograms of an evaluation, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from ..evaluate.evaluation import EvaluationResult
from .plot import COLORS, svg_text

WIDTH, HEIGHT = 460, 270  # narrow, so that text stays readable on a phone
LEFT, RIGHT, TOP, BOTTOM = 60, 10, 30, 44
DASHES = ("", "6 4")  # FP32 is solid and INT8 dashed, so that the two differ without color


def roc(evaluation: EvaluationResult) -> Markup:
    """TAR against FAR. The FAR axis is logarithmic: only small FARs matter for access control."""
    decades = max(1, math.ceil(math.log10(evaluation.different)))
    lowest = min(min(tar for _, tar in one.roc) for one in evaluation.models)
    floor = min(math.floor(lowest * 20) / 20, 0.95)

    def x(far: float) -> float:
        share = 1 + math.log10(max(far, 10**-decades)) / decades
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(tar: float) -> float:
        return TOP + (1 - (tar - floor) / (1 - floor)) * (HEIGHT - TOP - BOTTOM)

    parts = _legend([one.model for one in evaluation.models])
    for decade in range(decades + 1):
        far = 10.0 ** (decade - decades)
        parts.append(_line(f"M{x(far):.1f} {TOP}V{HEIGHT - BOTTOM}", "currentColor", opacity=0.12))
        parts.append(svg_text(x(far), HEIGHT - BOTTOM + 17, f"{far:g}", "end" if decade == decades else "middle"))
    for step in range(6):
        tar = floor + (1 - floor) * step / 5
        parts.append(_line(f"M{LEFT} {y(tar):.1f}H{WIDTH - RIGHT}", "currentColor", opacity=0.12))
        parts.append(svg_text(LEFT - 6, y(tar) + 4, f"{tar:.1%}" if floor >= 0.9 else f"{tar:.0%}", "end"))
    for index, model in enumerate(evaluation.models):
        # Steps, not slopes: no threshold reaches a point between two steps.
        first_far, first_tar = model.roc[0]
        path = f"M{x(first_far):.1f} {y(first_tar):.1f}"
        path += "".join(f"H{x(far):.1f}V{y(tar):.1f}" for far, tar in model.roc[1:])
        parts.append(_line(path, COLORS[index], dashes=DASHES[index], wide=2.5))
        chosen = model.chosen
        parts.append(
            f"<circle cx='{x(chosen.far.value):.1f}' cy='{y(chosen.tar.value):.1f}' r='4.5' fill='{COLORS[index]}'/>"
        )
    parts.append(svg_text((LEFT + WIDTH) / 2, HEIGHT - 6, "FAR: different people accepted"))
    parts.append(svg_text(WIDTH - RIGHT, 16, "TAR: same person accepted", "end"))
    return _svg(parts)


def scores(evaluation: EvaluationResult) -> Markup:
    """Histograms of the cosines of pairs of two people (left) and of one person (right), and the chosen thresholds as
    vertical lines. The two kinds have separate vertical scales, because there are far more pairs of two people."""
    low, high = evaluation.bins[0], evaluation.bins[-1]

    def x(cosine: float) -> float:
        return LEFT + (cosine - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    parts = _legend([one.model for one in evaluation.models])
    tops = [max(max(one.histograms[kind]) for one in evaluation.models) for kind in (0, 1)]
    ground = HEIGHT - BOTTOM
    for index, model in enumerate(evaluation.models):
        for counts, top in zip(model.histograms, tops, strict=True):
            path = f"M{x(low):.1f} {ground}"
            for place, count in enumerate(counts):
                path += f"V{ground - (ground - TOP) * count / top:.1f}H{x(evaluation.bins[place + 1]):.1f}"
            filled = "" if index else f" fill-opacity='.18' fill='{COLORS[index]}'"
            parts.append(_line(f"{path}V{ground}", COLORS[index], dashes=DASHES[index], wide=1.6, more=filled))
        at = x(model.chosen.threshold.value)
        parts.append(_line(f"M{at:.1f} {TOP}V{ground}", COLORS[index], dashes=DASHES[index], wide=1.6))
    for share in (0, 0.25, 0.5, 0.75, 1):
        cosine, anchor = low + share * (high - low), "end" if share == 1 else "middle"
        parts.append(svg_text(x(cosine), ground + 17, f"{cosine:.2f}", anchor))
    parts.append(_line(f"M{LEFT} {ground}H{WIDTH - RIGHT}", "currentColor"))
    parts.append(svg_text((LEFT + WIDTH) / 2, HEIGHT - 6, "cosine (left: two people, right: one person)"))
    return _svg(parts)


def _legend(names: Sequence[str]) -> list[str]:
    parts = []
    for index, name in enumerate(names):
        left = LEFT + index * 110
        parts.append(_line(f"M{left} 12h24", COLORS[index], dashes=DASHES[index], wide=2.5))
        parts.append(svg_text(left + 30, 16, name, "start"))
    return parts


def _line(path: str, color: str, *, dashes: str = "", wide: float = 1, opacity: float = 1, more: str = "") -> str:
    fill = more or " fill='none'"
    dashed = f" stroke-dasharray='{dashes}'" if dashes else ""
    return f"<path d='{path}' stroke='{color}' stroke-width='{wide}' opacity='{opacity}'{dashed}{fill}/>"


def _svg(parts: Sequence[str]) -> Markup:
    return Markup(f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role=img>{''.join(parts)}</svg>")
