"""Which faces are worth an embedding: the best of each track since its last one, if it is good enough at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .faces import Faces
from .quality import SHARP, Quality, measure, pose_of
from .visit import Rules

AROUND = 4.0  # box sizes of picture that liveness is shown: the widest of MiniFASNet's crops (Silent-Face)
HIDDEN = 0.7  # of its quality is what a face counts that another one overlaps: it may be half hidden
GAIN = 1.05  # times as good as the best so far a face must be to be worth another crop


@dataclass(frozen=True, eq=False)
class Candidate:
    """One face of a track that may be embedded.

    crop       112×112×3 uint8 BGR, aligned
    landmarks  5×2 float32, pixels of ``around``
    around     h×w×3 uint8 BGR, the picture around the face; None where it was not asked for
    box        x1 y1 x2 y2 as shares of the picture's width and height
    score      the detector's
    quality    0 to 1
    time       when it was seen, and ``since`` when the search for one began
    """

    crop: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    around: NDArray[np.uint8] | None
    box: tuple[float, float, float, float]
    score: float
    quality: float
    time: float
    since: float


def better(
    current: Candidate | None,
    image: NDArray[np.uint8],
    face: Faces,
    *,
    now: float,
    rules: Rules,
    align: Callable[[NDArray[np.uint8], NDArray[np.float32]], NDArray[np.uint8]],
    overlapped: bool = False,
    surroundings: bool = False,
) -> Candidate | None:
    """The one ``face`` in ``image`` as its track's candidate, where it is good enough and better than ``current``.

    Size, pose and score need no crop and bound what a face can be worth: most faces of a long track end there.
    """
    score, landmarks = float(face.scores[0]), face.landmarks[0]
    worth = HIDDEN if overlapped else 1.0
    least = GAIN * current.quality / worth if current else 0.0
    pose = pose_of(landmarks) if score >= rules.sure else 0.0
    bound = Quality(float(np.linalg.norm(landmarks[1] - landmarks[0])), SHARP, 1.0, pose, score)
    if pose < rules.pose or bound.flaw() or bound.score < least:
        return None
    crop = align(image, landmarks)
    quality = measure(crop, landmarks, score)
    if quality.flaw() or quality.score < least:
        return None
    around = None
    if surroundings:
        around, landmarks = _around(image, face.boxes[0], landmarks)
    box = shares(face.boxes[0], image.shape[1], image.shape[0])
    return Candidate(crop, landmarks, around, box, score, worth * quality.score, now, current.since if current else now)


def shares(box: NDArray[Any], width: int, height: int) -> tuple[float, float, float, float]:
    """``box`` (x1 y1 x2 y2 in pixels) as shares of a picture's sides, inside it."""
    x1, y1, x2, y2 = np.clip(box / (width, height, width, height), 0, 1).tolist()
    return x1, y1, x2, y2


def _around(
    image: NDArray[np.uint8], box: NDArray[np.float32], landmarks: NDArray[np.float32]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A copy of the picture around a face, ``AROUND`` times its box where there is so much, and its landmarks there."""
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) * (AROUND / 2)
    left, top = np.maximum(centre - half, 0).astype(int).tolist()
    right, bottom = np.ceil(centre + half).astype(int).tolist()
    return image[top:bottom, left:right].copy(), (landmarks - (left, top)).astype(np.float32)
