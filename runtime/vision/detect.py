"""Face detection with SCRFD (arXiv 2105.04714): decoding and non-maximum suppression, after ``letterbox``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from ..backends import QuantizedBackend
from ..core.errors import ModelError
from ..core.faces import Faces
from .letterbox import Canvas, letterbox_with_margin

if TYPE_CHECKING:
    from ..backends import Backend, Raw
    from ..core.manifest import Input, Output

STRIDES = (8, 16, 32)
ANCHORS = 2  # per cell, at every stride
# InsightFace's preprocessing of SCRFD (insightface/model_zoo/scrfd.py); only the backend applies it.
MEAN = (127.5, 127.5, 127.5)
STD = (128.0, 128.0, 128.0)
THRESHOLD = 0.5  # minimum score, InsightFace's default
NMS_IOU = 0.4  # maximum overlap, InsightFace's default
GRID = 32  # maximum number of columns and of rows of the grid into which suppression sorts boxes


@dataclass(frozen=True)
class Level:
    """One stride of the detector: the positions of its outputs in the model's list, and its anchors.

    stride     pixels of the input per cell
    scores     position of the scores, K×1
    boxes      position of the box distances, K×4
    landmarks  position of the landmark offsets, K×10
    centers    K×2 float32: anchor centers in input pixels, row by row, the two anchors of a cell next to each other
    """

    stride: int
    scores: int
    boxes: int
    landmarks: int
    centers: NDArray[np.float32]


def levels(outputs: Sequence[Output], width: int, height: int) -> tuple[Level, ...]:
    """Find the scores (K×1), box distances (K×4) and landmark offsets (K×10) of each stride by their shapes.

    Names and order differ between exports, but the shapes do not: K = (H/stride)·(W/stride)·2. Raises ModelError if an
    output is missing or exists twice, or if the input size is not a multiple of 32.
    """
    if width % STRIDES[-1] or height % STRIDES[-1]:
        raise ModelError(f"detector input {width}×{height} must be a multiple of {STRIDES[-1]} on both sides")
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for index, output in enumerate(outputs):
        if all(size == 1 for size in output.shape[:-2]):  # a batch dimension of 1 may precede anchors and channels
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
        centers = np.repeat(grid * stride, ANCHORS, axis=0).astype(np.float32)
        [scores], [boxes], [landmarks] = places
        found.append(Level(stride, scores, boxes, landmarks, centers))
    return tuple(found)


def decode(outputs: Sequence[Raw], layout: Sequence[Level], threshold: float) -> Faces:
    """Raw outputs to candidate faces in input pixels, best score first, before non-maximum suppression.

    Boxes and landmarks are computed only for anchors whose score is ``threshold`` or more. Of quantized outputs, only
    their values are converted to float32.
    """
    boxes, scores, landmarks = [], [], []
    for level in layout:
        score = outputs[level.scores].reshape(-1)
        hits = np.flatnonzero(score >= threshold)
        if not hits.size:
            continue
        centers = level.centers[hits]
        distances = outputs[level.boxes].reshape(-1, 4)[hits] * level.stride
        offsets = outputs[level.landmarks].reshape(-1, 5, 2)[hits] * level.stride
        scores.append(score[hits])
        boxes.append(np.concatenate([centers - distances[:, :2], centers + distances[:, 2:]], axis=1))
        landmarks.append(centers[:, None] + offsets)
    if not scores:
        return Faces(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))
    score = np.concatenate(scores)
    order = np.argsort(-score, kind="stable")
    return Faces(np.concatenate(boxes)[order], score[order], np.concatenate(landmarks)[order])


def suppress(boxes: NDArray[np.float32], iou: float) -> NDArray[np.intp]:
    """Greedy non-maximum suppression: the indices of ``boxes`` (N×4, best score first) to keep.

    A box is dropped if its IoU with a kept box is more than ``iou`` (above 0, at most 1). Sides are counted in
    inclusive pixels (+1), as in InsightFace.

    The time grows with N, not with N², because a box is compared only with the kept boxes near its center. If two boxes
    of widths a and b have an IoU of t or more, their widths overlap by that share too. So b ≤ a/t, and the centers are
    less than (a + b)/2 · (1 − t)/(1 + t) ≤ a · (1 − t)/(2t) apart.
    """
    if not len(boxes):
        return np.zeros(0, np.intp)
    low = float(boxes.min())
    # Cells are as large as the average box, but there are not many more than GRID² cells, even if most boxes are small.
    cell = max((float(boxes.max()) - low) / GRID, float((boxes[:, 2] - boxes[:, 0]).mean()), 1.0)
    reach = (1 - iou) / (2 * iou)
    near: dict[tuple[int, int], list[tuple[float, ...]]] = {}
    kept = []
    for index, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        width, height = x2 - x1 + 1, y2 - y1 + 1
        x, y, area = (x1 + x2) / 2 - low, (y1 + y2) / 2 - low, width * height
        for left, top, right, bottom, other in near.get((int(x / cell), int(y / cell)), ()):
            across = (x2 if x2 < right else right) - (x1 if x1 > left else left) + 1
            down = (y2 if y2 < bottom else bottom) - (y1 if y1 > top else top) + 1
            if across > 0 and down > 0 and across * down > iou * (area + other - across * down):
                break
        else:
            kept.append(index)
            for column in range(int((x - reach * width) / cell), int((x + reach * width) / cell) + 1):
                for row in range(int((y - reach * height) / cell), int((y + reach * height) / cell) + 1):
                    near.setdefault((column, row), []).append((x1, y1, x2, y2, area))
    return np.array(kept, np.intp)


class Detector:
    """SCRFD on any backend. ``input`` and ``outputs`` describe the model,
    ``nms_iou`` is the maximum overlap of two faces, 0 to 1."""

    def __init__(self, backend: Backend, input: Input, outputs: Sequence[Output], nms_iou: float = NMS_IOU) -> None:
        self._run: Callable[[NDArray[np.uint8]], Sequence[Raw]] = (
            backend.infer_quantized
            if isinstance(backend, QuantizedBackend)
            else lambda image: backend.infer(image[None])
        )
        self._size = (input.width, input.height)
        self._canvas = Canvas(*self._size)
        self._levels = levels(outputs, input.width, input.height)
        self.nms_iou = nms_iou

    def detect(self, image: NDArray[np.uint8], threshold: float = THRESHOLD) -> Faces:
        """The faces in ``image`` (H×W×3 uint8 BGR) with a score of ``threshold`` or more, in pixels of ``image``.

        Raises InputError for any other array, and DeviceError if the backend fails.
        """
        rgb, scale = self._canvas.letterbox(image)
        return self.faces(self._run(rgb), scale, threshold)

    def detect_with_margin(self, image: NDArray[np.uint8], threshold: float = THRESHOLD) -> Faces:
        """Like ``detect``, but with a gray margin around ``image``: finds a face that fills it, and misses faces half
        as large as those that ``detect`` misses."""
        boxed, corner = letterbox_with_margin(image, *self._size)
        rgb = cv2.cvtColor(boxed.image, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
        found = self.faces(self._run(rgb), boxed.scale, threshold)
        shift = np.array(corner, np.float32) / np.float32(boxed.scale)
        return Faces(found.boxes - np.tile(shift, 2), found.scores, found.landmarks - shift)

    def faces(self, outputs: Sequence[Raw], scale: float, threshold: float = THRESHOLD) -> Faces:
        """The faces in raw model ``outputs`` for an image that was letterboxed with ``scale``."""
        found = decode(outputs, self._levels, threshold)
        if not len(found):
            return found
        # Convert to pixels of the image before suppression, as InsightFace does: overlaps count whole pixels (+1).
        boxes = (found.boxes / scale).astype(np.float32)
        landmarks = (found.landmarks / scale).astype(np.float32)
        candidates = Faces(boxes, found.scores, landmarks)
        # FP16 can overflow: one face with infinite coordinates must not affect the others.
        finite = np.isfinite(boxes).all(axis=1) & np.isfinite(landmarks).all(axis=(1, 2))
        if not finite.all():
            candidates = candidates[finite]
        kept = candidates[suppress(candidates.boxes, self.nms_iou)]
        # INT8 may round all offsets of a doubtful face to one value: landmarks that coincide cannot be aligned.
        return kept[np.ptp(kept.landmarks, axis=1).any(axis=1)]
