"""What is still int8 must give exactly what its floats would."""

import numpy as np
import pytest

from rkface.runtime.backends import Quantized

GRIDS = ((-128, 1 / 255), (-39, 0.0469998), (7, 0.0370629), (127, 3.1), (0, 1e-6))


@pytest.mark.parametrize(("zero_point", "scale"), GRIDS)
def test_threshold_falls_where_it_does_on_floats(zero_point, scale):
    every = Quantized(np.arange(-128, 128, dtype=np.int8), zero_point, scale)
    floats = every.dequantize()
    # On each step of the grid, and a hair above and below it, where a threshold rounded by hand would slip.
    edges = [np.nextafter(floats, np.float32(way)) for way in (-np.inf, np.inf)]
    for threshold in np.concatenate([floats, *edges]):
        np.testing.assert_array_equal(every >= threshold, floats >= threshold)
        np.testing.assert_array_equal(every >= float(threshold), floats >= float(threshold))


def test_threshold_above_all_values_lets_none_through():
    assert not (Quantized(np.array([-128, 127], np.int8), -128, 1 / 255) >= 1.01).any()


def test_only_what_is_picked_becomes_float_and_is_the_same():
    values = np.random.default_rng(0).integers(-128, 128, (60, 10), np.int8)
    output = Quantized(values, -44, 0.0435)
    rows = np.array([3, 59, 3])
    picked = output.reshape(-1, 5, 2)[rows]
    assert picked.dtype == np.float32
    np.testing.assert_array_equal(picked, output.dequantize().reshape(-1, 5, 2)[rows])
    np.testing.assert_allclose(picked, (values[rows].reshape(-1, 5, 2) + 44.0) * 0.0435, rtol=1e-6)  # float32
