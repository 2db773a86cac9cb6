"""What `make bench-growth` reports and draws. People quote its lines."""

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the benchmarks are scripts

from scaling import HEIGHT, WIDTH, choose_ticks, draw_plots, fit_line


def test_a_straight_line_is_found_and_the_distance_of_points_from_it_is_reported():
    straight = fit_line("ms", "faces", [0, 1, 5, 20], [3, 3.5, 5.5, 13])
    assert (straight.start, straight.slope, straight.off) == pytest.approx((3, 0.5, 0), abs=1e-9)
    # Nine points lie on a level line, the tenth is 10 above it. Least squares move the line only a little towards it.
    assert fit_line("MB", "faces", range(10), [0] * 9 + [10]).off > 0.5


@pytest.mark.parametrize(
    ("highest", "marks"),
    [
        (72, [0, 10, 20, 30, 40, 50, 60, 70, 80]),
        (3.777, [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4]),
        (4, [0, 1, 2, 3, 4]),
        (20, [0, 5, 10, 15, 20]),
    ],
)
def test_axes_have_round_numbers(highest, marks):
    assert choose_ticks(highest) == marks


def test_every_point_is_drawn_inside_its_plot():
    series = [fit_line("ms", "faces", [0, 10, 72], [1, 2, 9]), fit_line("MB", "megapixels", [0.2, 33], [8, 8])]
    drawn = ElementTree.fromstring(draw_plots(series))
    plots = drawn.findall("{*}g")
    assert [len(plot.findall(".//{*}circle")) for plot in plots] == [3, 2]
    for circle in drawn.iter("{http://www.w3.org/2000/svg}circle"):
        assert 0 < float(circle.get("cx")) < WIDTH and 0 < float(circle.get("cy")) < HEIGHT
