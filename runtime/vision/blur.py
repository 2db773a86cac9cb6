"""Make faces in a picture unrecognizable."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Box = Sequence[float]  # x1 y1 x2 y2 in pixels; it may reach beyond the picture

CELLS = 4  # mean colors that remain of a blurred region, in each direction
MARGIN = 0.5  # of the face's size, blurred on each side of it: hair, ears and chin help to recognize somebody


def blur_faces(image: NDArray[np.uint8], boxes: Iterable[Box], keep: Box | None = None) -> NDArray[np.uint8]:
    """A copy of ``image`` (H×W×3 uint8) in which the faces in ``boxes`` are blurred beyond recognition.

    Of a face and a half of its size on each side, 4×4 mean colors remain: 48 numbers, of which about 2×2 colors show
    the face itself. What is shown is computed from these numbers alone, so no processing can recover more.
    ``keep``: a face to leave as it is, except where another face covers it.
    """
    boxes = list(boxes)
    blurred = image.copy()
    for box in boxes:
        _blur(blurred, _grown(box, MARGIN), image)
    if keep is not None:
        left, top, right, bottom = _clipped(keep, image)
        shown = np.ones((bottom - top, right - left, 1), bool)
        for box in boxes:
            x1, y1, x2, y2 = _clipped(box, image)
            shown[max(0, y1 - top) : max(0, y2 - top), max(0, x1 - left) : max(0, x2 - left)] = False
        part = blurred[top:bottom, left:right]
        part[:] = np.where(shown, image[top:bottom, left:right], part)
    return blurred


def _blur(target: NDArray[np.uint8], box: Box, source: NDArray[np.uint8]) -> None:
    """Blur the region ``box`` of ``target``, with the colors of ``source``."""
    left, top, right, bottom = _clipped(box, source)
    if right <= left or bottom <= top:
        return
    few = cv2.resize(source[top:bottom, left:right], (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    target[top:bottom, left:right] = cv2.resize(few, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)


def _grown(box: Box, margin: float) -> Box:
    x1, y1, x2, y2 = box
    across, down = margin * (x2 - x1), margin * (y2 - y1)
    return x1 - across, y1 - down, x2 + across, y2 + down


def _clipped(box: Box, image: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """``box`` in whole pixels inside ``image``."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = box
    left, right = (min(max(0, round_(value)), width) for value, round_ in ((x1, math.floor), (x2, math.ceil)))
    top, bottom = (min(max(0, round_(value)), height) for value, round_ in ((y1, math.floor), (y2, math.ceil)))
    return left, top, right, bottom
