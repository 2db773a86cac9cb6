"""How good one aligned face is to calibrate with or to enroll, from its pixels and five landmarks alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .align import CROP_SIZE, TEMPLATE, similarity

TEMPLATE_EYES = float(np.linalg.norm(TEMPLATE[1] - TEMPLATE[0]))  # 35.2 px: at this size a crop is one to one
PROFILE = 0.44  # see pose_of
SHARP = 0.2  # of 70 faces in press photos three quarters are above; the blurred ones behind them stay under 0.02
FACE = (slice(24, 104), slice(24, 88))  # brows to chin of a 112×112 crop: background says nothing about the face

# Below these a face is left out. More than twofold upscaling, or blur, is pixels that no camera made.
SMALLEST = TEMPLATE_EYES / 2
BLURRED = 0.03
CLIPPED = 0.4


@dataclass(frozen=True)
class Flaw:
    """Why a face is of no use: one of a few reasons, and the measure behind it."""

    reason: str
    detail: str


@dataclass(frozen=True)
class Quality:
    """What was measured on one face.

    size       distance between the eyes, in pixels of the photo
    sharpness  variance of the Laplacian over the variance of the gray values, on the aligned crop; 0.2 is sharp
    exposure   0..1: share of the face's pixels that are neither black nor burnt out
    pose       0..1: 1 looks into the camera, about 0.8 is turned by 30°, 0.4 by 60°, 0 a profile or no face
    detection  the detector's score
    score      0..1: all five together
    """

    size: float
    sharpness: float
    exposure: float
    pose: float
    detection: float

    @property
    def score(self) -> float:
        """The geometric mean of the five, each from 0 to 1: one bad measure pulls the whole down, as it does in
        recognition. Size and sharpness stop counting where more of them no longer shows in a 112×112 crop."""
        return math.pow(math.prod((*self._parts, self.pose)), 1 / 5)

    @property
    def clarity(self) -> float:
        """As ``score``, without the pose: a profile can be a good picture of a face."""
        return math.pow(math.prod(self._parts), 1 / 4)

    @property
    def _parts(self) -> tuple[float, float, float, float]:
        return (
            min(1.0, self.size / TEMPLATE_EYES),
            min(1.0, self.sharpness / SHARP),
            self.exposure,
            min(1.0, self.detection),
        )

    def flaw(self) -> Flaw | None:
        """What makes this face unusable, or None."""
        if self.pose <= 0:
            return Flaw("landmarks fit no face", "further from the template than a profile's")
        if self.size < SMALLEST:
            return Flaw("face too small", f"{self.size:.1f} px between the eyes, {SMALLEST:.1f} needed")
        if self.sharpness < BLURRED:
            return Flaw("face too blurred", f"sharpness {self.sharpness:.3f}, {BLURRED} needed")
        if self.exposure < CLIPPED:
            return Flaw("face too dark or burnt out", f"{1 - self.exposure:.0%} of its pixels are black or white")
        return None


def measure(crop: NDArray[np.uint8], landmarks: NDArray[Any], detection: float) -> Quality:
    """Measure the face at ``landmarks`` (5×2, pixels of the photo) that was aligned to ``crop`` (S×S×3 uint8 BGR)."""
    gray = cv2.cvtColor(standard(crop), cv2.COLOR_BGR2GRAY)[FACE].astype(np.uint8, copy=False)
    return Quality(
        size=float(np.linalg.norm(landmarks[1] - landmarks[0])),
        sharpness=sharpness_of(gray),
        # Only what is truly clipped counts: a limit on darkness would leave out dark skin.
        exposure=float(np.mean((gray > 5) & (gray < 250))),
        pose=pose_of(landmarks),
        detection=float(detection),
    )


def standard(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``crop`` (S×S×3) at 112×112: sharpness and places on the face are comparable at one size only."""
    if crop.shape[0] == CROP_SIZE:
        return crop
    return cv2.resize(crop, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def sharpness_of(gray: NDArray[np.uint8]) -> float:
    """Variance of the Laplacian (Pech-Pacheco et al., ICPR 2000) over the variance of ``gray`` (H×W uint8) itself, so
    that neither a flat light nor a dark skin makes a sharp face look blurred."""
    spread = float(gray.var())
    return float(cv2.Laplacian(gray, cv2.CV_64F).var()) / spread if spread else 0.0


def pose_of(landmarks: NDArray[Any]) -> float:
    """Frontalness, 0..1, of 5×2 ``landmarks`` in any pixels, whatever the roll.

    What remains between the landmarks and ArcFace's frontal template after the best similarity transform, root mean
    square, in eye distances. A head with ArcFace's template for a face and its nose 0.45 eye distances in front leaves
    0.10 at 30° of yaw or pitch, 0.25 at 60° and 0.44 (``PROFILE``) at 90°.
    """
    matrix = similarity(landmarks, TEMPLATE)
    placed = landmarks @ matrix[:, :2].T + matrix[:, 2]
    rest = float(np.sqrt(np.mean(np.sum((placed - TEMPLATE) ** 2, axis=1)))) / TEMPLATE_EYES
    return max(0.0, 1 - rest / PROFILE)
