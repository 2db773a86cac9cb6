"""rkface's own work on a frame and its bound, in one process and in turns: docs/hot-path.md and docs/benchmark.md.

    make bench-own
    make bench-own OPTIONS='--rounds 10 --threads 1 --timer cpu'     a quick look, on a machine that others use
    make bench-own OPTIONS='--calls 5'                               each call for a frame with five faces

Own work and bound are those of `make bench`, which needs insightface and an hour. --calls lists what a frame calls, in
microseconds without what it calls in turn. It follows each call (sys.setprofile), which makes a Python function some 2
to 5 µs slower, so that the order counts and not the sum.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import cv2
import numpy as np
from comparison_report import BOUND, MOST_OVER_BOUND
from comparison_rkface import Bound, open_pipeline
from comparison_worker import TIMERS, InferenceClock
from insightface_comparison import Frame, prepare_frames, prepare_shapes
from program import add_model_options, create_parser, format_table, has_own_models, write_results
from scenes import GRIDS, Material, choose_material

from rkface.runtime.inference.pipeline import Pipeline

LEAST = 5.0  # microseconds of a call that --calls lists; it counts all of them


@dataclass(frozen=True)
class OwnWork:
    """Medians in milliseconds. ``bound``: by part."""

    frame: str
    faces: int
    threads: int
    own: float
    bound: dict[str, float]


def measure_own_work(pipeline: Pipeline, frame: Frame, threads: int, rounds: int, clock: InferenceClock) -> OwnWork:
    image = np.load(frame.path)
    bound, own, parts = Bound(pipeline, image, clock.timer), [], []
    for _ in range(rounds):
        fresh = image.copy()
        clock.reset()
        started = clock.timer()
        pipeline.recognize(fresh)
        own.append(clock.timer() - started - clock.seconds)
        parts.append(bound.measure())
    medians = {name: round(float(np.median([one[name] for one in parts])) * 1e3, 3) for name in BOUND}
    name = f"{frame.width}×{frame.height}"
    return OwnWork(name, frame.faces, threads, round(float(np.median(own)) * 1e3, 3), medians)


def list_calls(pipeline: Pipeline, image: np.ndarray, rounds: int) -> list[tuple[str, int, float]]:
    """Each function that a frame calls outside ONNX Runtime: its name, how often, and microseconds."""
    runs: list[dict[str, list[float]]] = []
    for _ in range(rounds + 1):
        events: list[tuple[str, str, int]] = []

        def watch(frame: FrameType, event: str, call: Any, events: list[tuple[str, str, int]] = events) -> None:
            place = f"{Path(frame.f_code.co_filename).name}"
            name = call.__qualname__ if event.startswith("c_") else frame.f_code.co_name
            events.append((event, f"{name} ({place})", time.perf_counter_ns()))

        fresh = image.copy()
        sys.setprofile(watch)
        pipeline.recognize(fresh)
        sys.setprofile(None)
        runs.append(add_up(events))
    runs = runs[1:]  # the first one allocates
    return [
        (name, len(runs[0][name]), round(float(np.median([sum(run[name]) for run in runs])) / 1e3, 1))
        for name in runs[0]
        if "onnxruntime" not in name and "comparison_worker" not in name  # the clock's own calls
    ]


def add_up(events: list[tuple[str, str, int]]) -> dict[str, list[float]]:
    """Nanoseconds of each function in each call of it, without those of the functions that it calls."""
    spent: dict[str, list[float]] = defaultdict(list)
    running: list[tuple[str, float]] = []
    before = 0
    for event, name, moment in events:
        if running:
            running[-1] = running[-1][0], running[-1][1] + moment - before
        if event in ("call", "c_call"):
            running.append((name, 0.0))
        elif running:
            ended, nanoseconds = running.pop()
            spent[ended].append(nanoseconds)
        before = moment
    return spent


def name_models(material: Material) -> str:
    return f"{material.detector.name} and {material.recognizer.name}\n\n"


def to_markdown(rows: list[OwnWork]) -> str:
    table = []
    for row in rows:
        whole = sum(row.bound.values())
        parts = [f"{row.bound[name]:.2f}" for name in BOUND]
        over = "" if row.own <= MOST_OVER_BOUND * whole else f"**above {MOST_OVER_BOUND:g}**"
        cells = [*parts, f"{whole:.2f}", f"{row.own:.2f}", f"{row.own / whole:.2f}", over]
        table.append([row.frame, row.faces, row.threads, *cells])
    headings = ["frame", "faces", "threads", *BOUND, "bound", "own work", "times the bound", ""]
    return "\n".join(format_table(headings, table)) + "\n"


def calls_to_markdown(calls: list[tuple[str, int, float]]) -> str:
    longest = format_table(["call", "times", "µs"], [one for one in calls if one[2] >= LEAST])
    count = sum(times for _, times, _ in calls)
    return "\n".join([f"{count} calls of {len(calls)} functions. Those of {LEAST:g} µs or more:", "", *longest]) + "\n"


def main() -> int:
    parser = create_parser(__doc__, "build/bench/own")
    parser.add_argument("--rounds", type=int, default=30, help="runs of each frame (default: %(default)s)")
    parser.add_argument("--timer", choices=TIMERS, default="wall", help="as for `make bench` (default: %(default)s)")
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, os.cpu_count() or 1}))
    parser.add_argument("--calls", type=int, choices=GRIDS, metavar="FACES", help=f"list the calls instead: {[*GRIDS]}")
    add_model_options(parser)
    options = parser.parse_args()
    has_own_models(parser, options)
    material = choose_material(options.detector, options.recognizer, options.photos)
    clock = InferenceClock(TIMERS[options.timer])
    clock.install()
    with tempfile.TemporaryDirectory() as name:
        frames, shapes = prepare_frames(material, Path(name)), prepare_shapes(material.detector, Path(name))
        rows = []
        for threads in options.threads if options.calls is None else [1]:
            cv2.setNumThreads(threads)
            pipeline = open_pipeline(shapes[0], material.recognizer, threads, shapes[1:])
            gc.collect()
            gc.freeze()
            if options.calls is not None:
                image = np.load(next(one.path for one in reversed(frames) if one.faces == options.calls))
                calls = list_calls(pipeline, image, options.rounds)
                write_results(options.out, name_models(material) + calls_to_markdown(calls), calls)
                return 0
            rows += [measure_own_work(pipeline, frame, threads, options.rounds, clock) for frame in frames]
    write_results(options.out, name_models(material) + to_markdown(rows), list(map(asdict, rows)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
