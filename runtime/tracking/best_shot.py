"""Which faces are worth an embedding: the best face of each track since its last embedding, if it is good enough."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.crop_template import CropTemplate
from ..core.faces import Faces
from ..vision.quality import SHARP, Quality, measure, pose_of, standard
from .rules import RecognitionRules

HIDDEN = 0.7  # factor for the quality of a face that another face overlaps: it may be half hidden
GAIN = 1.05  # a face must be this many times as good as the best one so far to be cropped

Crop = Callable[[NDArray[np.uint8], NDArray[np.float32]], NDArray[np.uint8]]  # image, landmarks or box → crop


@dataclass(frozen=True, eq=False)
class Candidate:
    """A face of a track that may be embedded. Times are in seconds of the watcher's clock.

    crop          height×width×3 uint8 BGR, aligned
    surroundings  uint8 BGR, the face and what surrounds it, for the liveness model; None without one
    box           x1 y1 x2 y2 as shares of the picture's width and height
    score         detection score
    quality       0 to 1
    time          when it was seen
    since         when the search for a candidate of this track began
    """

    crop: NDArray[np.uint8]
    surroundings: NDArray[np.uint8] | None
    box: tuple[float, float, float, float]
    score: float
    quality: float
    time: float
    since: float


class BestShots:
    """The best face of each track since its last embedding. Not thread-safe.

    ``align(image, landmarks)`` makes a candidate's ``crop`` as ``template`` wants it; ``crop_surroundings(image,
    box)`` makes its ``surroundings``, and is None without a liveness model.
    """

    def __init__(
        self, rules: RecognitionRules, align: Crop, template: CropTemplate, crop_surroundings: Crop | None = None
    ) -> None:
        self._rules, self._align, self._template = rules, align, template
        self._crop_surroundings = crop_surroundings
        self._candidates: dict[int, Candidate] = {}

    def __len__(self) -> int:
        return len(self._candidates)

    def __iter__(self) -> Iterator[tuple[int, Candidate]]:
        """Each track that has a candidate, with its candidate."""
        return iter(list(self._candidates.items()))

    def drop(self, track: int) -> None:
        """Forget the candidate of ``track``, because it was embedded or the track ended."""
        self._candidates.pop(track, None)

    def offer(self, track: int, image: NDArray[np.uint8], face: Faces, now: float, *, overlapped: bool = False) -> None:
        """Make ``face`` (exactly one) in ``image`` the candidate of ``track`` if it is good enough and better than the
        current one. ``overlapped``: another face overlaps it.

        Size, pose and score need no crop and limit how good a face can be. Most faces of a long track are rejected by
        them alone.
        """
        current = self._candidates.get(track)
        score, landmarks = float(face.scores[0]), face.landmarks[0]
        factor = HIDDEN if overlapped else 1.0
        required = GAIN * current.quality / factor if current else 0.0
        pose = pose_of(landmarks) if score >= self._rules.sure else 0.0
        limit = Quality(float(np.linalg.norm(landmarks[1] - landmarks[0])), SHARP, 1.0, pose, score)
        if pose < self._rules.pose or limit.flaw() or limit.score < required:
            return
        crop = self._align(image, landmarks)
        quality = measure(standard(image, landmarks, crop, self._template), landmarks, score)
        if quality.flaw() or quality.score < required:
            return
        around = self._crop_surroundings(image, face.boxes[0]) if self._crop_surroundings else None
        box = to_shares(face.boxes[0], image.shape[1], image.shape[0])
        since = current.since if current else now
        self._candidates[track] = Candidate(crop, around, box, score, factor * quality.score, now, since)


def to_shares(box: NDArray[Any], width: int, height: int) -> tuple[float, float, float, float]:
    """Return ``box`` (x1 y1 x2 y2 in pixels) as shares of the picture's width and height, clipped to 0 to 1."""
    x1, y1, x2, y2 = np.clip(box / (width, height, width, height), 0, 1).tolist()
    return x1, y1, x2, y2
