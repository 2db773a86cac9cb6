"""What runs a model. A backend is one loaded model; it alone knows whether and how to normalise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Backend(Protocol):
    name: str

    def infer(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Run raw RGB images, N×H×W×3 uint8, at exactly the model's size; outputs in the model's order, N first.

        ValueError for another shape or dtype: a silent stretch or a second normalisation ruins accuracy unseen.
        """
        ...

    def close(self) -> None: ...


def check_images(images: NDArray[np.uint8], height: int, width: int) -> None:
    """Raise ValueError unless ``images`` is N×height×width×3 uint8."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (height, width, 3):
        raise ValueError(f"a backend takes N×{height}×{width}×3 uint8 RGB, not {images.shape} {images.dtype}")


def stack_runs(runs: Sequence[Sequence[NDArray[np.float32]]]) -> list[NDArray[np.float32]]:
    """Outputs of N runs on one image each → one array an output, N first: a batch dimension of one becomes the N
    dimension, and outputs without any (InsightFace's SCRFD exports) gain it."""
    return [
        np.concatenate(arrays) if arrays[0].ndim > 1 and arrays[0].shape[0] == 1 else np.stack(arrays)
        for arrays in zip(*runs, strict=True)
    ]
