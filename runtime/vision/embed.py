"""Face recognition with ArcFace (arXiv 1801.07698): aligned crops to embeddings of unit length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from ..backends import BgrBackend
from .check_input import check_crops

if TYPE_CHECKING:
    from ..backends import Backend
    from ..core.crop_template import CropTemplate

# InsightFace's preprocessing of ArcFace (insightface/model_zoo/arcface_onnx.py); only the
# backend applies it.
MEAN = (127.5, 127.5, 127.5)
STD = (127.5, 127.5, 127.5)
TINY = np.array(np.finfo(np.float32).tiny)  # an array, because numpy takes longer to read a number


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """``vectors`` (…×D float32) scaled to length 1. A vector of zeros stays zero."""
    # As np.linalg.norm computes it, whose checks take longer than that.
    length = np.sqrt(np.add.reduce(vectors * vectors, axis=-1, keepdims=True))
    return np.asarray(vectors / np.maximum(length, TINY), np.float32)


class Embedder:
    """A recognizer on any backend. ``crop`` is how a face is aligned for it, ``dimensions`` the length of an
    embedding."""

    def __init__(self, backend: Backend, crop: CropTemplate, dimensions: int) -> None:
        self._backend = backend
        self._bgr = backend if isinstance(backend, BgrBackend) else None
        self._shape = (crop.height, crop.width, 3)
        self.crop = crop
        self.dimensions = dimensions

    def embed(self, crops: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> NDArray[np.float32]:
        """The embeddings, N×D float32 of unit length, of N aligned ``crops`` (height×width×3 uint8 BGR).

        Raises InputError for any other crops, and DeviceError if the backend fails.
        """
        check_crops(crops, self._shape)
        if not len(crops):
            return np.zeros((0, self.dimensions), np.float32)
        if self._bgr is not None:
            return unit(self._bgr.infer_bgr(np.asarray(crops, np.uint8))[0])
        rgb = np.empty((len(crops), *self._shape), np.uint8)
        for crop, target in zip(crops, rgb, strict=True):
            cv2.cvtColor(crop, cv2.COLOR_BGR2RGB, dst=target)
        return unit(self._backend.infer(rgb)[0])
