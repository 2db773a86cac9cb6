"""The constant part of a recognizer's embeddings: what all faces have in common.

Some recognizers, such as dlib's ResNet-29, are trained by Euclidean distance. Their embeddings lie around a point that
is not 0, so that raw cosines of different people are near 0.85. With this point taken off, they are near 0, as those of
models that are trained by angle (ArcFace). Distances stay the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Two faces count as one person's if they are at most this many times as far apart as a face and its mirror image in
# another light (the median of all faces). Measured on 300 labeled pairs: of 38 of one person, dlib's ResNet-29 has 34
# closer than that, and MobileFaceNet 10; of 262 of different people, both have none.
SAME_PERSON_RADIUS = 2.2
# Mean raw cosine between different people from which a constant is taken off. Seen: 0.04 with MobileFaceNet, -0.01 with
# the demo recognizer, and 0.83 to 0.89 with dlib's ResNet-29. At 0.25, half of an embedding's length is the constant.
CONSTANT_COSINE = 0.25

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class EmbeddingCenter:
    """The constant part of N embeddings.

    values  D float64: the mean over people
    faces   N
    people  about how many people the faces show, rather too many than too few
    cosine  mean raw cosine between different people; 0 if there are no two people
    """

    values: Floats
    faces: int
    people: float
    cosine: float

    @property
    def needed(self) -> bool:
        """Whether cosines are useless unless the constant is taken off."""
        return self.cosine > CONSTANT_COSINE


def measure_center(raw: NDArray[np.float32], relit: NDArray[np.float32]) -> EmbeddingCenter:
    """The constant part of ``raw``, N×D embeddings of N ≥ 1 faces as the model outputs them, not scaled to unit length.

    ``relit`` are those of the faces' mirror images in another light. Who is on the photos is not known, so that a
    person with many photos must not decide: each face counts 1 / (faces of the same person, as far as can be told).
    """
    faces = raw.astype(np.float64)
    radius = SAME_PERSON_RADIUS * float(np.median(np.linalg.norm(faces - relit, axis=1)))
    squares = (faces**2).sum(axis=1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * faces @ faces.T, 0))
    close = (distances <= radius) | np.eye(len(faces), dtype=bool)
    weights = 1 / close.sum(axis=1)
    units = faces / np.maximum(np.sqrt(squares), np.finfo(np.float64).tiny)[:, None]
    counted = np.outer(weights, weights) * ~close
    cosine = float((counted * (units @ units.T)).sum() / counted.sum()) if counted.any() else 0.0
    return EmbeddingCenter(weights @ faces / weights.sum(), len(faces), float(weights.sum()), cosine)
