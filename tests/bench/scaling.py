"""How rkface's time and memory grow with faces, the camera's resolution, the gallery and the cameras, drawn.

    make bench-growth        (python tests/bench/scaling.py --help)

The reference pipeline on one thread, in that thread's CPU time: others at work on the machine do not count. Own work is
a call less its time inside ONNX Runtime; memory is the highest that Python and NumPy held during one call, counted by
tracemalloc in a run of its own. A straight line is fitted to each series, and how far the points are from it is said.
Faces are of one size, so that only their number grows. Gallery and cameras: tests/bench/scaling_gallery_cameras.py.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from comparison_rkface import open_pipeline
from comparison_worker import Clock
from scaling_gallery_cameras import CAMERAS, SAMPLES, points
from scenes import material, portraits, scene

from rkface.convert.report.plot import COLORS, svg_text
from rkface.runtime.core.progress import stage
from rkface.runtime.inference.pipeline import Pipeline
from rkface.runtime.vision.bare_onnx import open_detector
from rkface.runtime.vision.detect import Detector

COUNTS = (0, 1, 2, 5, 10, 20, 30, 40, 50, 60, 72)
GRID = (6, 12, 0.15)
SIZES = ((640, 360), (1280, 720), (1920, 1080), (2560, 1440), (3840, 2160), (5120, 2880), (7680, 4320))
RUNS = 15
WIDTH, HEIGHT = 440, 260  # of one plot
LEFT, RIGHT, TOP, BOTTOM = 60, 16, 30, 44


@dataclass(frozen=True)
class Series:
    """``x`` against ``y``, and the line fitted to them: y = start + slope · x, by at most ``off`` of the largest y."""

    name: str
    x_name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    start: float
    slope: float
    off: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detector", type=Path)
    parser.add_argument("--recognizer", type=Path)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--runs", type=int, default=RUNS, help="of each point, for their median (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("build/bench/growth"), help="results, .svg, .md and .json")
    options = parser.parse_args()
    own = (options.detector, options.recognizer, options.photos)
    if any(own) != all(own):
        parser.error("give --detector, --recognizer and --photos, or none of them")
    models = material(*own)
    cv2.setNumThreads(1)
    clock = Clock(time.thread_time)
    clock.watch()
    with stage("frames"):
        pictures = [one for one, _ in portraits(models.images(), Detector(*open_detector(models.detector)))]
    with open_pipeline(models.detector, models.recognizer, threads=1) as pipeline:
        with stage("faces"):
            faces = [
                measure(pipeline, scene(pictures, count, (1920, 1080), 1, GRID), clock, options.runs)
                for count in COUNTS
            ]
        with stage("resolution"):
            sizes = [measure(pipeline, scene(pictures, 0, size), clock, options.runs) for size in SIZES]
    with stage("gallery"):
        galleries = points("gallery", SAMPLES)
    with stage("cameras"):
        services = points("cameras", CAMERAS)
    found = [one[0] for one in faces]
    thousands = [samples / 1000 for samples in SAMPLES]
    megapixels = [width * height / 1e6 for width, height in SIZES]
    series = [
        fit("whole, ms of CPU time", "faces in 1920×1080", found, [one[1] for one in faces]),
        fit("own work, ms of CPU time", "faces in 1920×1080", found, [one[2] for one in faces]),
        fit("memory of a call, MB", "faces in 1920×1080", found, [one[3] for one in faces]),
        fit("own work, ms of CPU time", "megapixels, no face", megapixels, [one[2] for one in sizes]),
        fit("memory of a call, MB", "megapixels, no face", megapixels, [one[3] for one in sizes]),
        fit("search for one face, ms of CPU time", "thousand samples", thousands, [one[0] for one in galleries]),
        fit("memory of the index, MB", "thousand samples", thousands, [one[1] for one in galleries]),
        fit("a frame of each, ms of CPU time", "cameras of one service", CAMERAS, [one[0] for one in services]),
        fit("memory of the service, MB", "cameras of one service", CAMERAS, [one[1] for one in services]),
    ]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.with_suffix(".svg").write_text(draw(series))
    options.out.with_suffix(".json").write_text(json.dumps([asdict(one) for one in series], indent=2) + "\n")
    table = markdown(series) + ("\nSynthetic: the demo pack on rendered people.\n" if models.synthetic else "")
    options.out.with_suffix(".md").write_text(table)
    print(f"{table}\nwritten: {', '.join(str(options.out.with_suffix(one)) for one in ('.svg', '.md', '.json'))}")
    return 0


def measure(pipeline: Pipeline, image: np.ndarray, clock: Clock, runs: int) -> tuple[int, float, float, float]:
    """Faces found; medians of a whole call and of its own work in milliseconds; peak of a call in megabytes."""
    count = len(pipeline.recognize(image))
    taken = np.empty((runs, 2))
    for run in range(runs):
        clock.seconds, started = 0.0, clock.timer()
        pipeline.recognize(image)
        whole = clock.timer() - started
        taken[run] = whole, whole - clock.seconds
    whole, own = np.median(taken, axis=0) * 1e3
    tracemalloc.start()
    pipeline.recognize(image)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return count, float(whole), float(own), peak / 1e6


def fit(name: str, x_name: str, x: Sequence[float], y: Sequence[float]) -> Series:
    slope, start = np.polyfit(x, y, 1)
    off = float(np.abs(np.asarray(y) - (start + slope * np.asarray(x))).max() / max(y))
    return Series(name, x_name, tuple(x), tuple(round(one, 3) for one in y), float(start), float(slope), off)


def markdown(series: Sequence[Series]) -> str:
    lines = ["| | against | at the start | for each more | furthest from the line |", "|---" * 5 + "|"]
    lines += [f"| {one.name} | {one.x_name} | {one.start:.2f} | {one.slope:.3f} | {one.off:.1%} |" for one in series]
    return "\n".join(lines) + "\n"


def draw(series: Sequence[Series]) -> str:
    """The plots, two beside each other, as a file of its own."""
    rows = (len(series) + 1) // 2
    plots = [
        f"<g transform='translate({index % 2 * WIDTH} {index // 2 * HEIGHT})'>{plot(one)}</g>"
        for index, one in enumerate(series)
    ]
    width, height = 2 * WIDTH, rows * HEIGHT
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' height='{height}' "
        f"font-family='sans-serif' color='#222'><rect width='{width}' height='{height}' fill='white'/>{''.join(plots)}"
        "</svg>\n"
    )


def plot(one: Series) -> str:
    """Points and line of a series; both axes begin at 0."""
    across, up = ticks(max(one.x)), ticks(max(one.y))
    right, top = across[-1], up[-1]

    def x(value: float) -> float:
        return LEFT + value / right * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM)

    parts = [
        svg_text(LEFT - 40, 18, one.name, "start", strong=True),
        svg_text((LEFT + WIDTH) / 2, HEIGHT - 8, one.x_name),
    ]
    for value in up:
        parts.append(f"<path d='M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}' stroke='currentColor' opacity='.12'/>")
        parts.append(svg_text(LEFT - 6, y(value) + 4, f"{value:g}", "end"))
    parts += [svg_text(x(value), HEIGHT - BOTTOM + 17, f"{value:g}") for value in across]
    ends = [(x(at), y(one.start + one.slope * at)) for at in (0, max(one.x))]
    line = "L".join(f"{left:.1f} {down:.1f}" for left, down in ends)
    parts.append(f"<path d='M{line}' stroke='{COLORS[1]}' stroke-dasharray='6 4' fill='none'/>")
    points = [(x(at), y(value)) for at, value in zip(one.x, one.y, strict=True)]
    parts += [f"<circle cx='{left:.1f}' cy='{down:.1f}' r='4' fill='{COLORS[0]}'/>" for left, down in points]
    return "".join(parts)


def ticks(highest: float) -> list[float]:
    """Round numbers from 0 on, four to eight of them, the last one the first that is no less than ``highest``."""
    power = 10.0 ** np.floor(np.log10(highest / 4))
    step = next(power * factor for factor in (5, 2, 1) if power * factor <= highest / 4 * 1.0001)
    return [round(step * index, 9) for index in range(int(np.ceil(highest / step - 1e-9)) + 1)]


if __name__ == "__main__":
    sys.exit(main())
