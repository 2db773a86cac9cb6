"""What one run of `rkface convert` makes, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .recipe import PLANS, UNQUANTIZED, Bar, Plan
from .targets import Target


@dataclass(frozen=True)
class Order:
    """One bundle to make: for which chip, and where to."""

    target: Target
    out: Path


@dataclass(frozen=True)
class Settings:
    """``size`` is the detector's (width, height), None for its own. ``work`` keeps logs, the calibration set and, after
    a failure, the report. ``accept`` writes the bundle even where it is too far from FP32."""

    orders: tuple[Order, ...]
    work: Path
    plan: Plan = PLANS["auto"]
    bar: Bar = field(default_factory=Bar)
    size: tuple[int, int] | None = None
    accept: bool = False

    @property
    def quantized(self) -> bool:
        return self.plan != UNQUANTIZED
