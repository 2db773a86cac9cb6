"""Five landmarks → an aligned face crop, by least-squares similarity transform."""

from __future__ import annotations

import math
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
# Raised whenever the same landmarks give other pixels: embeddings from before may not be compared with those after.
ALIGNMENT = "arcface-112/2"  # 2: large faces are halved before the warp
PLAIN = 1 / 1.5  # crop pixels per image pixel from which on a plain warp passes over no pixel that matters


def similarity(source: NDArray[Any], target: NDArray[Any]) -> NDArray[np.float64]:
    """The 2×3 similarity (rotation, uniform scale, shift) that takes N×2 ``source`` points closest to ``target``.

    The closed form of Umeyama (TPAMI 1991) for the plane: with both point sets centered, scale·rotation is one complex
    number, the least-squares quotient of the two sets. ValueError where all source points coincide.
    """
    # In plain floats: numpy's overhead on five points would be a quarter of an alignment's whole time.
    points = [(float(x), float(y)) for x, y in source.tolist()]
    aims = [(float(u), float(v)) for u, v in target.tolist()]
    count = len(points)
    center_x, center_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    aim_x, aim_y = sum(u for u, _ in aims) / count, sum(v for _, v in aims) / count
    real = imaginary = spread = 0.0
    for (x, y), (u, v) in zip(points, aims, strict=True):
        across, down = x - center_x, y - center_y
        real += across * (u - aim_x) + down * (v - aim_y)
        imaginary += across * (v - aim_y) - down * (u - aim_x)
        spread += across * across + down * down
    if spread == 0:
        raise ValueError("landmarks coincide: no similarity transform takes them to a face")
    a, b = real / spread, imaginary / spread
    return np.array(
        [[a, -b, aim_x - a * center_x + b * center_y], [b, a, aim_y - b * center_x - a * center_y]], np.float64
    )


def align(image: NDArray[np.uint8], landmarks: NDArray[Any], size: int = CROP_SIZE) -> NDArray[np.uint8]:
    """The face at ``landmarks`` (5×2, pixels of ``image``) as a ``size``×``size``×3 crop in the image's color order.

    What lies outside the image is black, as in InsightFace's ``norm_crop``. Unlike there, a face more than 1.5 times as
    large as the crop is halved first, until it is not: of a large face a plain warp takes every n-th pixel, and which
    ones depends on fractions of a pixel, which moved real embeddings to a cosine of 0.97 (docs/accuracy.md).
    """
    matrix = similarity(landmarks, TEMPLATE * (size / CROP_SIZE))
    halvings = math.ceil(math.log2(PLAIN / math.hypot(*matrix[:, 0].tolist())))
    if halvings > 0:
        image, matrix = _shrunk(image, matrix, size, halvings)
    crop = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=(0.0, 0.0, 0.0))
    return crop.astype(np.uint8, copy=False)


def _shrunk(
    image: NDArray[np.uint8], matrix: NDArray[np.float64], size: int, halvings: int
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The part of ``image`` that the crop comes from, halved so many times, and ``matrix`` for it."""
    by = 2**halvings
    (a, _, shift_x), (b, _, shift_y) = matrix.tolist()
    # The crop is a square turned about its center: where that lies in the image, and how far the corners reach.
    square, x, y = a * a + b * b, size / 2 - shift_x, size / 2 - shift_y
    center = ((a * x + b * y) / square, (a * y - b * x) / square)
    reach = size / 2 * (abs(a) + abs(b)) / square + by
    left, top = (max(0, math.floor(middle - reach)) for middle in center)
    # Whole blocks, for which the image may end too early.
    columns, rows = (
        math.ceil((middle + reach - first) / by) * by for middle, first in zip(center, (left, top), strict=True)
    )
    part = image[top : top + max(rows, 0), left : left + max(columns, 0)]
    if not part.size:  # the face lies outside: nothing to average
        return image, matrix
    over_x, over_y = -part.shape[1] % by, -part.shape[0] % by
    if over_x or over_y:
        part = cv2.copyMakeBorder(part, 0, over_y, 0, over_x, cv2.BORDER_REPLICATE).astype(np.uint8, copy=False)
    for _ in range(halvings):  # OpenCV averages 2×2 eight times as fast as 4×4 at once
        part = cv2.resize(part, (part.shape[1] // 2, part.shape[0] // 2), interpolation=cv2.INTER_AREA).astype(
            np.uint8, copy=False
        )
    # Pixel p of the small image covers the old ones around by·p + (by − 1)/2 + first.
    x, y = left + (by - 1) / 2, top + (by - 1) / 2
    moved = [[a * by, -b * by, a * x - b * y + shift_x], [b * by, a * by, b * x + a * y + shift_y]]
    return part, np.array(moved, np.float64)
