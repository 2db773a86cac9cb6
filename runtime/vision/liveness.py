"""Passive liveness detection: a classifier sees a face and its surroundings, and tells a live face from a picture.

Crops are cut as in Silent-Face-Anti-Spoofing (minivision-ai, src/generate_patches.py, `CropImage`), whose models are
the most common.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ..backends import Backend
    from ..core.manifest import LivenessSpec


def crop_around(
    image: NDArray[np.uint8], box: NDArray[Any], scale: float, width: int, height: int
) -> NDArray[np.uint8]:
    """Cut out the region of ``image`` (H×W×3) that is ``scale`` times as large as ``box`` (x1 y1 x2 y2, pixels), about
    the same center, and resize it to ``height``×``width``×3.

    If the image is too small, the scale is reduced; near an edge of the image, the region is shifted inside. So the
    crop is never padded, because a model might take the padding for the frame of a picture.
    """
    rows, columns = image.shape[:2]
    x1, y1, x2, y2 = (float(side) for side in box)
    wide, high = max(x2 - x1, 1.0), max(y2 - y1, 1.0)
    scale = min((rows - 1) / high, (columns - 1) / wide, scale)
    left, right = _inside((x1 + x2) / 2, wide * scale, columns)
    top, bottom = _inside((y1 + y2) / 2, high * scale, rows)
    # Bilinear also for smaller sizes, because the models were trained with it.
    crop = cv2.resize(image[top : bottom + 1, left : right + 1], (width, height), interpolation=cv2.INTER_LINEAR)
    return crop.astype(np.uint8, copy=False)


def _inside(center: float, length: float, side: int) -> tuple[int, int]:
    """First and last pixel of a range of ``length`` about ``center``, shifted into 0 to ``side`` − 1."""
    first = min(max(center - length / 2, 0.0), max(side - 1 - length, 0.0))
    return int(first), min(int(round(first + length, 6)), side - 1)  # round: a float error must not cost a pixel


def probabilities(outputs: NDArray[np.float32], live: int, *, logits: bool) -> NDArray[np.float32]:
    """The probability of class ``live``, N float32 of 0 to 1, from a classifier's ``outputs`` (N×classes, or N first).

    If ``logits`` is True, a softmax is applied first.
    """
    rows = outputs.reshape(len(outputs), -1)
    if logits:
        powers = np.exp(rows - rows.max(axis=1, keepdims=True))
        rows = powers / powers.sum(axis=1, keepdims=True)
    return np.clip(np.nan_to_num(rows[:, live]), 0, 1).astype(np.float32)  # NaN is not live


class LivenessModel:
    """A liveness model on any backend.

    threshold  minimum probability of a live face, 0 to 1, from the bundle
    """

    def __init__(self, backend: Backend, model: LivenessSpec) -> None:
        self._backend = backend
        self._model = model
        self.threshold = model.threshold

    def crop(self, image: NDArray[np.uint8], box: NDArray[Any]) -> NDArray[np.uint8]:
        """The model's view of the face at ``box`` (x1 y1 x2 y2) in ``image`` (H×W×3): uint8 BGR of the model's size."""
        return crop_around(image, box, self._model.scale, self._model.input.width, self._model.input.height)

    def live_probabilities(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """The probability, N float32 of 0 to 1, that each of N ``crops`` shows a live face. 0 is a picture."""
        if not len(crops):
            return np.zeros(0, np.float32)
        rgb = np.ascontiguousarray(np.stack(crops)[..., ::-1])
        return probabilities(self._backend.infer(rgb)[0], self._model.live, logits=self._model.logits)
