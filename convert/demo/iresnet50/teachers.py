"""The embeddings that the IResNet-50 learns to give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rkface.runtime.vision.bare_onnx import open_recognizer
from rkface.runtime.vision.embed import Embedder

from ..models import EMBEDDING

Crops = NDArray[np.uint8]


class Teachers:
    """The demo recognizer for rendered faces and, if given, a recognizer that was trained on photos for photos.

    On rendered people, the demo recognizer reaches a TAR of 0.98 at a FAR of 0.001, and resnet29_dlib 0.39. Both run
    in FP32 in ONNX Runtime. Their embeddings are turned into the 512 numbers of the student by a random matrix each,
    which keeps cosines.
    """

    def __init__(self, demo: Embedder, photo: Embedder | None) -> None:
        self._demo = _Teacher(demo, seed=1)
        self._photo = _Teacher(photo, seed=2) if photo else None

    def embed(self, crops: Crops, photos: NDArray[np.bool_]) -> Tensor:
        """The wanted embeddings of ``crops`` (B×112×112×3 uint8 BGR), B×512 of unit length; ``photos`` says which are
        from photos."""
        wanted = torch.empty(len(crops), EMBEDDING)
        for teacher, chosen in ((self._demo, ~photos), (self._photo, photos)):
            if teacher and chosen.any():
                wanted[torch.from_numpy(chosen)] = teacher.embed(crops[chosen])
        return wanted


class _Teacher:
    def __init__(self, embedder: Embedder, seed: int) -> None:
        self._embedder = embedder
        random = torch.Generator().manual_seed(seed)
        matrix = torch.randn(EMBEDDING, embedder.dimensions, generator=random, dtype=torch.float64)
        self._turn = torch.linalg.qr(matrix)[0].float().T  # dimensions×512, orthonormal rows

    def embed(self, crops: Crops) -> Tensor:
        turned: Tensor = torch.from_numpy(self._embedder.embed(list(crops))) @ self._turn
        return turned


def open_embedder(path: Path) -> Embedder:
    """The recognizer at ``path`` for 112×112 pixels, on one thread. Raises ModelError for any other model."""
    return open_recognizer(path, threads=1).embedder()
