"""Makes crowds of small faces from photos: photos show a few large faces, but cameras also see small ones."""

from __future__ import annotations

from itertools import count

import cv2
import numpy as np
from numpy.typing import NDArray

TILES = (3, 3, 4, 4, 6, 6, 8, 8)  # tiles along each side of each mosaic: 250 tiles, so that each frame is used often


def make_mosaics(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """N×H×W×3 uint8 frames → 8×H×W×3 uint8 mosaics of them, shrunk to between a third and an eighth.

    The same frames always give the same mosaics. Every frame is used before any is used again; then it is mirrored.
    """
    height, width = frames.shape[1:3]
    order = np.random.default_rng(0).permutation(len(frames))
    made = np.zeros((len(TILES), height, width, 3), np.uint8)
    turn = count()
    for canvas, side in zip(made, TILES, strict=True):
        across, down = width // side, height // side
        for top in range(0, down * side, down):
            for left in range(0, across * side, across):
                at = next(turn)
                tile = cv2.resize(frames[order[at % len(order)]], (across, down), interpolation=cv2.INTER_AREA)
                mirrored = at // len(order) % 2
                canvas[top : top + down, left : left + across] = tile[:, ::-1] if mirrored else tile
    return made
