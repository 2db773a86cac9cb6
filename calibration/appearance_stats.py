"""Statistics of a face in its photo: pose from the five landmarks, light and skin tone from the aligned crop.

They serve to select different faces and to draw histograms of a whole set. They are never stored for a single face.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rkface.runtime.vision.align import TEMPLATE
from rkface.runtime.vision.quality import FACE, TEMPLATE_EYES

CHEEKS = (
    (slice(42, 58), slice(12, 24)),
    (slice(42, 58), slice(42, 54)),
)  # rows and columns of FACE: both cheeks, beside the nose and under the eyes
NOSE = 0.45  # eye distances in front of the plane of the other landmarks, as in quality.pose_of
HEAD_MODEL = np.column_stack([TEMPLATE / TEMPLATE_EYES, (0, 0, NOSE, 0, 0)])
HEAD_MODEL -= HEAD_MODEL.mean(axis=0)


@dataclass(frozen=True)
class AppearanceStats:
    """The appearance of one face, as ``measure_appearance`` measures it.

    yaw, pitch, roll  in degrees; positive: nose to the right of the image, chin up, top of the head to the right
    light             mean L* (CIELAB, 0 to 100) of the face from brows to chin
    contrast          standard deviation of L* there
    side              mean L* of the face's right half in the image, minus that of the left half
    skin              individual typology angle of the cheeks in degrees, atan2(L* − 50, b*): above 55 very light, below
                      −30 dark (Chardon et al., International Journal of Cosmetic Science 13, 1991). It was defined for
                      colorimeters. In a photo, it also depends on the lamp and the white balance, so it is only a rough
                      estimate. Use it to select different faces, and for nothing else.
    """

    yaw: float
    pitch: float
    roll: float
    light: float
    contrast: float
    side: float
    skin: float


def measure_appearance(crop: NDArray[np.uint8], landmarks: NDArray[Any]) -> AppearanceStats:
    """Measure a face: its ``landmarks`` (5×2, pixels of the photo) and its ArcFace crop (112×112×3 uint8 BGR)."""
    lab = cv2.cvtColor(crop[FACE].astype(np.float32) / 255, cv2.COLOR_BGR2LAB)
    face = lab[..., 0]
    middle = face.shape[1] // 2
    # The median of both cheeks ignores shadows, hair, and the background beside a turned face.
    lightness, _, blue = np.median(np.concatenate([lab[place].reshape(-1, 3) for place in CHEEKS]), axis=0)
    return AppearanceStats(
        *head_angles(landmarks),
        light=float(face.mean()),
        contrast=float(face.std()),
        side=float(face[:, middle:].mean() - face[:, :middle].mean()),
        skin=float(np.degrees(np.arctan2(lightness - 50, blue))),
    )


def head_angles(landmarks: NDArray[Any]) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees of the head with ``landmarks`` (5×2, in pixels of any image).

    Scaled orthographic projection (the first step of POSIT, DeMenthon and Davis, IJCV 15, 1995) of a head model: eyes
    and mouth are in one plane, at the positions of ArcFace's template; the nose is 0.45 eye distances in front of it.
    """
    image = np.asarray(landmarks, np.float64) - np.mean(landmarks, axis=0)
    across, down, out = np.linalg.lstsq(HEAD_MODEL, image, rcond=None)[0]  # the three axes of the head in the image
    roll = np.arctan2(-down[0], down[1])
    upright = np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
    across, down, out = upright @ across, upright @ down, upright @ out
    yaw = np.arctan2(out[0], across[0])
    # Beyond 60° of yaw, the nose hardly shows the pitch: there the result is smaller than the real pitch.
    pitch = np.arctan2(-out[1] / max(float(np.cos(yaw)), 0.5), down[1])
    return float(np.degrees(yaw)), float(np.degrees(pitch)), float(np.degrees(roll))
