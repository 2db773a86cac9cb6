"""CPU time of each stage of rkface, without inference: the table of docs/hot-path.md.

    make bench-hot
    python tests/bench/cpu_stages.py --runs 20        a quick look

The images are random pixels. A stand-in replaces the detector and answers as an SCRFD at 640×640 does for 0, 1, 5 or 20
faces: twelve overlapping anchors for each face, and noise below the threshold. Each time is CPU time of the one thread
that computes (OpenCV's own threads are switched off): median and 95th percentile.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import cv2
import numpy as np
from program import create_parser, format_table, write_results
from stand_ins import DETECTOR_INPUT, DETECTOR_OUTPUTS, SIDE, ConstantBackend, make_detector_outputs

from rkface.runtime.backends.reference import Tensor
from rkface.runtime.vision.align import align
from rkface.runtime.vision.detect import Detector, suppress
from rkface.runtime.vision.detectors import find_layout
from rkface.runtime.vision.embed import unit
from rkface.runtime.vision.letterbox import Canvas

RESOLUTIONS = ((640, 480), (1280, 720), (1920, 1080), (3840, 2160))
FACES = (0, 1, 5, 20)
STAGES = ("detect", "letterbox", "decode", "suppress", "align")


def measure_cpu_time(call: Callable[[], object], runs: int) -> tuple[float, float]:
    """Median and 95th percentile in milliseconds of CPU time."""
    for _ in range(max(2, runs // 10)):
        call()
    times = np.empty(runs)
    for run in range(runs):
        start = time.thread_time_ns()
        call()
        times[run] = time.thread_time_ns() - start
    return float(np.median(times) / 1e6), float(np.percentile(times, 95) / 1e6)


def measure_stages(width: int, height: int, faces: int, runs: int) -> dict[str, object]:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    outputs = make_detector_outputs(faces, width, height)
    detector = Detector(ConstantBackend(outputs), DETECTOR_INPUT, DETECTOR_OUTPUTS)
    canvas, layout = Canvas(SIDE, SIDE), find_layout(DETECTOR_OUTPUTS, SIDE, SIDE)
    found = detector.detect(image)
    assert len(found.boxes) == faces, "the stand-in does not answer like a detector"
    boxes = layout.decode(outputs, 0.5).boxes.tolist()
    calls: dict[str, Callable[[], object]] = {
        "detect": lambda: detector.detect(image),
        "letterbox": lambda: canvas.letterbox(image),
        "decode": lambda: layout.decode(outputs, 0.5),
        "suppress": lambda: suppress(boxes, 0.4),
    }
    if faces:
        calls["align"] = lambda: [align(image, points) for points in found.landmarks]
    row: dict[str, object] = {"image": f"{width}×{height}", "faces": faces}
    for name, call in calls.items():
        median, p95 = measure_cpu_time(call, runs)
        share = faces if name == "align" else 1
        row |= {name: median / share, f"{name}_p95": p95 / share}
    return row


def main() -> int:
    parser = create_parser(__doc__, "build/bench/hot")
    parser.add_argument("--runs", type=int, default=100, help="runs of each stage (default: %(default)s)")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    rows = [measure_stages(*size, faces, options.runs) for size in RESOLUTIONS for faces in FACES]
    picture, tensor = np.ones((SIDE * 9 // 16, SIDE, 3), np.uint8), Tensor(DETECTOR_INPUT)
    vectors = np.ones((20, 512), np.float32)
    others = {
        "a 16:9 frame converted to floats (reference backend)": measure_cpu_time(
            lambda: tensor.fill_picture(picture), options.runs
        ),
        "20 embeddings scaled to unit length": measure_cpu_time(lambda: unit(vectors), options.runs),
    }
    write_results(options.out, to_markdown(rows, others), {"rows": rows, "others": others})
    return 0


def to_markdown(rows: list[dict[str, object]], others: dict[str, tuple[float, float]]) -> str:
    table = []
    for row in rows:
        cells = [f"{row[stage]:.3f} ({row[stage + '_p95']:.3f})" if stage in row else "" for stage in STAGES]
        table.append([row["image"], row["faces"], *cells])
    lines = [
        f"{os.cpu_count()} cores, one thread. Milliseconds of CPU time, median (95th percentile); align: per face.",
        "",
        *format_table(["image", "faces", *STAGES], table),
        "",
        *(f"{name}: {median:.3f} ({p95:.3f})." for name, (median, p95) in others.items()),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
