"""Changes face crops at random, so that a model does not adapt to the few faces that calibrate it.

The changes are what a camera does to a face: another pose of the head in the picture, light, focus, distance and
compression, and something in front of the face (random erasing, arXiv 1708.04896).
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..vary_faces import Image, shrink


def augment(image: Image, random: np.random.Generator) -> Image:
    """``image`` (H×W×3 uint8, RGB or BGR), changed by draws from ``random``; the same size."""
    mirrored = np.ascontiguousarray(image[:, ::-1]) if random.random() < 0.5 else image
    changed = _move(mirrored, random)
    if random.random() < 0.15:
        changed = _cover(changed, random)
    changed = _expose(changed, random)
    if random.random() < 0.2:
        changed = np.asarray(cv2.GaussianBlur(changed, (0, 0), random.uniform(0.4, 1.8)), np.uint8)
    if random.random() < 0.2:
        changed = shrink(changed, random.uniform(0.3, 0.9))
    if random.random() < 0.3:
        changed = _compress(changed, int(random.integers(25, 90)))
    return changed


def _move(image: Image, random: np.random.Generator) -> Image:
    """Rotated by up to 20°, scaled by up to 12 % and shifted by up to 6 %. What was outside is black or repeats the
    edge."""
    height, width = image.shape[:2]
    angle, scale = random.uniform(-20, 20), random.uniform(0.88, 1.12)
    matrix = np.asarray(cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, scale), np.float64)
    matrix[:, 2] += random.uniform(-0.06, 0.06, 2) * (width, height)
    border = cv2.BORDER_CONSTANT if random.random() < 0.3 else cv2.BORDER_REPLICATE
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), borderMode=border), np.uint8)


def _cover(image: Image, random: np.random.Generator) -> Image:
    """A rectangle of one color covers up to a quarter of the face, as a mask or a hand does."""
    height, width = image.shape[:2]
    rows, columns = (int(side * random.uniform(0.15, 0.5)) for side in (height, width))
    top, left = random.integers(0, height - rows + 1), random.integers(0, width - columns + 1)
    covered = image.copy()
    covered[top : top + rows, left : left + columns] = random.integers(0, 256, 3)
    return covered


def _expose(image: Image, random: np.random.Generator) -> Image:
    """Gamma, brightness and white balance; one face in ten is gray, one in five has sensor noise."""
    values: NDArray[Any] = (image / 255.0) ** np.exp(random.uniform(-0.4, 0.4))
    gains = random.uniform(0.6, 1.25) * random.uniform(0.9, 1.1, 3)
    values = values * gains + random.uniform(-0.06, 0.06)
    if random.random() < 0.1:
        values[:] = values.mean(axis=2, keepdims=True)
    if random.random() < 0.2:
        values = values + random.normal(0, random.uniform(0.01, 0.05), values.shape)
    return np.asarray(np.clip(values * 255 + 0.5, 0, 255), np.uint8)


def _compress(image: Image, quality: int) -> Image:
    """Through JPEG of this ``quality``, 1 to 100."""
    _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
