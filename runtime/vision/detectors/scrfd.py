"""SCRFD (arXiv 2105.04714), as InsightFace exports it with landmarks: nine outputs, two anchors per cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .family import STRIDES, Family, Floats, Level, RawOutput, Shape, as_float32, grid_corners

if TYPE_CHECKING:
    from ...backends import Raw

ANCHORS = 2  # per cell, at every stride
# By stride: input pixels of one unit of the two corners of a box and the five landmarks. The first two distances go
# left and up.
UNITS = {stride: np.array([[-stride]] + [[stride]] * 6, np.float32) for stride in STRIDES}


def shapes(width: int, height: int) -> dict[Shape, int]:
    """Scores K×1, box distances K×4 and landmark offsets K×10 of each stride, K = (H/stride)·(W/stride)·2."""
    counts = [(width // stride) * (height // stride) * ANCHORS for stride in STRIDES]
    return {(count, channels): 1 for count in counts for channels in (1, 4, 10)}


def levels(places: Mapping[Shape, Sequence[int]], width: int, height: int) -> tuple[Level, ...]:
    """The anchors are the corners of the cells; the two of one cell are next to each other."""
    found = []
    for stride in STRIDES:
        centers = np.repeat(grid_corners(width, height, stride), ANCHORS, axis=0)
        score, box, points = (RawOutput(places[len(centers), size][0], size) for size in (1, 4, 10))
        found.append(Level(stride, (score,), box, points, centers))
    return tuple(found)


def hits(outputs: Sequence[Raw], level: Level, threshold: float) -> tuple[NDArray[np.intp], Floats]:
    score = outputs[level.scores[0].index].reshape(-1)
    anchors = (score >= as_float32(threshold)).nonzero()[0]
    return anchors, score.take(anchors, 0)


def geometry(outputs: Sequence[Raw], level: Level, anchors: NDArray[np.intp]) -> Floats:
    """A box is four distances from the anchor to its edges, a landmark an offset from it, both in strides."""
    # take(…) needs half the time of […] if numpy's code is not in the processor's caches, as after an inference.
    distances = outputs[level.boxes.index].reshape(-1, 2, 2).take(anchors, 0)
    offsets = outputs[level.landmarks.index].reshape(-1, 5, 2).take(anchors, 0)
    points: Floats = np.concatenate([distances, offsets], axis=1)
    points *= UNITS[level.stride]
    points += level.centers.take(anchors, 0).reshape(-1, 1, 2)
    return points


# Preprocessing and defaults are InsightFace's (insightface/model_zoo/scrfd.py).
SCRFD = Family(
    name="SCRFD",
    mean=(127.5,) * 3,
    std=(128.0,) * 3,
    order="RGB",
    probability="Sigmoid",
    threshold=0.5,
    nms_iou=0.4,
    plain=0.8,  # of 128 faces of SCRFD-500M and SCRFD-2.5G in upright photos, 100 have it; upside down, none (0.77)
    clear=0.05,  # upright faces lead by 0.059 or more
    again=0.1,  # in pictures without faces, the additional looks find something at a score of up to 0.55
    smallest_face=16,  # SCRFD-2.5G and SCRFD-500M
    crowds=False,
    shapes=shapes,
    levels=levels,
    hits=hits,
    geometry=geometry,
)
