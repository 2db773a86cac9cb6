"""The picture of a test message: drawn, so that it shows nobody, in the size of the pictures of alerts."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.picture_kind import PictureKind

SIDES: dict[PictureKind, tuple[int, int]] = {"face": (320, 320), "frame": (1280, 720)}  # width, height
LIGHT, DARK, SKIN = (214, 220, 222), (60, 60, 60), (150, 190, 235)  # BGR


def draw_sample(kind: PictureKind) -> NDArray[np.uint8]:
    """A drawn face with the word "test" (H×W×3 uint8 BGR), as large as a picture of this ``kind`` can be: "face" or
    "frame"."""
    width, height = SIDES[kind]
    image = np.full((height, width, 3), LIGHT, np.uint8)
    x, y, unit = width // 2, height * 2 // 5, height // 16
    cv2.ellipse(image, (x, y), (4 * unit, 5 * unit), 0, 0, 360, SKIN, cv2.FILLED, cv2.LINE_AA)
    for side in (-1, 1):
        cv2.circle(image, (x + side * 3 * unit // 2, y - unit), unit // 2, DARK, cv2.FILLED, cv2.LINE_AA)
    cv2.ellipse(image, (x, y + unit), (2 * unit, unit), 0, 20, 160, DARK, max(2, unit // 5), cv2.LINE_AA)
    scale, thick = height / 200, max(2, height // 120)
    (wide, _), _ = cv2.getTextSize("rkface: test", cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
    cv2.putText(
        image, "rkface: test", (x - wide // 2, height - unit), cv2.FONT_HERSHEY_SIMPLEX, scale, DARK, thick, cv2.LINE_AA
    )
    return image
