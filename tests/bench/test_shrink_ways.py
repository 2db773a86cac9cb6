"""The ways that `make bench-shrink` compares give the same answer, so that only their time decides."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the benchmarks are scripts

from shrink_ways import BOTH, COLUMNS, CONVERSIONS, ROWS, SHAPE, WAYS, measure, to_markdown

FRAME = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)


@pytest.mark.parametrize("name", WAYS)
def test_each_way_gives_the_bits_of_bilinear_interpolation(name):
    np.testing.assert_array_equal(WAYS[name](FRAME), cv2.resize(FRAME, (COLUMNS, ROWS)))


@pytest.mark.parametrize("name", [*CONVERSIONS, *BOTH])
def test_each_way_gives_the_same_floats(name):
    small = cv2.resize(FRAME, (COLUMNS, ROWS))
    found = CONVERSIONS[name](small) if name in CONVERSIONS else BOTH[name](FRAME)
    np.testing.assert_array_equal(found, ((small - np.float32(127.5)) / np.float32(128)).transpose(2, 0, 1))


def test_each_way_is_measured_right_after_an_inference():
    calls = []
    ways = {name: lambda frame, name=name: calls.append(name) for name in ("one", "other")}
    results = measure(ways, (4, 4, 3), lambda: calls.append("inference"), rounds=1)
    assert [one.name for one in results] == ["one", "other"] and "| one | " in to_markdown("what", results)
    rounds = [("other", "one"), ("one", "other")]  # the first one allocates
    assert calls == [call for names in rounds for name in names for call in ("inference", name, name)]
