"""ArcFace (arXiv 1801.07698): aligned crops → embeddings of unit length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from .check_input import check_crops

if TYPE_CHECKING:
    from ..backends import Backend
    from ..core.bundle import Input

# InsightFace's preprocessing of ArcFace (insightface/model_zoo/arcface_onnx.py); a backend applies it, nothing else.
MEAN = (127.5, 127.5, 127.5)
STD = (127.5, 127.5, 127.5)


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """``vectors`` (…×D) scaled to length 1; an all-zero one stays zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, np.finfo(np.float32).tiny), np.float32)


class Embedder:
    """The recognizer over any backend: ``embed`` takes aligned H×W×3 uint8 BGR crops, returns N×D float32, unit."""

    def __init__(self, backend: Backend, input: Input, dimensions: int) -> None:
        self._backend = backend
        self._shape = (input.height, input.width, 3)
        self.dimensions = dimensions

    @property
    def size(self) -> int:
        return self._shape[0]

    def embed(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        check_crops(crops, self._shape)
        if not len(crops):
            return np.zeros((0, self.dimensions), np.float32)
        rgb = np.empty((len(crops), *self._shape), np.uint8)
        for crop, target in zip(crops, rgb, strict=True):
            cv2.cvtColor(crop, cv2.COLOR_BGR2RGB, dst=target)
        return unit(self._backend.infer(rgb)[0])
