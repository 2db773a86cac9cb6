"""The quality of a face for calibration and enrollment, measured on its pixels and its five landmarks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.crop_template import ARCFACE_112, CropTemplate
from .align import TEMPLATE, align, fit_similarity

TEMPLATE_EYES = float(np.linalg.norm(TEMPLATE[1] - TEMPLATE[0]))  # 35.2 px: a face of this size keeps its size
PROFILE = 0.44  # see pose_of
SHARP = 0.2  # three quarters of 70 faces in press photos are above; blurred faces in their background are under 0.02
FACE = (slice(24, 104), slice(24, 88))  # eyebrows to chin of a 112×112 crop, without background

# Faces below these limits are not used: their crops would contain pixels that no camera recorded.
SMALLEST = TEMPLATE_EYES / 2  # the crop would be enlarged more than twofold
BLURRED = 0.03
CLIPPED = 0.4
TILTED = 60.0  # degrees. Detectors misplace the landmarks of faces that lie on their side: the embedding is useless


@dataclass(frozen=True)
class Flaw:
    """Why a face cannot be used: the ``reason``, one of a few, and in ``detail`` the measurement."""

    reason: str
    detail: str


@dataclass(frozen=True)
class Quality:
    """The measurements of one face.

    size       distance between the eyes, in pixels of the photo
    sharpness  variance of the Laplacian over the variance of the gray values, on the aligned crop; 0.2 is sharp
    exposure   0 to 1: share of the face's pixels that are neither black nor white
    pose       0 to 1: 1 looks into the camera, about 0.8 is turned by 30°, 0.4 by 60°; 0 is a profile or not a face
    detection  0 to 1: the detector's score
    roll       degrees, -180 to 180: how far the face is turned clockwise in the image; 0 is upright
    score      0 to 1: all five together
    """

    size: float
    sharpness: float
    exposure: float
    pose: float
    detection: float
    roll: float = 0.0

    @property
    def score(self) -> float:
        """The geometric mean of the first five measurements, each 0 to 1: one bad value lowers the score, as it does in
        recognition. Size and sharpness are limited where more of them is no longer visible in a 112×112 crop."""
        return math.pow(math.prod((*self._parts, self.pose)), 1 / 5)

    @property
    def clarity(self) -> float:
        """Like ``score``, but without the pose: a profile can be a good picture of a face."""
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
        """The reason why this face cannot be used, or None."""
        if self.pose <= 0:
            return Flaw("landmarks fit no face", "further from the template than those of a profile")
        if abs(self.roll) > TILTED:
            return Flaw("face on its side", f"turned by {self.roll:.0f}°, {TILTED:.0f}° at most: turn the picture")
        if self.size < SMALLEST:
            return Flaw("face too small", f"{self.size:.1f} px between the eyes, {SMALLEST:.1f} needed")
        if self.sharpness < BLURRED:
            return Flaw("face too blurred", f"sharpness {self.sharpness:.3f}, {BLURRED} needed")
        if self.exposure < CLIPPED:
            return Flaw("face too dark or burnt out", f"{1 - self.exposure:.0%} of its pixels are black or white")
        return None


def measure(crop: NDArray[np.uint8], landmarks: NDArray[Any], detection: float) -> Quality:
    """Measure the face at ``landmarks`` (5×2, pixels of the photo), whose ArcFace crop is ``crop`` (112×112×3 uint8
    BGR, see ``standard``)."""
    gray = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)[FACE].astype(np.uint8, copy=False)
    pose, roll = _pose_and_roll(landmarks)
    return Quality(
        size=float(np.linalg.norm(landmarks[1] - landmarks[0])),
        sharpness=sharpness_of(gray),
        # Only clipped pixels count: a limit on darkness would exclude dark skin.
        exposure=float(np.mean((gray > 5) & (gray < 250))),
        pose=pose,
        detection=float(detection),
        roll=roll,
    )


def standard(
    image: NDArray[np.uint8], landmarks: NDArray[Any], crop: NDArray[np.uint8], template: CropTemplate
) -> NDArray[np.uint8]:
    """The face at ``landmarks`` (5×2) in ``image`` as ArcFace's 112×112×3 crop, whatever the recognizer takes:
    sharpness and positions on the face are comparable only at one geometry and with one interpolation. ``crop`` is the
    face as ``template`` wants it, and is used if that is ArcFace's crop.

    A crop of another template is not warped again: twice interpolated, a face seemed up to 1.8 times as sharp.
    """
    return crop if template.same_crop(ARCFACE_112) else align(image, landmarks)


def sharpness_of(gray: NDArray[np.uint8]) -> float:
    """Variance of the Laplacian (Pech-Pacheco et al., ICPR 2000) divided by the variance of ``gray`` (H×W uint8), so
    that flat light or dark skin does not make a sharp face seem blurred."""
    spread = float(gray.var())
    return float(cv2.Laplacian(gray, cv2.CV_64F).var()) / spread if spread else 0.0


def pose_of(landmarks: NDArray[Any]) -> float:
    """How frontal a face is, 0 to 1, from its 5×2 ``landmarks``. Size and roll do not matter.

    Measured is the root mean square error, in eye distances, between the landmarks and ArcFace's frontal template after
    the best similarity transform. For a head whose landmarks are the template, with the nose 0.45 eye distances in
    front, it is 0.10 at 30° of yaw or pitch, 0.25 at 60° and 0.44 (``PROFILE``) at 90°.
    """
    return _pose_and_roll(landmarks)[0]


def roll_of(landmarks: NDArray[Any]) -> float:
    """How far a face with these 5×2 ``landmarks`` is turned clockwise in the image, -180 to 180 degrees, after the best
    similarity transform to the upright template. A face that is upside down seems upright if the detector has put the
    landmarks of the eyes on the mouth."""
    return _pose_and_roll(landmarks)[1]


def _pose_and_roll(landmarks: NDArray[Any]) -> tuple[float, float]:
    """Both from one transform, in plain floats: numpy's overhead on five points would be most of the time."""
    a, b, shift_x, shift_y = fit_similarity(landmarks, ARCFACE_112.points)
    squares = sum(
        (a * x - b * y + shift_x - u) ** 2 + (b * x + a * y + shift_y - v) ** 2
        for (x, y), (u, v) in zip(landmarks.tolist(), ARCFACE_112.points, strict=True)
    )
    error = math.sqrt(squares / len(ARCFACE_112.points)) / TEMPLATE_EYES
    return max(0.0, 1 - error / PROFILE), math.degrees(math.atan2(-b, a))
