"""Rendered training samples, rendered on all cores and kept in memory."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import get_context

import cv2
import numpy as np
from numpy.typing import NDArray

from rkface.runtime.vision.letterbox import letterbox

from .identity import TRAIN
from .losses import Targets, anchors, assign
from .render import Scene, render_crop, render_scene

# A 640×480 scene fills 416×312 of the detector's input; the other 104 of its 416 rows are black. Training with only 8
# of these rows gives the same result in three quarters of the time.
WIDTH, HEIGHT = 416, 320
_SCALE = WIDTH / 640
_MIRRORED = [1, 0, 2, 4, 3]  # landmarks after a left-right flip
_PART = 32

Advance = Callable[[int, int], None]


@dataclass(frozen=True)
class Crops:
    """Aligned faces: images N×112×112×3 uint8 BGR, labels N int64."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class TrainingFrame:
    """One scene in the detector's input: image HEIGHT×WIDTH×3 uint8 BGR, boxes N×4, landmarks N×5×2 in its pixels."""

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    landmarks: NDArray[np.float32]


def crops(people: int, each: int, seed: int, workers: int, advance: Advance) -> Crops:
    """``each`` faces of each of the first ``people`` identities of TRAIN; labels count from 0."""
    numbers = list(TRAIN)[:people]
    images = np.empty((people * each, 112, 112, 3), np.uint8)
    with _pool(workers) as pool:
        for index, faces in enumerate(pool.map(partial(_faces, each, seed), numbers, chunksize=4)):
            images[index * each : (index + 1) * each] = faces
            advance(index + 1, people)
    return Crops(images, np.repeat(np.arange(people), each))


def frames(count: int, seed: int, workers: int, advance: Advance) -> list[TrainingFrame]:
    found: list[TrainingFrame] = []
    with _pool(workers) as pool:
        for frame in pool.map(partial(_frame, seed), range(count), chunksize=_PART):
            found.append(frame)
            advance(len(found), count)
    return found


def training_scene(seed: int, index: int) -> Scene:
    """Scene ``index`` of ``seed``, with 0 to 6 people out of TRAIN."""
    random = np.random.default_rng([0x7EA1, seed, index])
    people = random.choice(np.asarray(TRAIN), int(random.integers(0, 7)), replace=False)
    return render_scene(seed * 1_000_000 + index, people.tolist(), covered=0.15)


def window(frame: TrainingFrame, side: int, random: np.random.Generator) -> TrainingFrame:
    """A ``side``×``side`` part of ``frame``, usually with a face: a few of the pixels, but most of the information.

    Faces at the edge are painted over, because half a face is neither a positive nor a negative example.
    """
    room = np.array((WIDTH - side, HEIGHT - side))
    corner = random.uniform((0, 0), room)
    fitting = frame.boxes[(frame.boxes[:, 2:] - frame.boxes[:, :2]).max(axis=1, initial=0) <= 0.9 * side]
    if len(fitting) and random.uniform() < 0.85:
        box = fitting[random.integers(len(fitting))]
        corner = np.clip(box[:2] - random.uniform(0, 1, 2) * (side - (box[2:] - box[:2])), 0, room)
    x, y = (int(value) for value in corner)
    image = frame.image[y : y + side, x : x + side].copy()
    boxes, landmarks = frame.boxes - np.tile([x, y], 2), frame.landmarks - (x, y)
    whole = (boxes[:, :2] >= -2).all(axis=1) & (boxes[:, 2:] <= side + 2).all(axis=1)
    for x1, y1, x2, y2 in np.clip(boxes[~whole], 0, side).astype(int):
        image[y1:y2, x1:x2] = image[random.integers(side), random.integers(side)]
    return TrainingFrame(image, boxes[whole].astype(np.float32), landmarks[whole].astype(np.float32))


def augment(frame: TrainingFrame, random: np.random.Generator) -> tuple[NDArray[np.uint8], Targets]:
    """``frame``, randomly mirrored and shifted, and the training targets."""
    image, boxes, landmarks = frame.image, frame.boxes.copy(), frame.landmarks.copy()
    height, width = image.shape[:2]
    if random.uniform() < 0.5:
        image = np.ascontiguousarray(image[:, ::-1])
        # Scaling by s moves a point at p to s·(p + ½) − ½, but boxes are simply multiplied. So boxes are (1 − s) / 2 of
        # a pixel to the right of their faces, before and after mirroring.
        boxes[:, [0, 2]] = width - _SCALE - boxes[:, [2, 0]]
        landmarks[..., 0] = width - _SCALE - landmarks[..., 0]
        landmarks = landmarks[:, _MIRRORED]
    x, y = (int(value) for value in random.integers(-6, 7, 2))
    # Shifts by whole pixels put faces at all positions relative to the grid of anchors.
    matrix = np.array([[1, 0, x], [0, 1, y]], np.float32)
    image = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_NEAREST).astype(np.uint8, copy=False)
    return image, assign(
        boxes + np.array([x, y, x, y], np.float32), landmarks + np.array([x, y], np.float32), _grid(width, height)
    )


_grid = lru_cache(anchors)


def _frame(seed: int, index: int) -> TrainingFrame:
    cv2.setNumThreads(1)
    scene = training_scene(seed, index)
    fitted = letterbox(scene.image, WIDTH, WIDTH)
    return TrainingFrame(fitted.image[:HEIGHT].copy(), scene.boxes * fitted.scale, scene.landmarks * fitted.scale)


def _faces(each: int, seed: int, number: int) -> NDArray[np.uint8]:
    cv2.setNumThreads(1)
    return np.stack([render_crop(seed * 1_000 + shot, number) for shot in range(each)])


def _pool(workers: int) -> ProcessPoolExecutor:
    # New processes, because a fork of a process with torch's threads can hang.
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
