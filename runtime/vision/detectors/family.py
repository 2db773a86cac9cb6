"""What every family of face detectors states about itself: its outputs, its preprocessing, its defaults, its decoding.

A family is one module with one ``Family``, and one entry in ``FAMILIES``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ...core.faces import Faces

if TYPE_CHECKING:
    from ...backends import Raw
    from ...core.manifest import ChannelOrder, Triple

STRIDES = (8, 16, 32)  # pixels of the input per cell; the same in all families
SIZE_STEP = STRIDES[-1]  # both sides of the input are multiples of it
# Of a box's side in strides or in sides of its anchor: larger boxes are no faces, and their squares are finite.
LARGEST_LOG = 10.0

Floats = NDArray[np.float32]
NO_POINTS: Floats = np.zeros((0, 7, 2), np.float32)
NO_SCORES: Floats = np.zeros(0, np.float32)
Shape = tuple[int, int]  # of an output without its batch: rows (one for each anchor) × numbers per anchor


@dataclass(frozen=True)
class RawOutput:
    """Where the numbers of one kind and one stride are among the outputs of a model.

    index     position of the output in the model's list
    channels  numbers per anchor in that output
    start     first of its anchors that belongs to the stride, and
    stop      first that does not, if the output has several strides
    column    the only number per anchor that counts: of scores, that of a face and not of the background; None: all
    """

    index: int
    channels: int
    start: int = 0
    stop: int | None = None
    column: int | None = None

    def read(self, outputs: Sequence[Floats]) -> Floats:
        """These numbers of ``outputs``, whose first dimension is N: N×K×channels float32."""
        array = outputs[self.index]
        found = array.reshape(len(array), -1, self.channels)[:, self.start : self.stop]
        return found if self.column is None else found[..., self.column : self.column + 1]


@dataclass(frozen=True)
class Level:
    """One stride of a detector: where its outputs are, and its K anchors.

    stride     pixels of the input per cell
    scores     one output, or several whose product decides
    boxes      the box, 4 numbers per anchor
    landmarks  five points, 10 numbers per anchor
    centers    K×2 float32: where the offsets of each anchor start, in input pixels
    """

    stride: int
    scores: tuple[RawOutput, ...]
    boxes: RawOutput
    landmarks: RawOutput
    centers: Floats


@dataclass(frozen=True)
class Family:
    """One family of face detectors.

    name            for people
    mean, std       of an input of 0..255, in RGB order: the model was trained on (x − mean) / std
    order           order of channels that the source models take
    probability     the operator that makes probabilities of its scores, if an export ends with logits
    threshold       default minimum score of a face, 0 to 1
    nms_iou         default overlap (IoU), 0 to 1, above which suppression drops the face with the lower score
    plain           a face that looks upright and scores so much is not upside down (``runtime/vision/photo.py``)
    clear           by so much an upright photo's best score exceeds that of its other turns
    again           how far above the threshold a face must score that only an additional look at a photo finds
    smallest_face   size of the smallest faces of which it finds nearly all, in input pixels (docs/detector-size.md);
                    None if that was not measured
    crowds          its activations are larger where faces are small, so that INT8 needs ranges from crowds of small
                    faces, too (docs/accuracy.md)
    shapes          (width, height) → its outputs: how often each shape occurs
    levels          (positions of the outputs by shape, width, height) → one level for each stride
    hits            (outputs, level, threshold) → indices of the anchors with a score of ``threshold`` or more, and the
                    scores. Of quantized outputs, only hits become float32
    geometry        (outputs, level, anchors) → the corners of the box, then the landmarks, of these anchors: K×7×2
                    float32, x and y in input pixels. Not finite if the outputs are not
    """

    name: str
    mean: Triple
    std: Triple
    order: ChannelOrder
    probability: Literal["Sigmoid", "Softmax"]
    threshold: float
    nms_iou: float
    plain: float
    clear: float
    again: float
    smallest_face: int | None
    crowds: bool
    shapes: Callable[[int, int], Mapping[Shape, int]]
    levels: Callable[[Mapping[Shape, Sequence[int]], int, int], tuple[Level, ...]]
    hits: Callable[[Sequence[Raw], Level, float], tuple[NDArray[np.intp], Floats]]
    geometry: Callable[[Sequence[Raw], Level, NDArray[np.intp]], Floats]


@dataclass(frozen=True)
class Layout:
    """A model's outputs, recognized: its family, and the levels of its input size."""

    family: Family
    levels: tuple[Level, ...]

    def decode(self, outputs: Sequence[Raw], threshold: float) -> Faces:
        """Raw outputs of one image to candidate faces in input pixels, best score first, before suppression.

        Boxes and landmarks are computed only for anchors whose score is ``threshold`` or more.
        """
        points, scores = self.candidates(outputs, threshold)
        order = (-scores).argsort(kind="stable")
        return place_faces(points[order], scores[order])

    def candidates(self, outputs: Sequence[Raw], threshold: float) -> tuple[Floats, Floats]:
        """Like ``decode``, but in no order, as the arrays that ``place_faces`` takes. Nothing else holds them."""
        scores, points = [], []
        for level in self.levels:
            anchors, score = self.family.hits(outputs, level, threshold)
            if anchors.size:
                scores.append(score)
                points.append(self.family.geometry(outputs, level, anchors))
        if not scores:
            return NO_POINTS, NO_SCORES
        return np.concatenate(points), np.concatenate(scores)


def place_faces(points: Floats, scores: Floats) -> Faces:
    """The faces with these ``points``, N×7×2 as of ``geometry``, and ``scores``. What is done to all coordinates takes
    one call of numpy, because boxes and landmarks are views of one array."""
    return Faces(points[:, :2].reshape(-1, 4), scores, points[:, 2:])


@lru_cache
def as_float32(value: float) -> NDArray[np.float32]:
    """``value`` as an array without dimensions: numpy rounds a number in the same way, but takes longer. The same few
    thresholds and scales come again and again."""
    return np.array(value, np.float32)


def grid_corners(width: int, height: int, stride: int) -> Floats:
    """The top left corner of each cell in input pixels, row by row: (rows · columns)×2 float32."""
    columns, rows = np.meshgrid(np.arange(width // stride), np.arange(height // stride))
    corners: Floats = (np.stack([columns, rows], axis=-1).reshape(-1, 2) * stride).astype(np.float32)
    return corners
