"""Face detection on any backend: letterbox, inference, decoding by the model's family, non-maximum suppression."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from ..backends import PictureBackend, QuantizedBackend
from ..core.faces import Faces
from .detectors import Family, as_float32, find_layout, place_faces
from .letterbox import Canvas, letterbox_with_margin

if TYPE_CHECKING:
    from ..backends import Backend, Raw
    from ..core.manifest import Input, Output

GRID = 32  # maximum number of columns and of rows of the grid into which suppression sorts boxes
FEW = 128  # so many boxes are compared with all that are kept: that takes less time than to use a grid

_Box = tuple[float, float, float, float, float]  # x1, y1, x2, y2, area


def suppress(boxes: Sequence[Sequence[float]], iou: float) -> list[int]:
    """Greedy non-maximum suppression: the indices of ``boxes`` (N times x1, y1, x2, y2; best score first) to keep.

    A box is dropped if its IoU with a kept box is more than ``iou`` (above 0, at most 1). Sides are counted in
    inclusive pixels (+1), as in InsightFace.

    The time grows with N, not with N², because a box is compared only with the kept boxes near its center. If two boxes
    of widths a and b have an IoU of t or more, their widths overlap by that share too. So b ≤ a/t, and the centers are
    less than (a + b)/2 · (1 − t)/(1 + t) ≤ a · (1 − t)/(2t) apart.
    """
    if len(boxes) <= FEW:
        return _suppress_few(boxes, iou)
    low = min(map(min, boxes))
    # Cells are as large as the average box, but there are not many more than GRID² of them, even if most boxes are
    # small.
    average = sum(x2 - x1 for x1, _, x2, _ in boxes) / len(boxes)
    cell = max((max(map(max, boxes)) - low) / GRID, average, 1.0)
    reach = (1 - iou) / (2 * iou)
    near: dict[tuple[int, int], list[_Box]] = {}
    kept = []
    for index, (x1, y1, x2, y2) in enumerate(boxes):
        width, height = x2 - x1 + 1, y2 - y1 + 1
        x, y, area = (x1 + x2) / 2 - low, (y1 + y2) / 2 - low, width * height
        box = x1, y1, x2, y2, area
        if not _overlaps(box, near.get((int(x / cell), int(y / cell)), ()), iou):
            kept.append(index)
            for column in range(int((x - reach * width) / cell), int((x + reach * width) / cell) + 1):
                for row in range(int((y - reach * height) / cell), int((y + reach * height) / cell) + 1):
                    near.setdefault((column, row), []).append(box)
    return kept


def _suppress_few(boxes: Sequence[Sequence[float]], iou: float) -> list[int]:
    """``suppress`` without a grid."""
    kept: list[int] = []
    near: list[_Box] = []
    for index, (x1, y1, x2, y2) in enumerate(boxes):
        box = x1, y1, x2, y2, (x2 - x1 + 1) * (y2 - y1 + 1)
        if not _overlaps(box, near, iou):
            kept.append(index)
            near.append(box)
    return kept


def _overlaps(box: _Box, others: Sequence[_Box], iou: float) -> bool:
    """Whether the IoU of ``box`` and one of ``others`` is more than ``iou``. Most pairs of boxes are beside each other,
    which two comparisons show."""
    x1, y1, x2, y2, area = box
    for left, top, right, bottom, other in others:
        if left - x2 < 1 and x1 - right < 1:
            across = (x2 if x2 < right else right) - (x1 if x1 > left else left) + 1
            down = (y2 if y2 < bottom else bottom) - (y1 if y1 > top else top) + 1
            if across > 0 and down > 0 and across * down > iou * (area + other - across * down):
                return True
    return False


class Detector:
    """A face detector of a known family, on any backend. ``input`` and ``outputs`` describe the model, ``nms_iou`` is
    the maximum overlap of two faces, 0 to 1; None is the family's. Raises ModelError if no family has such outputs."""

    def __init__(self, backend: Backend, input: Input, outputs: Sequence[Output], nms_iou: float | None = None) -> None:
        self._run: Callable[[NDArray[np.uint8]], Sequence[Raw]] = (
            backend.infer_quantized
            if isinstance(backend, QuantizedBackend)
            else lambda image: backend.infer(image[None])
        )
        self._pictures = backend if isinstance(backend, PictureBackend) else None
        self._size = (input.width, input.height)
        self._canvas = Canvas(*self._size)
        self.layout = find_layout(outputs, input.width, input.height)
        self.nms_iou = self.family.nms_iou if nms_iou is None else nms_iou

    @property
    def family(self) -> Family:
        return self.layout.family

    @property
    def threshold(self) -> float:
        """The family's default minimum score."""
        return self.layout.family.threshold

    def detect(self, image: NDArray[np.uint8], threshold: float | None = None) -> Faces:
        """The faces in ``image`` (H×W×3 uint8 BGR) with a score of ``threshold`` or more, in pixels of ``image``. None
        is the family's threshold.

        Raises InputError for any other array, and DeviceError if the backend fails.
        """
        if self._pictures is not None:
            picture, scale = self._canvas.shrink(image)
            return self.faces(self._pictures.infer_picture(picture), scale, threshold)
        rgb, scale = self._canvas.letterbox(image)
        return self.faces(self._run(rgb), scale, threshold)

    def detect_with_margin(self, image: NDArray[np.uint8], threshold: float | None = None) -> Faces:
        """Like ``detect``, but with a gray margin around ``image``: finds a face that fills it, and misses faces half
        as large as those that ``detect`` misses."""
        boxed, corner = letterbox_with_margin(image, *self._size)
        rgb = cv2.cvtColor(boxed.image, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
        found = self.faces(self._run(rgb), boxed.scale, threshold)
        shift = np.array(corner, np.float32) / np.float32(boxed.scale)
        return Faces(found.boxes - np.tile(shift, 2), found.scores, found.landmarks - shift)

    def faces(self, outputs: Sequence[Raw], scale: float, threshold: float | None = None) -> Faces:
        """The faces in raw model ``outputs`` for an image that was letterboxed with ``scale``."""
        points, scores = self.layout.candidates(outputs, self.threshold if threshold is None else threshold)
        if not len(scores):
            return place_faces(points, scores)
        # Convert to pixels of the image before suppression, as InsightFace does: overlaps count whole pixels (+1).
        points /= as_float32(scale)
        # FP16 can overflow: one face with infinite numbers must not affect the others. In plain Python from here on: of
        # numpy, each other function would take longer than that.
        best = scores.tolist()
        if not (math.isfinite(max(best)) and all(np.isfinite(points).ravel().tolist())):
            finite = np.isfinite(points).all(axis=(1, 2)) & np.isfinite(scores)
            points, scores = points[finite], scores[finite]
            best = scores.tolist()
        order = sorted(range(len(best)), key=best.__getitem__, reverse=True)
        boxes = points[:, :2].reshape(-1, 4).tolist()
        kept = [order[place] for place in suppress([boxes[index] for index in order], self.nms_iou)]
        faces = place_faces(points.take(kept, 0), scores.take(kept))
        # INT8 may round all offsets of a doubtful face to one value: landmarks that coincide cannot be aligned.
        apart = [marks != marks[:1] * len(marks) for marks in faces.landmarks.tolist()]
        return faces if all(apart) else faces[np.array(apart)]
