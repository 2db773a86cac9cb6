"""Whether a recognizer tells faces apart, seen without labels: a face and its mirror image against other faces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.vision.embed import unit

# In standard deviations. Light and color are what a network with random weights tells faces apart by. Measured on 24
# faces, drawn 200 times from the 74 faces of 64 photos: three trained recognizers 2.6 to 8.8, 18 with random weights
# up to 1.8; dlib's ResNet-29 with a wrong normalization up to 1.6.
APART = 2.0
# By how much the raw cosine of a face and its mirror image must be higher than that of other faces. INT8 changes
# cosines by about 0.005 (recipe.AccuracyBar), so that nothing would be left of a smaller difference.
VISIBLE = 0.01
# Light of the mirror images: factors of red, green and blue.
LIGHTS = ((0.65, 0.65, 0.6), (1.3, 1.35, 1.45), (0.75, 0.7, 0.65), (1.5, 1.4, 1.3))

Floats = NDArray[np.float32]
Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Separation:
    """How well faces are told apart.

    own, others  mean raw cosine between a face and its mirror image, and between different faces
    distance     their difference in standard deviations
    centered     the same with the mirror images in another light, and with the common part of all embeddings taken off
    """

    own: float
    others: float
    distance: float
    centered: float

    @property
    def apart(self) -> bool:
        return self.centered >= APART and self.own > self.others + VISIBLE


def measure_separation(faces: Floats, mirrors: Floats, relit: Floats) -> Separation:
    """How well raw N×D embeddings of N ≥ 4 ``faces``, of their mirror images, and of their mirror images
    ``in_another_light`` are told apart."""
    own, others = _own_and_others(faces, mirrors)
    return Separation(float(own.mean()), float(others.mean()), _distance(own, others), _centered_distance(faces, relit))


def in_another_light(crops: Images) -> Images:
    """``crops`` (N×H×W×3 uint8 RGB), each darker or brighter, and warmer or colder."""
    factors = np.array(LIGHTS, np.float32)[np.arange(len(crops)) % len(LIGHTS)]
    return np.asarray(np.clip(crops * factors[:, None, None, :], 0, 255), np.uint8)


def _own_and_others(faces: Floats, mirrors: Floats) -> tuple[Floats, Floats]:
    """The cosine of each face with its own mirror image, and with each other one."""
    cosines = unit(faces) @ unit(mirrors).T
    return np.diagonal(cosines), cosines[~np.eye(len(cosines), dtype=bool)]


def _distance(own: Floats, others: Floats) -> float:
    spread = np.sqrt(max((own.var() + others.var()) / 2, 1e-6))
    return float((own.mean() - others.mean()) / spread)


def _centered_distance(faces: Floats, mirrors: Floats) -> float:
    """The distance with the common part taken off.

    Each half of the faces is centered on the mean of the other half: on its own mean, any faces would be apart.
    """
    half = np.arange(len(faces)) % 2 == 0
    distances = []
    for these, rest in ((half, ~half), (~half, half)):
        center = (faces[rest].mean(axis=0) + mirrors[rest].mean(axis=0)) / 2
        distances.append(_distance(*_own_and_others(faces[these] - center, mirrors[these] - center)))
    return float(np.mean(distances))
