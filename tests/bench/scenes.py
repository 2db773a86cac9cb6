"""Frames with a known number of faces, put together from photos or, without any, from rendered people."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from rkface.convert.catalog import DEMO
from rkface.convert.demo.background import background
from rkface.convert.demo.render import BYSTANDERS, render_scene
from rkface.runtime.vision.detect import Detector
from rkface.runtime.vision.image import find_images, read_image

SHARED = Path(os.environ.get("RKFACE_SHARED") or Path(__file__).resolve().parents[3] / "shared")
ROOM = 2.0  # a portrait's side, in heights of its face: as far as hair and shoulders
SURE = 0.7
RENDERED, TRIES = 60, 12
Grid = tuple[int, int, float]  # rows and columns, and a portrait's side as a share of the frame's height
GRIDS: dict[int, Grid] = {0: (1, 1, 0.0), 1: (1, 1, 0.5), 5: (1, 5, 0.25), 20: (4, 5, 0.24)}


@dataclass(frozen=True)
class Material:
    """What a benchmark runs on. ``synthetic``: the demo pack on rendered people, for want of others."""

    detector: Path
    recognizer: Path
    photos: Path | None

    @property
    def synthetic(self) -> bool:
        return self.photos is None

    def images(self) -> Iterator[np.ndarray]:
        if self.photos:
            yield from map(read_image, find_images(self.photos))
        else:
            for seed in range(RENDERED):
                yield render_scene(seed, [BYSTANDERS[seed]], 480, 480, sizes=(180.0, 300.0)).image


def material(detector: Path | None, recognizer: Path | None, photos: Path | None) -> Material:
    """The models and photos that were given; else those beside the checkout; else the demo pack."""
    if detector and recognizer and photos:
        return Material(detector, recognizer, photos)
    models = SHARED / "models"
    if models.is_dir():
        return Material(models / "scrfd_2.5g_kps.onnx", models / "mobilefacenet_128.onnx", SHARED / "data/people")
    return Material(DEMO / "detector.onnx", DEMO / "recognizer.onnx", None)


def portraits(images: Iterable[np.ndarray], detector: Detector) -> list[tuple[np.ndarray, np.ndarray]]:
    """(S×S×3 image, box as a share of S) of each image's largest face, where the portrait shows just that face."""
    found = []
    for image in images:
        faces = detector.detect(image, SURE)
        if not len(faces):
            continue
        x1, y1, x2, y2 = faces.boxes[faces.largest()]
        side = int(ROOM * (y2 - y1))
        left, top = int((x1 + x2 - side) / 2), int((y1 + y2 - side) / 2)
        cut = image[max(top, 0) : top + side, max(left, 0) : left + side]
        around = max(-top, 0), max(top + side - image.shape[0], 0), max(-left, 0), max(left + side - image.shape[1], 0)
        square = cv2.copyMakeBorder(cut, *around, cv2.BORDER_REPLICATE)
        alone = detector.detect(cv2.copyMakeBorder(square, *(side // 2,) * 4, cv2.BORDER_CONSTANT))
        if len(alone) == 1:
            found.append((square, (alone.boxes[0] - side // 2) / side))
    return found


def scene(
    pictures: Sequence[np.ndarray], count: int, size: tuple[int, int], seed: int = 0, grid: Grid | None = None
) -> np.ndarray:
    """A frame of ``size`` (width, height): ``count`` of ``pictures`` on a drawn background, in the cells of ``grid`` or
    of that in GRIDS."""
    width, height = size
    random = np.random.default_rng([0xFACE5, seed, count])
    frame = background(random, width, height)
    rows, columns, share = grid or GRIDS[count]
    side = int(min(share * height, 0.96 * width / columns))
    chosen = random.choice(len(pictures), count, replace=count > len(pictures))
    for place, index in enumerate(chosen):
        row, column = divmod(place, columns)
        left = int((column + 0.5) * width / columns - side / 2)
        top = int((row + 0.5) * height / rows - side / 2)
        shrink = cv2.INTER_AREA if pictures[index].shape[0] > side else cv2.INTER_LINEAR
        frame[top : top + side, left : left + side] = cv2.resize(pictures[index], (side, side), interpolation=shrink)
    return frame


def fitting_scene(pictures: Sequence[np.ndarray], detector: Detector, count: int, size: tuple[int, int]) -> np.ndarray:
    """The first scene of ``size`` (width, height) in which ``detector`` finds just ``count`` faces, else the last of
    TRIES."""
    for seed in range(TRIES):
        frame = scene(pictures, count, size, seed)
        if len(detector.detect(frame)) == count:
            break
    return frame
