"""The plots of `make bench-million`: people read from them how a search grows."""

import re
import sys
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the benchmarks are scripts

from growth_plot import draw_growth, powers_around


def test_each_power_of_ten_is_as_far_from_the_next_and_no_point_is_outside():
    curve = [(1_000, 0.03), (10_000, 0.3), (100_000, 3.0), (1_000_000, 30.0)]
    svg = draw_growth({"random, known": {"rkface": curve, "faiss HNSW": curve[:2]}})
    ElementTree.fromstring(svg)
    line = re.findall(r"<path d='M([^H']+)' stroke='#", svg)[0]
    places = [tuple(map(float, place.split())) for place in line.split("L")]
    steps = [(right[0] - left[0], right[1] - left[1]) for left, right in pairwise(places)]
    assert steps == [pytest.approx(steps[0], abs=0.2)] * 3 and steps[0][0] > 0 > steps[0][1]
    assert "rkface" in svg and "faiss HNSW" in svg and ">1000<" in svg and ">0.01<" in svg


@pytest.mark.parametrize(
    ("values", "powers"), [([0.03, 125], [-2, -1, 0, 1, 2, 3]), ([1], [0, 1]), ([1, 1000], [0, 1, 2, 3])]
)
def test_axes_reach_from_power_to_power(values, powers):
    assert powers_around(values) == powers
