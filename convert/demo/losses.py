"""The losses of the demo models."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from rkface.runtime.vision.detectors import STRIDES
from rkface.runtime.vision.detectors.scrfd import ANCHORS

from ..evaluate.parity import box_ious

# Squares with sides of 4 and 8 strides: twice those of SCRFD (arXiv 2105.04714, section 3). So a face belongs to the
# next finer level, with twice as many cells along each side, and its landmarks are more exact. Anchors only choose the
# cells.
_ANCHOR_SIDES = (4.0, 8.0)
_NEAREST = 5  # anchors on each level that may be assigned to a face; few are enough for rendered faces


class MarginLoss(nn.Module):
    """CosFace (arXiv 1801.09414): cross entropy of the cosines with learned class centers, minus a margin for the true
    class."""

    def __init__(self, dimensions: int, classes: int, scale: float = 24.0) -> None:
        super().__init__()
        self.centers = nn.Parameter(torch.randn(classes, dimensions) * 0.05)
        self.scale = scale

    def forward(self, embeddings: Tensor, labels: Tensor, margin: float) -> Tensor:
        """``embeddings`` N×D, ``labels`` N int64 → the mean loss."""
        cosine = F.normalize(embeddings) @ F.normalize(self.centers).T
        wanted = cosine - margin * F.one_hot(labels, len(self.centers)).to(cosine.dtype)
        return F.cross_entropy(self.scale * wanted, labels)


@dataclass(frozen=True)
class Targets:
    """The training targets of one image, for all K anchors of all strides.

    positive  K bool
    boxes     K×4 float32: distances left, up, right, down from the anchor's center, in strides
    points    K×10 float32: landmark offsets from the center, in strides
    """

    positive: NDArray[np.bool_]
    boxes: NDArray[np.float32]
    points: NDArray[np.float32]


@dataclass(frozen=True)
class Anchors:
    """centers K×2, strides K and sides K float32, level after level, the two anchors of a cell side by side."""

    centers: NDArray[np.float32]
    strides: NDArray[np.float32]
    sides: NDArray[np.float32]


def anchors(width: int, height: int) -> Anchors:
    centers, strides, sides = [], [], []
    for stride in STRIDES:
        columns, rows = width // stride, height // stride
        grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2)
        centers.append(np.repeat(grid * stride, ANCHORS, axis=0))
        strides.append(np.full(len(grid) * ANCHORS, stride))
        sides.append(np.tile(np.array(_ANCHOR_SIDES) * stride, len(grid)))
    return Anchors(*(np.concatenate(parts).astype(np.float32) for parts in (centers, strides, sides)))


def assign(boxes: NDArray[np.float32], landmarks: NDArray[np.float32], grid: Anchors) -> Targets:
    """Assign anchors to faces by ATSS (arXiv 1912.02424).

    Candidates are the anchors nearest to a face on every level. Those are assigned whose IoU with the face is larger
    than the mean plus one standard deviation of the candidates' IoU. An anchor between two faces takes the larger IoU.

    ``boxes`` is N×4 and ``landmarks`` N×5×2, in input pixels.
    """
    best = np.zeros(len(grid.centers), np.float32)
    owner = np.full(len(grid.centers), -1)
    corners = np.concatenate([grid.centers - grid.sides[:, None] / 2, grid.centers + grid.sides[:, None] / 2], axis=1)
    for index, (box, overlap) in enumerate(zip(boxes, box_ious(corners, boxes).T, strict=True)):
        distance = np.abs(grid.centers - (box[:2] + box[2:]) / 2).max(axis=1)
        candidates = np.concatenate(
            [
                level[np.argsort(distance[level], kind="stable")[: _NEAREST * ANCHORS]]
                for level in (np.flatnonzero(grid.strides == stride) for stride in STRIDES)
            ]
        )
        bar = overlap[candidates].mean() + overlap[candidates].std()
        inside = ((grid.centers > box[:2]) & (grid.centers < box[2:])).all(axis=1)
        chosen = candidates[
            (overlap[candidates] >= bar) & inside[candidates] & (overlap[candidates] > best[candidates])
        ]
        best[chosen], owner[chosen] = overlap[chosen], index
    positive = owner >= 0
    distances, points = np.zeros((len(owner), 4), np.float32), np.zeros((len(owner), 10), np.float32)
    centers, strides = grid.centers[positive], grid.strides[positive, None]
    mine = boxes[owner[positive]].reshape(-1, 4)
    distances[positive] = np.concatenate([centers - mine[:, :2], mine[:, 2:] - centers], axis=1) / strides
    offsets = landmarks[owner[positive]].reshape(-1, 5, 2) - centers[:, None]
    points[positive] = offsets.reshape(-1, 10) / strides
    return Targets(positive, distances, points)


def detection_loss(outputs: tuple[Tensor, ...], positive: Tensor, boxes: Tensor, points: Tensor) -> Tensor:
    """Quality focal loss on the scores (GFL, arXiv 2006.04388), GIoU (1902.09630) on boxes, smooth L1 on landmarks.

    ``outputs`` are the nine of ``Detector`` in training; ``positive`` N×K bool, ``boxes`` N×K×4, ``points`` N×K×10.
    """
    scores, distances, offsets = (torch.cat(outputs[at : at + 3], dim=1).float() for at in (0, 3, 6))
    logits = scores[..., 0]
    count = positive.sum().clamp(min=1)
    overlap = giou(distances[positive], boxes[positive])
    # The target score of a positive anchor is 1, not its IoU: the scores must be clearly above the threshold, also with
    # INT8.
    wanted = positive.float()
    chance = torch.sigmoid(logits)
    focal = (F.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * (chance - wanted).abs() ** 2).sum()
    # Relative to the size of the face, so that small faces count as much as large ones.
    size = (boxes[positive][:, 0::2].sum(1) + boxes[positive][:, 1::2].sum(1)).clamp(min=0.5) / 2
    marks = F.smooth_l1_loss(
        offsets[positive] / size[:, None], points[positive] / size[:, None], reduction="sum", beta=0.005
    )
    return (focal + 2.0 * (1 - overlap).sum() + 8.0 * marks) / count


def giou(first: Tensor, second: Tensor) -> Tensor:
    """Generalized IoU of boxes given as N×4 distances from one common center each."""
    inner, outer = torch.minimum(first, second), torch.maximum(first, second)
    shared = (inner[:, 0] + inner[:, 2]).clamp(min=0) * (inner[:, 1] + inner[:, 3]).clamp(min=0)
    areas = [(box[:, 0] + box[:, 2]).clamp(min=0) * (box[:, 1] + box[:, 3]).clamp(min=0) for box in (first, second)]
    union = areas[0] + areas[1] - shared
    hull = (outer[:, 0] + outer[:, 2]) * (outer[:, 1] + outer[:, 3])
    return shared / union.clamp(min=1e-6) - (hull - union) / hull.clamp(min=1e-6)
