"""Quantized outputs must give exactly the results of their floats."""

import numpy as np
import pytest

from rkface.runtime.backends import Quantized

GRIDS = ((-128, 1 / 255), (-39, 0.0469998), (7, 0.0370629), (127, 3.1), (0, 1e-6))


@pytest.mark.parametrize(("zero_point", "scale"), GRIDS)
def test_a_threshold_selects_the_same_values_as_on_floats(zero_point, scale):
    every = Quantized(np.arange(-128, 128, dtype=np.int8), zero_point, scale)
    floats = every.dequantize()
    # At each of the 256 values, and just above and below it, where a rounded threshold would be wrong.
    edges = [np.nextafter(floats, np.float32(way)) for way in (-np.inf, np.inf)]
    for threshold in np.concatenate([floats, *edges]):
        np.testing.assert_array_equal(every >= threshold, floats >= threshold)
        np.testing.assert_array_equal(every >= float(threshold), floats >= float(threshold))


def test_no_value_passes_a_threshold_above_all_values():
    assert not (Quantized(np.array([-128, 127], np.int8), -128, 1 / 255) >= 1.01).any()


def test_indexed_values_equal_those_of_the_dequantized_array():
    values = np.random.default_rng(0).integers(-128, 128, (60, 10), np.int8)
    output = Quantized(values, -44, 0.0435)
    rows = np.array([3, 59, 3])
    picked = output.reshape(-1, 5, 2)[rows]
    assert picked.dtype == np.float32
    np.testing.assert_array_equal(picked, output.dequantize().reshape(-1, 5, 2)[rows])
    np.testing.assert_array_equal(output.reshape(-1, 5, 2).take(rows, 0), picked)
    np.testing.assert_allclose(picked, (values[rows].reshape(-1, 5, 2) + 44.0) * 0.0435, rtol=1e-6)  # float32
