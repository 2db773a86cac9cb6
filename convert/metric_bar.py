"""How much a verification figure of the user may be worse after quantization: the option --max-drop. Imports nothing
heavy."""

from __future__ import annotations

from argparse import ArgumentTypeError
from dataclasses import dataclass
from typing import Literal, get_args

Metric = Literal["tar", "eer", "accuracy"]
LOWEST_FAR, HIGHEST_FAR = 1e-6, 0.5  # as in `rkface evaluate --far`
EXAMPLE = "tar@1e-3=0.5"


@dataclass(frozen=True)
class MetricBar:
    """One figure, and by how much it may be worse.

    metric   "tar" (at ``far``), "eer" (the equal error rate) or "accuracy" (at the best threshold)
    allowed  percentage points, greater than 0
    far      FAR at which TAR counts; None for the other metrics
    """

    metric: Metric
    allowed: float
    far: float | None = None

    @property
    def figure(self) -> str:
        """What is measured, as in --max-drop: ``tar@0.001``."""
        return self.metric if self.far is None else f"{self.metric}@{self.far:g}"

    @property
    def title(self) -> str:
        """What is measured, for people."""
        return {"tar": f"TAR at FAR {self.far or 0:g}", "eer": "equal error rate", "accuracy": "accuracy"}[self.metric]

    def __str__(self) -> str:
        return f"{self.figure}={self.allowed:g}"


def metric_bars(text: str) -> tuple[MetricBar, ...]:
    """The value of --max-drop: bars such as ``tar@1e-3=0.5``, separated by commas. Raises ArgumentTypeError."""
    bars = tuple(_metric_bar(part.strip()) for part in text.split(","))
    figures = [bar.figure for bar in bars]
    if twice := next((one for one in figures if figures.count(one) > 1), None):
        raise ArgumentTypeError(f"{text!r} has {twice} more than once: leave one out")
    return bars


def _metric_bar(text: str) -> MetricBar:
    figure, equals, points = text.partition("=")
    name, at, far = (part.strip() for part in figure.lower().partition("@"))
    metric = next((one for one in get_args(Metric) if one == name), None)
    if metric is None:
        raise ArgumentTypeError(f"{text!r}: the figure must be tar@FAR, eer or accuracy, as in {EXAMPLE}")
    if not equals:
        raise ArgumentTypeError(
            f"{text!r}: say how many percentage points the figure may lose, as in {text or EXAMPLE}=0.5"
        )
    allowed = _number(points)
    if allowed is None or not 0 < allowed < 100:
        raise ArgumentTypeError(
            f"{text!r}: {points.strip()!r} must be percentage points, greater than 0 and less than 100, as in {EXAMPLE}"
        )
    if metric != "tar":
        if at:
            raise ArgumentTypeError(f"{text!r}: {name} has no FAR: write {name}={points.strip()}")
        return MetricBar(metric, allowed)
    value = _number(far)
    if value is None or not LOWEST_FAR <= value <= HIGHEST_FAR:
        raise ArgumentTypeError(
            f"{text!r}: TAR needs the FAR at which it counts, {LOWEST_FAR:g} to {HIGHEST_FAR:g}, as in {EXAMPLE}"
        )
    return MetricBar(metric, allowed, value)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
