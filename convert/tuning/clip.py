"""Chooses the INT8 range of an activation: a smaller range rounds all values more finely, but cuts off the largest
ones.

Both errors are measured on a histogram of each tensor, as in TensorRT's calibration (Migacz, "8-bit Inference with
TensorRT", GTC 2017), but with the squared error instead of the divergence. Cut-off values have a larger weight:
rounding is noise that the next sum averages out, but cutting off always errs in the same direction.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

SHRINKS = np.linspace(1.0, 0.3, 29)  # the factors to try
CUT = 5.0  # weight of the squared error of cut-off values (docs/accuracy.md)
BINS = 2048
SAMPLE = 20000  # counted values of each tensor and image: enough for the tail that a factor of 0.3 would cut off


class RangeHistograms:
    """Histograms of tensors whose ranges are known, filled image by image."""

    def __init__(self, ranges: Mapping[str, tuple[float, float]]) -> None:
        """``ranges``: (smallest, largest) value of each tensor; they must contain 0."""
        self._edges = {name: np.linspace(low, high, BINS + 1) for name, (low, high) in ranges.items() if high > low}
        self._counts: dict[str, NDArray[np.int64]] = {name: np.zeros(BINS, np.int64) for name in self._edges}

    @property
    def names(self) -> list[str]:
        """The tensors with a histogram."""
        return sorted(self._edges)

    def add(self, values: Mapping[str, NDArray[np.float32]]) -> None:
        """Add the values of one more image; tensors without a histogram are ignored."""
        for name, edges in self._edges.items():
            flat = values[name].reshape(-1)
            step = -(-flat.size // SAMPLE) | 1  # odd, so that it does not hit the same columns in every row
            self._counts[name] += np.histogram(flat[::step], bins=BINS, range=(edges[0], edges[-1]))[0]

    def shrinks(self) -> dict[str, float]:
        """The best factor for each range, by name. Tensors that keep their range are left out."""
        found = {name: _shrink(edges, self._counts[name]) for name, edges in self._edges.items()}
        return {name: factor for name, factor in found.items() if factor < 1}


def _shrink(edges: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    values = (edges[:-1] + edges[1:]) / 2
    errors = []
    for factor in SHRINKS:
        low, high = edges[0] * factor, edges[-1] * factor
        scale = (high - low) / 255
        cut = values - np.clip(values, low, high)
        # scale² / 12 is the mean squared error of rounding to multiples of `scale`.
        errors.append(float(counts @ (np.where(cut == 0, scale**2 / 12, CUT * cut**2))))
    return float(SHRINKS[int(np.argmin(errors))])
