"""What runs a model. A backend is one loaded model; it alone knows whether and how to normalise."""

from __future__ import annotations

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
