"""Changed copies of the faces that calibrate: mirrored, turned, lighter or darker, less sharp, partly covered, and
narrower or wider than any face.

Faces that calibration does not show have other activations, and INT8 cuts off what is beyond its range. Copies show
part of what is missing (docs/accuracy.md).
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# How far a copy may be from its face, and the shares of copies that are changed so. The copies need not look real.
ANGLE = 30.0  # degrees
SCALE = 0.1
NARROWED, NARROWEST = 0.2, 0.65  # smallest width
LIGHT_CHANGED, LOG_GAMMA, GAIN = 0.6, 0.7, (0.5, 1.3)  # the logarithm of the gray values' exponent; their factor
SHRUNK, SMALLEST = 0.3, 0.25
COVERED, COVER_WIDTH, COVER_HEIGHT = 0.15, 0.3, 0.35  # the least width, and the height of what covers the face
# Width of a squeezed copy as a share of its height. The inner layers answer to a face that is so narrow or wide as much
# as they answer to a person with a rare feature, up to three times as much as to any face that calibrates: no set of
# some dozen faces shows all the rare features.
SQUEEZED = (0.65, 1.5)

Image = NDArray[np.uint8]


def vary_faces(crops: Image) -> Image:
    """Two changed copies of each of ``crops`` (N×H×W×3 uint8), 2N×H×W×3: first one of each with small changes, then one
    of each that is narrow or wide, by turns. The same crops always give the same copies."""
    random = np.random.default_rng(0)
    squeezed = [_squeeze(crop, SQUEEZED[index % len(SQUEEZED)]) for index, crop in enumerate(crops)]
    return np.stack([_vary(crop, random) for crop in crops] + squeezed)


def shrink(image: Image, factor: float) -> Image:
    """``image`` (H×W×3 uint8), a face that was smaller in its photo by ``factor`` (0 to 1), enlarged to the size of the
    crop."""
    height, width = image.shape[:2]
    small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _squeeze(crop: Image, ratio: float) -> Image:
    """``crop`` with ``ratio`` times as much width for its height, and as large on the whole: a narrow face becomes a
    little taller, as alignment makes it."""
    height, width = crop.shape[:2]
    across, down = ratio**0.6, ratio**-0.4
    matrix = np.array([[across, 0, (1 - across) * width / 2], [0, down, (1 - down) * height / 2]])
    squeezed = cv2.warpAffine(np.ascontiguousarray(crop), matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(squeezed, np.uint8)


def _vary(crop: Image, random: np.random.Generator) -> Image:
    height, width = crop.shape[:2]
    image: NDArray[Any] = crop[:, ::-1] if random.random() < 0.5 else crop
    turn = cv2.getRotationMatrix2D(
        (width / 2, height / 2), random.uniform(-ANGLE, ANGLE), random.uniform(1 - SCALE, 1 + SCALE)
    )
    if random.random() < NARROWED:
        share = random.uniform(NARROWEST, 1)
        turn[0] *= share
        turn[0, 2] += (1 - share) * width / 2
    image = cv2.warpAffine(np.ascontiguousarray(image), turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
    if random.random() < LIGHT_CHANGED:
        exponent = np.exp(random.uniform(-LOG_GAMMA, LOG_GAMMA))
        image = np.clip((image / 255.0) ** exponent * 255 * random.uniform(*GAIN), 0, 255).astype(np.uint8)
    if random.random() < SHRUNK:
        image = shrink(np.asarray(image, np.uint8), random.uniform(SMALLEST, 1))
    if random.random() < COVERED:
        left, right = np.sort(random.random(2))
        top = random.uniform(0, 1 - COVER_HEIGHT)
        rows = slice(int(top * height), int((top + COVER_HEIGHT) * height))
        columns = slice(int(left * width), int(max(right, left + COVER_WIDTH) * width))
        image[rows, columns] = random.integers(0, 256, 3)
    return np.asarray(image, np.uint8)
