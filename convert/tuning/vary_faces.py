"""Changed copies of the faces that calibrate: mirrored, turned, lighter or darker, and less sharp.

Activations of faces that calibration does not show are larger than those it shows, and INT8 cuts them off. Copies show
part of what is missing (docs/accuracy.md).
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# How far a copy may be from its face. Chosen to be less than what people do in front of a camera.
ANGLE = 20.0  # degrees
SCALE = 0.08
LOG_GAMMA = 0.6  # natural logarithm of the exponent of the gray values
GAIN = (0.75, 1.2)
BLUR = (0.005, 0.014)  # standard deviation, as a share of the width: 0.6 to 1.6 px of 112
SHRINK = (0.35, 0.7)
LIGHT_CHANGED, BLURRED, SHRUNK = 0.6, 0.3, 0.3  # shares of the copies

Image = NDArray[np.uint8]


def vary_faces(crops: Image) -> Image:
    """A changed copy of each of ``crops`` (N×H×W×3 uint8). The same crops always give the same copies."""
    random = np.random.default_rng(0)
    copies = np.empty_like(crops)
    for crop, copy in zip(crops, copies, strict=True):
        copy[:] = _vary(crop, random)
    return copies


def _vary(crop: Image, random: np.random.Generator) -> Image:
    height, width = crop.shape[:2]
    image: NDArray[Any] = crop[:, ::-1] if random.random() < 0.5 else crop
    turn = cv2.getRotationMatrix2D(
        (width / 2, height / 2), random.uniform(-ANGLE, ANGLE), random.uniform(1 - SCALE, 1 + SCALE)
    )
    image = cv2.warpAffine(np.ascontiguousarray(image), turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
    if random.random() < LIGHT_CHANGED:
        exponent = np.exp(random.uniform(-LOG_GAMMA, LOG_GAMMA))
        image = np.clip((image / 255.0) ** exponent * 255 * random.uniform(*GAIN), 0, 255).astype(np.uint8)
    if random.random() < BLURRED:
        image = cv2.GaussianBlur(image, (0, 0), random.uniform(*BLUR) * width)
    if random.random() < SHRUNK:
        scale = random.uniform(*SHRINK)
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, (width, height))
    return np.asarray(image, np.uint8)
