"""Five landmarks → an aligned face crop, by least-squares similarity transform."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# InsightFace's ArcFace template for 112×112 (insightface/utils/face_align.py, `arcface_dst`): left eye, right eye,
# nose, left and right mouth corner, in pixels.
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]],
    dtype=np.float64,
)
CROP_SIZE = 112


def similarity(source: NDArray[Any], target: NDArray[Any]) -> NDArray[np.float64]:
    """The 2×3 similarity (rotation, uniform scale, shift) that takes N×2 ``source`` points closest to ``target``.

    The closed form of Umeyama (TPAMI 1991) for the plane: with both point sets centred, scale·rotation is one complex
    number, the least-squares quotient of the two sets. ValueError where all source points coincide.
    """
    centre_source, centre_target = source.mean(axis=0), target.mean(axis=0)
    x, y = (source - centre_source).astype(np.float64).T
    u, v = (target - centre_target).astype(np.float64).T
    spread = float(x @ x + y @ y)
    if spread == 0:
        raise ValueError("landmarks coincide: no similarity transform takes them to a face")
    a, b = (x @ u + y @ v) / spread, (x @ v - y @ u) / spread
    rotation = np.array([[a, -b], [b, a]])
    return np.hstack([rotation, (centre_target - rotation @ centre_source)[:, None]])


def align(image: NDArray[np.uint8], landmarks: NDArray[Any], size: int = CROP_SIZE) -> NDArray[np.uint8]:
    """The face at ``landmarks`` (5×2, pixels of ``image``) as a ``size``×``size``×3 crop in the image's colour order.

    What lies outside the image is black, as in InsightFace's ``norm_crop``. Unlike there, a face more than 1.5 times as
    large as the crop is averaged down first: of a large face a plain warp takes every n-th pixel, and which ones
    depends on fractions of a pixel, which moved real embeddings to a cosine of 0.97 (docs/accuracy.md).
    """
    matrix = similarity(landmarks, TEMPLATE * (size / CROP_SIZE))
    by = round(1 / float(np.hypot(*matrix[:, 0])))
    if by > 1:
        image, matrix = _shrunk(image, matrix, size, by)
    crop = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=(0.0, 0.0, 0.0))
    return crop.astype(np.uint8, copy=False)


def _shrunk(
    image: NDArray[np.uint8], matrix: NDArray[np.float64], size: int, by: int
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The part of ``image`` that the crop comes from, shrunk ``by`` an integer, and ``matrix`` for it."""
    back = cv2.invertAffineTransform(matrix)
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]]) @ back[:, :2].T + back[:, 2]
    limits = np.array(image.shape[1::-1])
    first = np.clip(np.floor(corners.min(axis=0)) - by, 0, limits).astype(int)
    last = np.clip(np.ceil(corners.max(axis=0)) + by, 0, limits).astype(int)
    if (last <= first).any():  # the face lies outside: nothing to average
        return image, matrix
    part = image[first[1] : last[1], first[0] : last[0]]
    right, bottom = (int(side) for side in -(last - first) % by)
    if right or bottom:  # at the border of the image, or whole blocks would be lost
        part = cv2.copyMakeBorder(part, 0, bottom, 0, right, cv2.BORDER_REPLICATE).astype(np.uint8, copy=False)
    small = cv2.resize(part, (part.shape[1] // by, part.shape[0] // by), interpolation=cv2.INTER_AREA)
    # Pixel p of the small image covers the old ones around by·p + (by − 1)/2 + first.
    shift = matrix[:, :2] @ (first + (by - 1) / 2) + matrix[:, 2]
    return small.astype(np.uint8, copy=False), np.hstack([matrix[:, :2] * by, shift[:, None]])
