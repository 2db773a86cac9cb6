"""What one run of `rkface convert` makes, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .recipe import PLANS, UNQUANTIZED, AccuracyBar, RecipePlan
from .targets import Target


@dataclass(frozen=True)
class OutputBundle:
    """One bundle to make: for which chip, and where to."""

    target: Target
    out: Path


@dataclass(frozen=True)
class ConversionSettings:
    """``size`` is the detector's (width, height), None for its own. ``work`` keeps logs, the calibration set and, after
    a failure, the report. ``accept`` writes the bundle even where it is too far from FP32."""

    orders: tuple[OutputBundle, ...]
    work: Path
    plan: RecipePlan = PLANS["auto"]
    bar: AccuracyBar = field(default_factory=AccuracyBar)
    size: tuple[int, int] | None = None
    accept: bool = False

    @property
    def quantized(self) -> bool:
        return self.plan != UNQUANTIZED
