"""RetinaFace (arXiv 1905.00641) with MobileNet-0.25 or ResNet-50, as biubug6/Pytorch_Retinaface exports it, and
Rockchip's rknn_model_zoo after it: three outputs over all strides, two anchors (priors) per cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .family import LARGEST_LOG, STRIDES, Family, Floats, Level, RawOutput, Shape, grid_corners

if TYPE_CHECKING:
    from ...backends import Raw

# Pytorch_Retinaface, data/config.py: sides of the two square priors of a cell in pixels, by stride, and the variances
# of centers and sides.
SIDES = {8: (16, 32), 16: (64, 128), 32: (256, 512)}
CENTER, SIZE = 0.1, 0.2
FACE = 1  # column of the scores; column 0 is the background


def shapes(width: int, height: int) -> dict[Shape, int]:
    """loc K×4, conf K×2 and landm K×10, with K = 2 · Σ (H/stride)·(W/stride)."""
    count = sum(2 * (width // stride) * (height // stride) for stride in STRIDES)
    return {(count, channels): 1 for channels in (2, 4, 10)}


def levels(places: Mapping[Shape, Sequence[int]], width: int, height: int) -> tuple[Level, ...]:
    """Priors lie in the middle of their cells; the two of one cell are next to each other, and the strides follow."""
    [(count, _), *_] = shapes(width, height)
    found, start = [], 0
    for stride in STRIDES:
        middles = np.repeat(grid_corners(width, height, stride) + np.float32(stride / 2), 2, axis=0)
        stop = start + len(middles)
        score = RawOutput(places[count, 2][0], 2, start, stop, FACE)
        box, points = (RawOutput(places[count, size][0], size, start, stop) for size in (4, 10))
        found.append(Level(stride, (score,), box, points, middles))
        start = stop
    return tuple(found)


def hits(outputs: Sequence[Raw], level: Level, threshold: float) -> tuple[NDArray[np.intp], Floats]:
    (score,) = level.scores
    pairs = outputs[score.index].reshape(-1, 2)
    anchors = (pairs >= threshold)[score.start : score.stop, FACE].nonzero()[0]
    return anchors, pairs[anchors + score.start, FACE]


def geometry(outputs: Sequence[Raw], level: Level, anchors: NDArray[np.intp]) -> Floats:
    """In sides of the prior, times a variance: a box is the offset of its center and the logarithms of its sides, a
    landmark an offset from the prior's center."""
    centers = level.centers[anchors]
    sides = np.array(SIDES[level.stride], np.float32)[anchors % 2, None]
    box = outputs[level.boxes.index].reshape(-1, 4)[anchors + level.boxes.start]
    points = outputs[level.landmarks.index].reshape(-1, 5, 2)[anchors + level.landmarks.start]
    middles = centers + box[:, :2] * (CENTER * sides)
    halves = np.exp(np.minimum(box[:, 2:] * np.float32(SIZE), LARGEST_LOG)) * (sides / 2)
    landmarks = centers[:, None] + points * (CENTER * sides[..., None])
    return np.concatenate([np.stack([middles - halves, middles + halves], axis=1), landmarks], axis=1)


# Preprocessing, threshold (vis_thres) and overlap are those of Pytorch_Retinaface (detect.py): means of B, G, R are
# 104, 117, 123. No weights were available to measure how faces score upside down: with 1, every photo is tried in its
# four turns, and ``clear`` is SCRFD's.
RETINAFACE = Family(
    name="RetinaFace",
    mean=(123.0, 117.0, 104.0),
    std=(1.0,) * 3,
    order="BGR",
    probability="Softmax",
    threshold=0.6,
    nms_iou=0.4,
    plain=1.0,
    clear=0.05,
    again=0.1,
    smallest_face=None,
    crowds=False,  # not measured
    shapes=shapes,
    levels=levels,
    hits=hits,
    geometry=geometry,
)
