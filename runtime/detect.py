"""SCRFD (arXiv 2105.04714): letterbox, decode, non-maximum suppression."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from .backends import QuantizedBackend
from .errors import InputError, ModelError
from .faces import Faces

if TYPE_CHECKING:
    from .backends import Backend, Raw
    from .bundle import Input, Output

STRIDES = (8, 16, 32)
ANCHORS = 2  # a cell, at every stride
# InsightFace's preprocessing of SCRFD (insightface/model_zoo/scrfd.py); a backend applies it, nothing else does.
MEAN = (127.5, 127.5, 127.5)
STD = (128.0, 128.0, 128.0)
THRESHOLD = 0.5  # InsightFace's default for scores
NMS_IOU = 0.4  # and for overlaps


@dataclass(frozen=True)
class Letterbox:
    """An image fitted into the detector's input: ``image`` is H×W×3 uint8 BGR, ``scale`` input pixels per pixel."""

    image: NDArray[np.uint8]
    scale: float


@dataclass(frozen=True)
class Level:
    """One stride of the detector: where its outputs are in the model's list, and its anchors.

    centres  K×2 float32: anchor centres in input pixels, row by row, the two anchors of a cell side by side
    """

    stride: int
    scores: int
    boxes: int
    landmarks: int
    centres: NDArray[np.float32]


def letterbox(image: NDArray[np.uint8], width: int, height: int) -> Letterbox:
    """Shrink or grow ``image`` (H×W×3 uint8) into ``width``×``height``, its aspect kept, at the top left, rest black.

    Sizes are rounded down and the vertical scale is used for both axes, exactly as InsightFace's ``SCRFD.detect``
    does, so that coordinates agree with it to a fraction of a pixel. InputError for anything but such an image:
    floats from 0 to 1 would become a black picture in which nobody is found.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError(f"an image is H×W×3 uint8 BGR, not {image.shape} {image.dtype}")
    rows, columns = image.shape[:2]
    if rows * width > height * columns:
        new_height, new_width = height, max(1, int(height / (rows / columns)))
    else:
        new_height, new_width = max(1, int(width * (rows / columns))), width
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[:new_height, :new_width] = cv2.resize(image, (new_width, new_height))
    return Letterbox(canvas, new_height / rows)


def levels(outputs: Sequence[Output], width: int, height: int) -> tuple[Level, ...]:
    """Find each stride's scores (K×1), box distances (K×4) and landmark offsets (K×10) by shape alone.

    Names and order differ between exports; the shapes cannot: K = (H/stride)·(W/stride)·2. Raises ModelError where
    an output is missing or there twice, or the input size is no multiple of 32.
    """
    if width % STRIDES[-1] or height % STRIDES[-1]:
        raise ModelError(f"detector input {width}×{height} must be a multiple of {STRIDES[-1]} on both sides")
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for index, output in enumerate(outputs):
        if all(size == 1 for size in output.shape[:-2]):  # a batch of one, in front of anchors and channels
            by_shape.setdefault(output.shape[-2:], []).append(index)
    found = []
    for stride in STRIDES:
        columns, rows = width // stride, height // stride
        count = columns * rows * ANCHORS
        places = [by_shape.get((count, channels), []) for channels in (1, 4, 10)]
        wrong = next((index for index, place in enumerate(places) if len(place) != 1), None)
        if wrong is not None:
            shapes = ", ".join("×".join(map(str, output.shape)) or "a number" for output in outputs)
            raise ModelError(
                f"not an SCRFD detector with keypoints at {width}×{height}: {len(places[wrong]) or 'no'} outputs of "
                f"shape {count}×{(1, 4, 10)[wrong]} for stride {stride}; the model has {shapes}"
            )
        grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2)
        centres = np.repeat(grid * stride, ANCHORS, axis=0).astype(np.float32)
        [scores], [boxes], [landmarks] = places
        found.append(Level(stride, scores, boxes, landmarks, centres))
    return tuple(found)


def decode(outputs: Sequence[Raw], layout: Sequence[Level], threshold: float) -> Faces:
    """Raw outputs → candidate faces in input pixels, best score first, before suppression.

    Scores are compared first, so that boxes and landmarks are computed only for what passes ``threshold``; of outputs
    that are still quantised, only that becomes float.
    """
    boxes, scores, landmarks = [], [], []
    for level in layout:
        score = outputs[level.scores].reshape(-1)
        hits = np.flatnonzero(score >= threshold)
        centres = level.centres[hits]
        distances = outputs[level.boxes].reshape(-1, 4)[hits] * level.stride
        offsets = outputs[level.landmarks].reshape(-1, 5, 2)[hits] * level.stride
        scores.append(score[hits])
        boxes.append(np.concatenate([centres - distances[:, :2], centres + distances[:, 2:]], axis=1))
        landmarks.append(centres[:, None] + offsets)
    score = np.concatenate(scores)
    order = np.argsort(-score, kind="stable")
    return Faces(np.concatenate(boxes)[order], score[order], np.concatenate(landmarks)[order])


def suppress(boxes: NDArray[np.float32], iou: float) -> NDArray[np.intp]:
    """Greedy non-maximum suppression: indices of the N×4 ``boxes``, given best first, that are kept.

    A box goes when its overlap with a kept one exceeds ``iou``. Sides count inclusive pixels (+1), as InsightFace's do.
    """
    x1, y1, x2, y2 = boxes.T
    areas = (x2 - x1 + 1) * (y2 - y1 + 1)
    kept = []
    rest = np.arange(len(boxes))
    while rest.size:
        best, rest = rest[0], rest[1:]
        kept.append(best)
        across = np.minimum(x2[best], x2[rest]) - np.maximum(x1[best], x1[rest]) + 1
        down = np.minimum(y2[best], y2[rest]) - np.maximum(y1[best], y1[rest]) + 1
        shared = np.maximum(across, 0) * np.maximum(down, 0)
        rest = rest[shared <= iou * (areas[best] + areas[rest] - shared)]
    return np.array(kept, np.intp)


class Detector:
    """SCRFD over any backend. ``detect`` takes H×W×3 uint8 BGR and returns Faces in pixels of that image."""

    def __init__(self, backend: Backend, input: Input, outputs: Sequence[Output], nms_iou: float = NMS_IOU) -> None:
        self._run: Callable[[NDArray[np.uint8]], Sequence[Raw]] = (
            backend.infer_quantized
            if isinstance(backend, QuantizedBackend)
            else lambda image: backend.infer(image[None])
        )
        self._size = (input.width, input.height)
        self._levels = levels(outputs, input.width, input.height)
        self._nms_iou = nms_iou

    def detect(self, image: NDArray[np.uint8], threshold: float = THRESHOLD) -> Faces:
        fitted = letterbox(image, *self._size)
        rgb = cv2.cvtColor(fitted.image, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
        return self.faces(self._run(rgb), fitted.scale, threshold)

    def faces(self, outputs: Sequence[Raw], scale: float, threshold: float = THRESHOLD) -> Faces:
        """The faces that raw model outputs speak of, for an image letterboxed with ``scale``."""
        found = decode(outputs, self._levels, threshold)
        # Back in pixels of the image before suppression, as InsightFace does it: overlaps count whole pixels (+1).
        boxes = (found.boxes / scale).astype(np.float32)
        landmarks = (found.landmarks / scale).astype(np.float32)
        kept = Faces(boxes, found.scores, landmarks)[suppress(boxes, self._nms_iou)]
        # INT8 rounds a doubtful face's offsets to one value at times: five landmarks in one spot cannot be aligned.
        return kept[np.ptp(kept.landmarks, axis=1).any(axis=1)]
