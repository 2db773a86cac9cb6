"""Crowds of small faces from the photos at hand: photos show a few large ones, cameras also see others."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rkface.runtime.image import read_image

from .quantize import listed

TILES = (3, 3, 4, 4, 6, 6, 8, 8)  # tiles along each side, one mosaic each: 250 frames, so that each is seen often


def mosaics(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """N×H×W×3 frames → 8×H×W×3 mosaics of them, shrunk to a third to an eighth; the same frames give the same ones.

    Every frame is used before one comes again, and then mirrored.
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


def with_mosaics(dataset: Path, folder: Path) -> Path:
    """A calibration list of all that ``dataset`` lists and of mosaics of it, which are written to ``folder``.

    A detector's fine stride speaks of small faces only. Calibrated on photos without any, its scores end where those of
    stray background do: SCRFD-500M never says more than 0.5 to a face of 30 pixels then.
    """
    photos = listed(dataset)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    names = [path.resolve() for path in photos]
    for index, mosaic in enumerate(mosaics(np.stack([read_image(path) for path in photos]))):
        names.append((folder / f"{index}.png").resolve())
        cv2.imwrite(str(names[-1]), mosaic)
    target = folder / "dataset.txt"
    target.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return target
