"""The measures of activations, on distributions whose values are known."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the benchmarks are scripts

from activation_statistics import TensorStatistics


def statistics(*images):
    found = TensorStatistics()
    for image in images:
        found.add(np.asarray(image, np.float32))
    return found


def test_kurtosis_is_that_of_all_images_together():
    random = np.random.default_rng(1)
    normal = random.normal(5, 2, (2, 8, 100, 100))
    assert statistics(*normal).kurtosis == pytest.approx(0, abs=0.05)
    assert statistics(*random.uniform(-1, 3, (2, 8, 100, 100))).kurtosis == pytest.approx(-1.2, abs=0.02)
    normal[0, 0, 0, 0] = 200  # one value of 160,000, about 100 standard deviations away
    assert statistics(*normal).kurtosis > 100


def test_sqnr_is_48_for_even_values_and_6_less_for_each_doubled_range():
    even = np.linspace(-1, 1, 4096).reshape(4, 32, 32)
    assert statistics(even).sqnr == pytest.approx(20 * np.log10(255), abs=0.1)
    even[0, 0, 0] = 3  # -1 to 3: twice the range
    assert statistics(even).sqnr == pytest.approx(20 * np.log10(255) - 6, abs=0.1)


def test_spread_compares_the_widest_channel_with_the_median_one():
    channels = np.zeros((5, 2, 2))
    channels[:, 0, 0] = (1, 2, 2, 3, 20)
    assert statistics(channels, 0 * channels).spread == pytest.approx(10)
