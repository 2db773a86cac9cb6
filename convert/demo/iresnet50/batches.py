"""The faces of each training step. Step s always gets the same faces, so an interrupted training needs no record."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ...tuning.distill.augment import augment
from ..identity import TRAIN
from ..render import render_crop

Crops = NDArray[np.uint8]

# Rendering a face takes as long as a step of the small network on half a face, so only some of a batch are new.
FIRST, NEW, LARGEST = 512, 8, 12_000  # rendered faces at the first step, more at each step, and at most
PHOTOS = 0.4  # share of a batch, if there are photos
MIXED = 0.5  # share of the faces that are put together from two


class Batches:
    """Rendered faces, and if given faces from photos (N×112×112×3 uint8 BGR), changed at random."""

    def __init__(self, seed: int, photos: Crops | None) -> None:
        self._seed = seed
        self._photos = photos
        self._rendered: dict[int, Crops] = {}

    def batch(self, step: int, size: int) -> tuple[Crops, NDArray[np.bool_]]:
        """``size`` faces for ``step``, B×112×112×3 uint8 BGR, and which of them are from photos."""
        random = np.random.default_rng([0x1E5, self._seed, step])
        photos = np.arange(size) < (round(size * PHOTOS) if self._photos is not None else 0)
        return np.stack([self._face(random, bool(photo), step) for photo in photos]), photos

    def _face(self, random: np.random.Generator, photo: bool, step: int) -> Crops:
        face = self._pick(random, photo, step)
        if random.random() < MIXED:
            face = mix(face, self._pick(random, photo, step), random)
        return augment(face, random)

    def _pick(self, random: np.random.Generator, photo: bool, step: int) -> Crops:
        if photo:
            assert self._photos is not None
            face: Crops = self._photos[random.integers(len(self._photos))]
            return face[:, ::-1] if random.random() < 0.5 else face
        return self._render(int(random.integers(min(FIRST + NEW * step, LARGEST))))

    def _render(self, index: int) -> Crops:
        if index not in self._rendered:
            shot, person = divmod(index, len(TRAIN))
            self._rendered[index] = render_crop(self._seed * 1_000 + shot, TRAIN[person])
        return self._rendered[index]


def mix(first: Crops, second: Crops, random: np.random.Generator) -> Crops:
    """A face with parts of both: aligned faces have eyes, nose and mouth in the same places. A soft straight line at a
    random place separates the parts."""
    height, width = first.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle = random.uniform(0, 2 * np.pi)
    center = random.uniform(0.25, 0.75, 2) * (height, width)
    distance = (y - center[0]) * np.sin(angle) + (x - center[1]) * np.cos(angle)
    share = 1 / (1 + np.exp(-distance / random.uniform(2, 20)))[..., None]
    return np.asarray(share * first + (1 - share) * second + 0.5, np.uint8)


def resize(crops: Crops, side: int) -> Crops:
    """``crops`` with ``side``×``side`` pixels."""
    if crops.shape[1] == side:
        return crops
    return np.stack([cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA) for crop in crops])
