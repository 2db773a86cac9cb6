"""Passive liveness: is this a face, or a picture of one? A classifier looks at a face and what surrounds it.

How a crop is cut is Silent-Face-Anti-Spoofing's (minivision-ai, src/generate_patches.py, `CropImage`), whose models are
the common ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ..backends import Backend
    from ..core.bundle import LivenessSpec


def surroundings(
    image: NDArray[np.uint8], box: NDArray[Any], scale: float, width: int, height: int
) -> NDArray[np.uint8]:
    """The part of ``image`` (H×W×3) that is ``scale`` times ``box`` (x1 y1 x2 y2, pixels) about its center, stretched
    to ``height``×``width``×3.

    Where the picture is too small it is scaled less, where the face is near an edge it is shifted inside: no pixel is
    made up, which a model might take for a picture's frame.
    """
    rows, columns = image.shape[:2]
    x1, y1, x2, y2 = (float(side) for side in box)
    wide, high = max(x2 - x1, 1.0), max(y2 - y1, 1.0)
    scale = min((rows - 1) / high, (columns - 1) / wide, scale)
    left, right = _inside((x1 + x2) / 2, wide * scale, columns)
    top, bottom = _inside((y1 + y2) / 2, high * scale, rows)
    # Bilinear also where it shrinks, as the models were trained.
    crop = cv2.resize(image[top : bottom + 1, left : right + 1], (width, height), interpolation=cv2.INTER_LINEAR)
    return crop.astype(np.uint8, copy=False)


def _inside(center: float, length: float, side: int) -> tuple[int, int]:
    """First and last pixel of ``length`` about ``center``, shifted to lie within ``side``."""
    first = min(max(center - length / 2, 0.0), max(side - 1 - length, 0.0))
    return int(first), min(int(round(first + length, 6)), side - 1)  # not a pixel short for float's last digit


def probabilities(answers: NDArray[np.float32], live: int, *, logits: bool) -> NDArray[np.float32]:
    """N float32 in 0..1: that each is a live face, class ``live`` of a classifier's ``answers`` (N first)."""
    rows = answers.reshape(len(answers), -1)
    if logits:
        powers = np.exp(rows - rows.max(axis=1, keepdims=True))
        rows = powers / powers.sum(axis=1, keepdims=True)
    return np.clip(np.nan_to_num(rows[:, live]), 0, 1).astype(np.float32)  # what is no number is not live


class LivenessModel:
    """A liveness model over any backend. ``threshold``: probability from which a face counts as live."""

    def __init__(self, backend: Backend, model: LivenessSpec) -> None:
        self._backend = backend
        self._model = model
        self.threshold = model.threshold

    def crop(self, image: NDArray[np.uint8], box: NDArray[Any]) -> NDArray[np.uint8]:
        """What the model is shown of the face at ``box`` (x1 y1 x2 y2) in ``image``: uint8 BGR of the model's size."""
        return surroundings(image, box, self._model.scale, self._model.input.width, self._model.input.height)

    def judge(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """N float32 in 0..1 for N ``crops``: 0 is a picture of a face."""
        if not crops:
            return np.zeros(0, np.float32)
        rgb = np.ascontiguousarray(np.stack(crops)[..., ::-1])
        return probabilities(self._backend.infer(rgb)[0], self._model.live, logits=self._model.logits)
