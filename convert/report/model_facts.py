"""What the report of a conversion contains besides the comparison: facts about each model, and images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.core.manifest import Role

from ..evaluate.parity import DetectionParity
from ..recipe_search import RecipeResult
from ..toolkit.quantize import LayerError

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class ModelFacts:
    """What happened to one model.

    rknn_bytes                 size of the ``.rknn``
    nodes_before, nodes_after  ONNX nodes before and after simplification
    simplification_difference  largest difference between the original and the simplified model, as a share of the
                               largest output
    toolkit_seconds            by stage of the toolkit
    peak_rss_mb                of the toolkit's process
    warnings                   of the toolkit
    recipes                    the result of each recipe, in the order in which they were tried
    layers                     the error of each layer, if it was measured
    """

    role: Role
    rknn_bytes: int
    nodes_before: int
    nodes_after: int
    simplification_difference: float
    toolkit_seconds: dict[str, float]
    peak_rss_mb: float
    warnings: tuple[str, ...]
    recipes: tuple[RecipeResult, ...]
    layers: tuple[LayerError, ...] = ()


@dataclass(frozen=True)
class ShapeFacts:
    """The detector in another shape, with the recipe of the main one.

    width, height  of its input, in pixels
    rknn_bytes     size of the ``.rknn``
    detection      how far it is from FP32 in the same shape, on the same photos
    milliseconds   predicted for one NPU core; None if the cost model does not know the graph
    """

    width: int
    height: int
    rknn_bytes: int
    detection: DetectionParity
    milliseconds: float | None


@dataclass(frozen=True)
class FacePicture:
    """An evaluation face: its crop (uint8 BGR), the cosine of its quantized with its FP32 embedding, and its group, or
    how it was changed."""

    crop: Image
    cosine: float
    kind: str


@dataclass(frozen=True)
class ReportImages:
    """The images of the report, BGR.

    faces        real evaluation faces, the worst first
    augmented    augmented faces, the worst first
    frames       photos with the boxes of both detectors
    mosaic       one of the mosaics
    calibration  the contact sheet as an encoded PNG; None without calibration
    """

    faces: Sequence[FacePicture]
    augmented: Sequence[FacePicture]
    frames: Sequence[Image]
    mosaic: Image
    calibration: bytes | None
