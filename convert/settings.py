"""What one run of `rkface convert` makes, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .recipe import PLANS, UNQUANTIZED, AccuracyBar, RecipePlan
from .targets import Target


@dataclass(frozen=True)
class OutputBundle:
    """One bundle to make: the chip it is for, and the folder that it is written to."""

    target: Target
    folder: Path


@dataclass(frozen=True)
class CenterRequest:
    """Where the constant that is taken off the recognizer's embeddings comes from (convert/center.py).

    choice  "auto" keeps that of the bundle being replaced, or else measures it; "new" measures it; "none" takes none
    given   the bundle of --center, whose constant is used; None without one
    """

    choice: Literal["auto", "new", "none"] = "auto"
    given: Path | None = None


@dataclass(frozen=True)
class ConversionSettings:
    """How to convert.

    outputs        the bundles to make, one for each chip
    work           folder that keeps logs, the calibration set and, after a failure, the report
    plan           the recipes to try
    bar            the accuracy that the recognizer must reach
    detector_size  (width, height) of the detector's only input in pixels; None keeps the model's own, and adds others
    accept         write the bundle even if the models are too far from FP32
    center         where the constant comes from that is taken off the recognizer's embeddings
    debug_outputs  also write a debug build of each bundle
    """

    outputs: tuple[OutputBundle, ...]
    work: Path
    plan: RecipePlan = PLANS["auto"]
    bar: AccuracyBar = field(default_factory=AccuracyBar)
    detector_size: tuple[int, int] | None = None
    accept: bool = False
    center: CenterRequest = field(default_factory=CenterRequest)
    debug_outputs: bool = False

    @property
    def quantized(self) -> bool:
        return self.plan != UNQUANTIZED
