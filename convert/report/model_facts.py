"""What the report of a conversion is made of, besides the comparison: facts about each model, and images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.bundle import Role

from ..recipe_search import RecipeResult
from ..toolkit.quantize import LayerError

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class ModelFacts:
    """What happened to one model. ``difference``: the largest between original and simplified; ``seconds`` by stage of
    the toolkit; ``nodes`` before and after simplification; ``layers``: the error of each, where it was measured."""

    role: Role
    rknn_bytes: int
    nodes: tuple[int, int]
    difference: float
    seconds: dict[str, float]
    peak_rss_mb: float
    warnings: tuple[str, ...]
    tries: tuple[RecipeResult, ...]
    layers: tuple[LayerError, ...] = ()


@dataclass(frozen=True)
class ReportImages:
    """``faces``: (crop BGR 112×112, cosine), the worst first; ``frames``: photos with both detectors' boxes drawn;
    ``mosaic``: one of those that judged the detector; ``calibration``: the contact sheet, as an encoded PNG."""

    faces: Sequence[tuple[Image, float]]
    frames: Sequence[Image]
    mosaic: Image
    calibration: bytes | None
