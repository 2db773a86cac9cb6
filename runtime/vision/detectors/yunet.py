"""YuNet (Wu, Peng, Yu, "YuNet: A Tiny Millisecond-level Face Detector", 2023), as libfacedetection.train exports it.

Twelve outputs, one anchor per cell. Boxes, landmarks and scores are decoded as OpenCV's ``FaceDetectorYN`` does
(modules/objdetect/src/face_detect.cpp).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .family import LARGEST_LOG, STRIDES, Family, Floats, Level, RawOutput, Shape, grid_corners

if TYPE_CHECKING:
    from ...backends import Raw

ROUNDING = 1 - 1e-6  # the square of a threshold is rounded to float32


def shapes(width: int, height: int) -> dict[Shape, int]:
    """For each stride: cls and obj K×1, bbox K×4, kps K×10, with K = (H/stride)·(W/stride)."""
    counts = [(width // stride) * (height // stride) for stride in STRIDES]
    return {(count, channels): number for count in counts for channels, number in ((1, 2), (4, 1), (10, 1))}


def levels(places: Mapping[Shape, Sequence[int]], width: int, height: int) -> tuple[Level, ...]:
    """The two scores have the same shape. Which is cls and which is obj does not matter: only their product counts."""
    found = []
    for stride in STRIDES:
        corners = grid_corners(width, height, stride)
        scores = tuple(RawOutput(place, 1) for place in places[len(corners), 1])
        box, points = (RawOutput(places[len(corners), size][0], size) for size in (4, 10))
        found.append(Level(stride, scores, box, points, corners))
    return tuple(found)


def hits(outputs: Sequence[Raw], level: Level, threshold: float) -> tuple[NDArray[np.intp], Floats]:
    """The score is √(cls · obj), each clamped to 0..1, so that both must be at least the square of the threshold."""
    first, second = (outputs[score.index].reshape(-1) for score in level.scores)
    least = threshold * threshold * ROUNDING
    anchors = ((first >= least) & (second >= least)).nonzero()[0]
    score = np.sqrt(np.clip(first[anchors], 0, 1) * np.clip(second[anchors], 0, 1))
    passed = score >= threshold
    return anchors[passed], score[passed]


def geometry(outputs: Sequence[Raw], level: Level, anchors: NDArray[np.intp]) -> Floats:
    """In strides: a box is the offset of its center from the cell's corner and the logarithms of its sides, a landmark
    an offset from the corner."""
    corners, stride = level.centers[anchors], np.float32(level.stride)
    box = outputs[level.boxes.index].reshape(-1, 4)[anchors]
    points = outputs[level.landmarks.index].reshape(-1, 5, 2)[anchors]
    centers = corners + box[:, :2] * stride
    halves = np.exp(np.minimum(box[:, 2:], LARGEST_LOG)) * (stride / 2)
    box = np.stack([centers - halves, centers + halves], axis=1)
    return np.concatenate([box, corners[:, None] + points * stride], axis=1)


YUNET = Family(
    name="YuNet",
    mean=(0.0,) * 3,
    std=(1.0,) * 3,
    order="BGR",
    probability="Sigmoid",
    # Of the 74 faces that SCRFD-2.5G finds in 64 photos of public figures, yunet_n finds 74 at 0.6 (and 2 others) and
    # face_detection_yunet_2023mar 73 (5 others); at 0.9, FaceDetectorYN's default, both find 68.
    threshold=0.6,
    nms_iou=0.3,  # FaceDetectorYN's default
    # YuNet finds faces upside down with scores of up to 0.91, and landmarks as if they were upright. Upright, 65 of 85
    # have more than 0.92. The best score of an upright photo exceeds that of its other turns by 0.032 or more.
    plain=0.92,
    clear=0.03,
    again=0.2,  # with 0.1, yunet_n finds 19 instead of 11 faces in 304 pictures without faces; with 0.2, it finds 11
    smallest_face=16,  # 99 % of portraits by face_detection_yunet_2023mar, and all by yunet_n
    crowds=True,
    shapes=shapes,
    levels=levels,
    hits=hits,
    geometry=geometry,
)
