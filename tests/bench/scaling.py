"""How rkface's time and memory grow with faces, frame size, gallery and cameras: the plots of docs/benchmark.md.

    make bench-growth
    make bench-growth OPTIONS='--points 3 --runs 3'     a quick look: the first three points of each series
    make bench-growth OPTIONS='--detector det.onnx --recognizer rec.onnx --photos photos/'

The reference pipeline runs on one thread and is measured in CPU time of that thread, so other programs on the machine
do not count. Own work is the time of a call without its time inside ONNX Runtime. Memory is the highest amount that
Python and NumPy hold during one call, counted by tracemalloc in a separate run. All faces have the same size, so that
only their number grows. tests/bench/scaling_gallery_cameras.py measures gallery and cameras. A straight line is fitted
to each series, and the table tells how far the points are from it.
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import cv2
import numpy as np
from comparison_rkface import open_pipeline
from comparison_worker import InferenceClock
from program import add_model_options, create_parser, format_table, has_own_models, write_results
from scaling_gallery_cameras import CAMERAS, SAMPLES, measure_points
from scenes import Material, choose_material, cut_portraits, draw_scene

from rkface.convert.report.plot import COLORS, svg_text
from rkface.runtime.core.progress import stage
from rkface.runtime.inference.pipeline import Pipeline
from rkface.runtime.vision.bare_onnx import open_detector
from rkface.runtime.vision.detect import Detector

FACES = (0, 1, 2, 5, 10, 20, 30, 40, 50, 60, 72)
GRID = (6, 12, 0.15)  # room for the most of FACES, all of one size
SIZES = ((640, 360), (1280, 720), (1920, 1080), (2560, 1440), (3840, 2160), (5120, 2880), (7680, 4320))
RUNS = 15
WIDTH, HEIGHT = 440, 260  # of one plot, in pixels
LEFT, RIGHT, TOP, BOTTOM = 60, 16, 30, 44  # margins


@dataclass(frozen=True)
class Series:
    """``y`` at each ``x``, and the fitted line y = start + slope · x.

    ``off`` is the largest distance of a point from the line, as a share of the largest y.
    """

    name: str
    x_name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    start: float
    slope: float
    off: float


@dataclass(frozen=True)
class CallCost:
    """Number of faces found; medians of a call and of its own work in milliseconds; its peak memory in megabytes."""

    faces: int
    whole: float
    own: float
    peak: float


def main() -> int:
    parser = create_parser(__doc__, "build/bench/growth")
    add_model_options(parser)
    parser.add_argument("--runs", type=int, default=RUNS, help="runs of each point; the median counts (%(default)s)")
    parser.add_argument("--points", type=int, default=len(FACES), help="points of each series, at most (all)")
    options = parser.parse_args()
    if options.points < 2:
        parser.error("a line needs --points 2 or more")
    has_own_models(parser, options)
    material = choose_material(options.detector, options.recognizer, options.photos)
    cv2.setNumThreads(1)
    series = measure_pipeline(material, options.runs, options.points)
    samples, cameras = SAMPLES[: options.points], CAMERAS[: options.points]
    thousands = [count / 1000 for count in samples]
    with stage("gallery"):
        searches, indices = zip(*measure_points("gallery", samples), strict=True)
    with stage("cameras"):
        frames, services = zip(*measure_points("cameras", cameras), strict=True)
    series += [
        fit_line("search for one face, ms of CPU time", "thousand samples", thousands, searches),
        fit_line("memory of the index, MB", "thousand samples", thousands, indices),
        fit_line("a frame of each, ms of CPU time", "cameras of one service", cameras, frames),
        fit_line("memory of the service, MB", "cameras of one service", cameras, services),
    ]
    note = "\nSynthetic: the demo pack on rendered people.\n" if material.synthetic else ""
    write_results(options.out, to_markdown(series) + note, [asdict(one) for one in series])
    plots = options.out.with_suffix(".svg")
    plots.write_text(draw_plots(series), encoding="utf-8")
    print(f"plots: {plots}")
    return 0


def measure_pipeline(material: Material, runs: int, points: int) -> list[Series]:
    """Time and memory against the number of faces, and against the size of the frame, in ``points`` points at most."""
    clock = InferenceClock(time.thread_time)
    clock.install()
    with stage("frames"):
        pictures = [one.image for one in cut_portraits(material.images(), Detector(*open_detector(material.detector)))]
    with open_pipeline(material.detector, material.recognizer, threads=1) as pipeline:
        with stage("faces"):
            frames = [draw_scene(pictures, count, (1920, 1080), 1, GRID) for count in FACES[:points]]
            faces = [measure_call(pipeline, frame, clock, runs) for frame in frames]
        with stage("frame size"):
            sizes = [measure_call(pipeline, draw_scene(pictures, 0, size), clock, runs) for size in SIZES[:points]]
    found = [cost.faces for cost in faces]
    megapixels = [width * height / 1e6 for width, height in SIZES[:points]]
    return [
        fit_line("whole, ms of CPU time", "faces in 1920×1080", found, [cost.whole for cost in faces]),
        fit_line("own work, ms of CPU time", "faces in 1920×1080", found, [cost.own for cost in faces]),
        fit_line("memory of a call, MB", "faces in 1920×1080", found, [cost.peak for cost in faces]),
        fit_line("own work, ms of CPU time", "megapixels, no face", megapixels, [cost.own for cost in sizes]),
        fit_line("memory of a call, MB", "megapixels, no face", megapixels, [cost.peak for cost in sizes]),
    ]


def measure_call(pipeline: Pipeline, image: np.ndarray, clock: InferenceClock, runs: int) -> CallCost:
    faces = len(pipeline.recognize(image))
    times = np.empty((runs, 2))
    for run in range(runs):
        clock.reset()
        started = clock.timer()
        pipeline.recognize(image)
        whole = clock.timer() - started
        times[run] = whole, whole - clock.seconds
    whole, own = np.median(times, axis=0) * 1e3
    tracemalloc.start()
    pipeline.recognize(image)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return CallCost(faces, float(whole), float(own), peak / 1e6)


def fit_line(name: str, x_name: str, x: Sequence[float], y: Sequence[float]) -> Series:
    """Fit a line by least squares."""
    slope, start = np.polyfit(x, y, 1)
    off = float(np.abs(np.asarray(y) - (start + slope * np.asarray(x))).max() / max(y))
    return Series(name, x_name, tuple(x), tuple(round(value, 3) for value in y), float(start), float(slope), off)


def to_markdown(series: Sequence[Series]) -> str:
    rows = [[one.name, one.x_name, f"{one.start:.2f}", f"{one.slope:.3f}", f"{one.off:.1%}"] for one in series]
    headings = ["", "against", "at the start", "for each more", "furthest from the line"]
    return "\n".join(format_table(headings, rows)) + "\n"


def draw_plots(series: Sequence[Series]) -> str:
    """An SVG file with all plots, two side by side."""
    rows = (len(series) + 1) // 2
    plots = [
        f"<g transform='translate({index % 2 * WIDTH} {index // 2 * HEIGHT})'>{draw_plot(one)}</g>"
        for index, one in enumerate(series)
    ]
    width, height = 2 * WIDTH, rows * HEIGHT
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' height='{height}' "
        f"font-family='sans-serif' color='#222'><rect width='{width}' height='{height}' fill='white'/>{''.join(plots)}"
        "</svg>\n"
    )


def draw_plot(one: Series) -> str:
    """Points and line of a series. Both axes start at 0."""
    x_ticks, y_ticks = choose_ticks(max(one.x)), choose_ticks(max(one.y))

    def x(value: float) -> float:
        return LEFT + value / x_ticks[-1] * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - value / y_ticks[-1] * (HEIGHT - TOP - BOTTOM)

    parts = [
        svg_text(LEFT - 40, 18, one.name, "start", strong=True),
        svg_text((LEFT + WIDTH) / 2, HEIGHT - 8, one.x_name),
    ]
    for value in y_ticks:
        parts.append(f"<path d='M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}' stroke='currentColor' opacity='.12'/>")
        parts.append(svg_text(LEFT - 6, y(value) + 4, f"{value:g}", "end"))
    parts += [svg_text(x(value), HEIGHT - BOTTOM + 17, f"{value:g}") for value in x_ticks]
    ends = [(x(at), y(one.start + one.slope * at)) for at in (0, max(one.x))]
    line = "L".join(f"{left:.1f} {down:.1f}" for left, down in ends)
    parts.append(f"<path d='M{line}' stroke='{COLORS[1]}' stroke-dasharray='6 4' fill='none'/>")
    points = [(x(at), y(value)) for at, value in zip(one.x, one.y, strict=True)]
    parts += [f"<circle cx='{left:.1f}' cy='{down:.1f}' r='4' fill='{COLORS[0]}'/>" for left, down in points]
    return "".join(parts)


def choose_ticks(highest: float) -> list[float]:
    """Four to eight steps of a round number, starting with 0. Only the last tick reaches ``highest`` or exceeds it."""
    power = 10.0 ** np.floor(np.log10(highest / 4))
    step = next(power * factor for factor in (5, 2, 1) if power * factor <= highest / 4 * 1.0001)
    return [round(step * index, 9) for index in range(int(np.ceil(highest / step - 1e-9)) + 1)]


if __name__ == "__main__":
    sys.exit(main())
