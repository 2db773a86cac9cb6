"""How far the range of an activation may fall short of its largest values: rounding all a little finer against cutting
off a few.

The error of both is measured on a histogram of each tensor, as TensorRT's calibration does (Migacz, "8-bit Inference
with TensorRT", GTC 2017), with the squared error instead of the divergence. Cut-off values count more: rounding is
noise that the next sum averages out, what is cut off is missing in the same direction every time.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

SHRINKS = np.linspace(1.0, 0.3, 29)
CUT = 5.0  # how much more a cut-off value's squared error counts (docs/accuracy.md)
BINS = 2048
SAMPLE = 20000  # values of a tensor and image that are counted: enough for the tail that a shrink of 0.3 would cut


class RangeHistograms:
    """Histograms of tensors whose extremes are known, filled image by image."""

    def __init__(self, ranges: Mapping[str, tuple[float, float]]) -> None:
        """``ranges``: the least and largest value of each tensor, with 0 between them."""
        self._edges = {name: np.linspace(low, high, BINS + 1) for name, (low, high) in ranges.items() if high > low}
        self._counts: dict[str, NDArray[np.int64]] = {name: np.zeros(BINS, np.int64) for name in self._edges}

    @property
    def names(self) -> list[str]:
        return sorted(self._edges)

    def add(self, values: Mapping[str, NDArray[np.float32]]) -> None:
        """Count what the tensors hold on one more image; those of no range are passed over."""
        for name, edges in self._edges.items():
            flat = values[name].reshape(-1)
            step = -(-flat.size // SAMPLE) | 1  # odd: not the same columns of every row
            self._counts[name] += np.histogram(flat[::step], bins=BINS, range=(edges[0], edges[-1]))[0]

    def shrinks(self) -> dict[str, float]:
        """By which factor each range is best made smaller; tensors that are best left alone are left out."""
        found = {name: _shrink(edges, self._counts[name]) for name, edges in self._edges.items()}
        return {name: factor for name, factor in found.items() if factor < 1}


def _shrink(edges: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    values = (edges[:-1] + edges[1:]) / 2
    errors = []
    for factor in SHRINKS:
        low, high = edges[0] * factor, edges[-1] * factor
        scale = (high - low) / 255
        cut = values - np.clip(values, low, high)
        # The mean squared error of rounding to a step, where a bin is finer than that.
        errors.append(float(counts @ (np.where(cut == 0, scale**2 / 12, CUT * cut**2))))
    return float(SHRINKS[int(np.argmin(errors))])
