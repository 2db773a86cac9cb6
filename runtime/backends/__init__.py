"""What runs a model. A backend is one loaded model; it alone knows whether and how to normalize."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


class Backend(Protocol):
    name: str

    def infer(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Run raw RGB images, N×H×W×3 uint8, at exactly the model's size; outputs in the model's order, N first.

        ValueError for another shape or dtype: a silent stretch or a second normalization ruins accuracy unseen.
        """
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Quantized:
    """An output as the NPU computed it: value = (int8 − zero_point) · scale, with scale above 0.

    It can be compared with a threshold and picked from like an array of floats; only what is picked becomes float32.
    Both give exactly what they would give on ``dequantize()``.
    """

    values: NDArray[np.int8]
    zero_point: int
    scale: float

    def dequantize(self) -> NDArray[np.float32]:
        return _dequantize(self.values, self.zero_point, self.scale)

    def reshape(self, *shape: int) -> Quantized:
        return Quantized(self.values.reshape(*shape), self.zero_point, self.scale)

    def __getitem__(self, index: Any) -> NDArray[np.float32]:
        return _dequantize(self.values[index], self.zero_point, self.scale)

    def __ge__(self, threshold: float) -> NDArray[np.bool_]:
        # Of the 256 values that there are, the first to pass as a float: no rounding of the threshold to argue about.
        steps = np.arange(-128, 128, dtype=np.int16)
        passes = np.flatnonzero(_dequantize(steps, self.zero_point, self.scale) >= threshold)
        return self.values >= steps[passes[0]] if passes.size else np.zeros(self.values.shape, np.bool_)


def _dequantize(values: NDArray[Any], zero_point: int, scale: float) -> NDArray[np.float32]:
    return (values.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)


Raw = NDArray[np.float32] | Quantized


@runtime_checkable
class QuantizedBackend(Protocol):
    """A backend that can also hand out what it computed before it became floats."""

    def infer_quantized(self, image: NDArray[np.uint8]) -> list[Raw]:
        """As ``Backend.infer``, for one H×W×3 image: outputs in the manifest's shapes, float where they are float."""
        ...


def check_images(images: NDArray[np.uint8], height: int, width: int) -> None:
    """Raise ValueError unless ``images`` is N×height×width×3 uint8."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (height, width, 3):
        raise ValueError(f"a backend takes N×{height}×{width}×3 uint8 RGB, not {images.shape} {images.dtype}")


def stack_runs(runs: Sequence[Sequence[NDArray[np.float32]]]) -> list[NDArray[np.float32]]:
    """Outputs of N runs on one image each → one array an output, N first: a batch dimension of one becomes the N
    dimension, and outputs without any (InsightFace's SCRFD exports) gain it. Of one run nothing is copied."""
    if len(runs) == 1:
        return [array if array.ndim > 1 and array.shape[0] == 1 else array[None] for array in runs[0]]
    return [
        np.concatenate(arrays) if arrays[0].ndim > 1 and arrays[0].shape[0] == 1 else np.stack(arrays)
        for arrays in zip(*runs, strict=True)
    ]
