"""Which faces are worth an embedding: the best of each track since its last one, if it is good enough at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.faces import Faces
from ..vision.quality import SHARP, Quality, measure, pose_of
from .visit import RecognitionRules

HIDDEN = 0.7  # of its quality is what a face counts that another one overlaps: it may be half hidden
GAIN = 1.05  # times as good as the best so far a face must be to be worth another crop


@dataclass(frozen=True, eq=False)
class Candidate:
    """One face of a track that may be embedded.

    crop     112×112×3 uint8 BGR, aligned
    around   uint8 BGR, the face and what surrounds it, as liveness is shown it; None where it was not asked for
    box      x1 y1 x2 y2 as shares of the picture's width and height
    score    the detector's
    quality  0 to 1
    time     when it was seen, and ``since`` when the search for one began
    """

    crop: NDArray[np.uint8]
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
    rules: RecognitionRules,
    align: Callable[[NDArray[np.uint8], NDArray[np.float32]], NDArray[np.uint8]],
    overlapped: bool = False,
    surroundings: Callable[[NDArray[np.uint8], NDArray[np.float32]], NDArray[np.uint8]] | None = None,
) -> Candidate | None:
    """The one ``face`` in ``image`` as its track's candidate, where it is good enough and better than ``current``.
    ``surroundings`` cuts what liveness is shown from the image and the face's box.

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
    around = surroundings(image, face.boxes[0]) if surroundings else None
    box = shares(face.boxes[0], image.shape[1], image.shape[0])
    return Candidate(crop, around, box, score, worth * quality.score, now, current.since if current else now)


def shares(box: NDArray[Any], width: int, height: int) -> tuple[float, float, float, float]:
    """``box`` (x1 y1 x2 y2 in pixels) as shares of a picture's sides, inside it."""
    x1, y1, x2, y2 = np.clip(box / (width, height, width, height), 0, 1).tolist()
    return x1, y1, x2, y2
