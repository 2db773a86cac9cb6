"""Backends run models. A backend is one loaded model, and only the backend knows whether and how to normalize."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

UINT8 = np.dtype(np.uint8)  # compared with a dtype, it takes a tenth of the time of the type np.uint8


class Backend(Protocol):
    """One loaded model. ``name`` is "npu" or "reference"."""

    name: str

    def infer(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Run raw RGB images, N×H×W×3 uint8, of exactly the model's size. Returns one float32 array for each output, in
        the model's order, with N as the first dimension.

        Raises ValueError for another shape or dtype, because resizing or normalizing twice would silently ruin the
        accuracy, and DeviceError if the model fails or is closed.
        """
        ...

    def close(self) -> None:
        """Free the model. Closing it again does nothing."""
        ...


@dataclass(frozen=True)
class Quantized:
    """An INT8 output as the NPU computed it: value = (int8 − zero_point) · scale, with scale > 0.

    ``output >= threshold``, ``output[index]`` and ``output.take(…)`` give exactly what they give for
    ``output.dequantize()``, but only the selected values are converted to float32.
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

    def take(self, indices: NDArray[np.intp], axis: int) -> NDArray[np.float32]:
        return _dequantize(self.values.take(indices, axis), self.zero_point, self.scale)

    def __ge__(self, threshold: float | NDArray[np.float32]) -> NDArray[np.bool_]:
        least = _least(self.zero_point, self.scale, float(threshold))
        return np.zeros(self.values.shape, np.bool_) if least is None else self.values >= least


@lru_cache
def _least(zero_point: int, scale: float, threshold: float) -> int | None:
    """The smallest of the 256 possible values that passes ``threshold`` as float32, so that the threshold is never
    rounded; None if none does. A model's outputs ask for the same few again and again."""
    steps = np.arange(-128, 128, dtype=np.int16)
    passes = np.flatnonzero(_dequantize(steps, zero_point, scale) >= threshold)
    # As Python's int: with an int16, numpy 2 would convert all values to int16 first.
    return int(steps[passes[0]]) if passes.size else None


def _dequantize(values: NDArray[Any], zero_point: int, scale: float) -> NDArray[np.float32]:
    return (values.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)


Raw = NDArray[np.float32] | Quantized


@runtime_checkable
class QuantizedBackend(Protocol):
    """A backend that can also return its outputs before they are converted to floats."""

    def infer_quantized(self, image: NDArray[np.uint8]) -> list[Raw]:
        """Run one H×W×3 uint8 RGB image. Returns outputs in the manifest's shapes: Quantized if INT8, else float32.

        Raises the same errors as ``Backend.infer``.
        """
        ...


@runtime_checkable
class PictureBackend(Protocol):
    """A backend that takes the pixels of a camera as they are, without a copy in RGB."""

    def infer_picture(self, picture: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Run one picture, at the top left of the model's input, on black: rows×columns×3 or ×4 uint8, blue, green, red
        and a fourth byte that means nothing. Returns the outputs in the model's shapes, with or without a batch of 1.

        Raises the same errors as ``Backend.infer``.
        """
        ...


@runtime_checkable
class BgrBackend(Protocol):
    """A backend that takes images in OpenCV's order of colors, without a copy in RGB."""

    def infer_bgr(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Like ``Backend.infer``, but blue, green, red."""
        ...


def check_images(images: NDArray[np.uint8], height: int, width: int) -> None:
    """Raise ValueError unless ``images`` is N×height×width×3 uint8."""
    if images.dtype != UINT8 or images.ndim != 4 or images.shape[1:] != (height, width, 3):
        raise ValueError(f"a backend takes N×{height}×{width}×3 uint8 RGB, not {images.shape} {images.dtype}")


def check_picture(picture: NDArray[np.uint8], height: int, width: int) -> None:
    """Raise ValueError unless ``picture`` is what ``PictureBackend.infer_picture`` takes."""
    fits = picture.ndim == 3 and 0 < picture.shape[0] <= height and 0 < picture.shape[1] <= width
    if picture.dtype != UINT8 or not fits or picture.shape[2] not in (3, 4):
        raise ValueError(f"a picture has at most {height}×{width}×3 uint8 BGR, not {picture.shape} {picture.dtype}")


def stack_runs(runs: Sequence[Sequence[NDArray[np.float32]]]) -> list[NDArray[np.float32]]:
    """Join the outputs of N runs on one image each: one array for each output, with N as the first dimension.

    A batch dimension of 1 becomes the N dimension. Outputs without a batch dimension (InsightFace's SCRFD exports) get
    one. The arrays of a single run are not copied.
    """
    if len(runs) == 1:
        return [array if array.ndim > 1 and array.shape[0] == 1 else array[None] for array in runs[0]]
    return [
        np.concatenate(arrays) if arrays[0].ndim > 1 and arrays[0].shape[0] == 1 else np.stack(arrays)
        for arrays in zip(*runs, strict=True)
    ]
