"""Frames with a known number of faces, made from photos or, without photos, from rendered people."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from rkface.convert.demo.background import background
from rkface.convert.demo.render import BYSTANDERS, render_scene
from rkface.convert.packs.pack import DEMO
from rkface.runtime.vision.detect import Detector
from rkface.runtime.vision.image import read_image
from rkface.runtime.vision.photo_files import find_images

SHARED = Path(os.environ.get("RKFACE_SHARED") or Path(__file__).resolve().parents[3] / "shared")
PORTRAIT_SIDE = 2.0  # side of a portrait, in heights of its face: enough for hair and shoulders
PORTRAIT_SCORE = 0.7  # of a face that is clear enough for a portrait
RENDERED = 60  # people
TRIES = 12
Grid = tuple[int, int, float]  # rows, columns, and the side of a portrait as a share of the frame's height
GRIDS: dict[int, Grid] = {0: (1, 1, 0.0), 1: (1, 1, 0.5), 5: (1, 5, 0.25), 20: (4, 5, 0.24)}  # by number of faces


@dataclass(frozen=True)
class Material:
    """Models and photos that a benchmark uses. Without ``photos``, it uses rendered people."""

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


@dataclass(frozen=True)
class Portrait:
    """``image``: S×S×3 uint8 BGR with one face; ``box``: that of the face, as shares of S."""

    image: np.ndarray
    box: np.ndarray


def choose_material(
    detector: Path | None = None, recognizer: Path | None = None, photos: Path | None = None
) -> Material:
    """The named models and photos; otherwise those in SHARED; otherwise the demo pack."""
    if detector and recognizer and photos:
        return Material(detector, recognizer, photos)
    models = SHARED / "models"
    if models.is_dir():
        return Material(models / "scrfd_2.5g_kps.onnx", models / "mobilefacenet_128.onnx", SHARED / "data/people")
    return Material(DEMO / "detector.onnx", DEMO / "recognizer.onnx", None)


def cut_portraits(images: Iterable[np.ndarray], detector: Detector) -> list[Portrait]:
    """A portrait of the largest face of each image, unless ``detector`` finds none or several faces in it."""
    portraits = []
    for image in images:
        faces = detector.detect(image, PORTRAIT_SCORE)
        if not len(faces):
            continue
        x1, y1, x2, y2 = faces.boxes[faces.largest()]
        side = int(PORTRAIT_SIDE * (y2 - y1))
        left, top = int((x1 + x2 - side) / 2), int((y1 + y2 - side) / 2)
        cut = image[max(top, 0) : top + side, max(left, 0) : left + side]
        around = max(-top, 0), max(top + side - image.shape[0], 0), max(-left, 0), max(left + side - image.shape[1], 0)
        square = cv2.copyMakeBorder(cut, *around, cv2.BORDER_REPLICATE)
        found = detector.detect(cv2.copyMakeBorder(square, *(side // 2,) * 4, cv2.BORDER_CONSTANT))
        if len(found) == 1:
            portraits.append(Portrait(square, (found.boxes[0] - side // 2) / side))
    return portraits


def draw_scene(
    pictures: Sequence[np.ndarray], count: int, size: tuple[int, int], seed: int = 0, grid: Grid | None = None
) -> np.ndarray:
    """A frame of ``size`` (width, height) with ``count`` of ``pictures`` on a drawn background.

    The pictures lie in the cells of ``grid``, by default the one in GRIDS.
    """
    width, height = size
    random = np.random.default_rng([0xFACE5, seed, count])
    frame = background(random, width, height)
    rows, columns, share = grid or GRIDS[count]
    side = int(min(share * height, 0.96 * width / columns))
    chosen = random.choice(len(pictures), count, replace=count > len(pictures))
    for cell, index in enumerate(chosen):
        row, column = divmod(cell, columns)
        left = int((column + 0.5) * width / columns - side / 2)
        top = int((row + 0.5) * height / rows - side / 2)
        frame[top : top + side, left : left + side] = resize(pictures[index], side, side)
    return frame


def resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """``image`` in another size: averaged if it becomes smaller, interpolated if it becomes larger."""
    interpolation = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=interpolation)


def draw_scene_with(
    pictures: Sequence[np.ndarray], detector: Detector, count: int, size: tuple[int, int]
) -> np.ndarray:
    """The first scene of ``size`` (width, height) in which ``detector`` finds exactly ``count`` faces.

    After TRIES scenes without success, the last one.
    """
    for seed in range(TRIES):
        frame = draw_scene(pictures, count, size, seed)
        if len(detector.detect(frame)) == count:
            break
    return frame
