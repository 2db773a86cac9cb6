"""Face alignment: five landmarks to an aligned crop, with the least-squares similarity transform (Umeyama 1991)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.crop_template import ARCFACE_112, CropTemplate, Point
from ..core.errors import InputError

TEMPLATE = np.array(ARCFACE_112.points)  # 5×2: the frontal face that the pose of others is measured against
# A new number whenever the same landmarks give different pixels: old and new embeddings must not be compared. The name
# of the first template stays part of it, so that the identities of older galleries stay valid.
ALIGNMENT = "arcface-112/2"  # 2: large faces are halved before the warp
# a, b, x and y of the similarity transform that maps (u, v) to (a·u − b·v + x, b·u + a·v + y)
Similarity = tuple[float, float, float, float]
PLAIN = 1 / 1.5  # minimum scale, in crop pixels per image pixel, at which a plain warp skips no pixel that matters


def similarity(source: NDArray[Any], target: Sequence[Point]) -> NDArray[np.float64]:
    """``fit_similarity`` as a 2×3 matrix."""
    return _matrix(fit_similarity(source, target))


def fit_similarity(source: NDArray[Any], target: Sequence[Point]) -> Similarity:
    """The similarity transform (rotation, uniform scale, shift) that maps ``source`` (N×2) to ``target`` (N points)
    with the least squared error.

    This is the closed form of Umeyama (TPAMI 1991) in the plane: with both point sets centered, scale · rotation is
    one complex number, the least-squares quotient of the two sets. Raises InputError if all source points coincide,
    if no rotation and scale bring them nearer to ``target``, or if one of them is not finite.
    """
    # In plain floats: numpy's overhead on five points would be a quarter of the time of an alignment.
    points = source.tolist()
    count = len(points)
    (xs, ys), (us, vs) = zip(*points, strict=True), zip(*target, strict=True)
    center_x, center_y, goal_x, goal_y = sum(xs) / count, sum(ys) / count, sum(us) / count, sum(vs) / count
    real = imaginary = spread = 0.0
    for (x, y), (u, v) in zip(points, target, strict=True):
        across, down = x - center_x, y - center_y
        real += across * (u - goal_x) + down * (v - goal_y)
        imaginary += across * (v - goal_y) - down * (u - goal_x)
        spread += across * across + down * down
    if not math.isfinite(spread):
        raise InputError("a landmark is NaN or infinite, so the face cannot be aligned: use those of a detected face")
    if spread == 0:
        raise InputError("the five landmarks coincide, so the face cannot be aligned: use those of a detected face")
    if real == imaginary == 0:
        raise InputError("the five landmarks are in no order of a face, so it cannot be aligned: use those of a face")
    a, b = real / spread, imaginary / spread
    return a, b, goal_x - a * center_x + b * center_y, goal_y - b * center_x - a * center_y


def _matrix(transform: Similarity) -> NDArray[np.float64]:
    a, b, x, y = transform
    return np.array(((a, -b, x), (b, a, y)), np.float64)


def align(
    image: NDArray[np.uint8],
    landmarks: NDArray[Any],
    template: CropTemplate = ARCFACE_112,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """The face at ``landmarks`` (5×2, pixels of ``image``) as ``template`` wants it: a height×width×3 uint8 crop, in
    the color order of ``image`` (H×W×3), in ``out`` if given.

    Parts outside the image are black, as in InsightFace's ``norm_crop``. Unlike there, a face more than 1.5 times as
    large as the crop is halved first, as often as needed. A plain warp takes every n-th pixel of a large face, and
    fractions of a pixel decide which ones; this moved real embeddings to a cosine of 0.97 (docs/accuracy.md).
    """
    transform = fit_similarity(landmarks, template.points)
    size = template.width, template.height
    a, b, _, _ = transform
    halvings = math.ceil(math.log2(PLAIN / math.hypot(a, b)))
    if halvings > 0:
        image, transform = _shrunk(image, transform, size, halvings)
    if out is None:
        out = np.empty((template.height, template.width, 3), np.uint8)
    cv2.warpAffine(image, _matrix(transform), size, dst=out)  # bilinear, black outside
    return out


def _shrunk(
    image: NDArray[np.uint8], transform: Similarity, size: tuple[int, int], halvings: int
) -> tuple[NDArray[np.uint8], Similarity]:
    """The region of ``image`` that the crop comes from, halved ``halvings`` times, and the ``transform`` for it."""
    # Landmarks that are nearly in no order of a face give a scale near 0: an image of one pixel cannot be halved.
    halvings = min(halvings, max(image.shape).bit_length() - 1)
    by = 2**halvings
    a, b, shift_x, shift_y = transform
    # In the image, the crop is a rotated rectangle: its center, and how far its corners reach.
    width, height = size
    square, x, y = a * a + b * b, width / 2 - shift_x, height / 2 - shift_y
    across, down = (a * x + b * y) / square, (a * y - b * x) / square
    reach_x = (width * abs(a) + height * abs(b)) / 2 / square + by
    reach_y = (width * abs(b) + height * abs(a)) / 2 / square + by
    left, top = max(0, math.floor(across - reach_x)), max(0, math.floor(down - reach_y))
    # Complete blocks, which may reach beyond the image.
    columns, rows = math.ceil((across + reach_x - left) / by) * by, math.ceil((down + reach_y - top) / by) * by
    part: NDArray[Any] = image[top : top + max(rows, 0), left : left + max(columns, 0)]
    if not part.size:  # the face lies outside the image: there is nothing to average
        return image, transform
    over_x, over_y = -part.shape[1] % by, -part.shape[0] % by
    if over_x or over_y:
        part = cv2.copyMakeBorder(part, 0, over_y, 0, over_x, cv2.BORDER_REPLICATE)
    for _ in range(halvings):  # OpenCV averages 2×2 blocks eight times as fast as 4×4 blocks
        part = cv2.resize(part, (part.shape[1] // 2, part.shape[0] // 2), interpolation=cv2.INTER_AREA)
    # Pixel p of the small image covers the pixels around by·p + (by − 1)/2 + first of the original.
    x, y = left + (by - 1) / 2, top + (by - 1) / 2
    return part, (a * by, b * by, a * x - b * y + shift_x, b * x + a * y + shift_y)
