"""What rkface itself costs the CPU, all but inference, by stage: the table of docs/hot-path.md.

    make bench-hot        (python tests/bench/cpu_stages.py --help)

Scenes of random pixels hold 0 to 20 faces; a stand-in answers in place of the detector, with scores and boxes as a
SCRFD at 640×640 gives them: each face by a dozen overlapping anchors, noise below the threshold. Times are CPU time
of the one thread that computes (OpenCV's own threads are switched off), median and 95th percentile.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from rkface.runtime.backends.reference import Tensor
from rkface.runtime.core.bundle import Input, Output
from rkface.runtime.vision.align import TEMPLATE, align
from rkface.runtime.vision.detect import MEAN, STD, STRIDES, Canvas, Detector, decode, levels, suppress
from rkface.runtime.vision.embed import unit

SIDE = 640
RESOLUTIONS = ((640, 480), (1280, 720), (1920, 1080), (3840, 2160))
FACES = (0, 1, 5, 20)
INPUT = Input("image", SIDE, SIDE, MEAN, STD)
SHAPES = [((SIDE // stride) ** 2 * 2, width) for width in (1, 4, 10) for stride in STRIDES]
OUTPUTS = tuple(Output(f"{index}", (1, *shape)) for index, shape in enumerate(SHAPES))


class Answers:
    """A backend that has one answer to every image."""

    name = "answers"

    def __init__(self, outputs: list[np.ndarray]) -> None:
        self.outputs = outputs

    def infer(self, images: np.ndarray) -> list[np.ndarray]:
        return self.outputs

    def close(self) -> None: ...


def answers(faces: int, width: int, height: int) -> list[np.ndarray]:
    """What a detector says to ``faces`` faces in a row across an image of this aspect."""
    random = np.random.default_rng(faces)
    outputs = [random.uniform(0, 0.1, output.shape).astype(np.float32) for output in OUTPUTS]
    layout = levels(OUTPUTS, SIDE, SIDE)
    usable = SIDE * min(1.0, height / width)
    side = min(60.0, SIDE / (faces + 1))
    for index in range(faces):
        x, y = (index + 0.5) * SIDE / faces, usable / 2
        level = layout[1 if side > 30 else 0]
        near = np.argsort(((level.centers - (x, y)) ** 2).sum(axis=1))[:12]
        centers = level.centers[near]
        points = TEMPLATE / 112 * side + (x - side / 2, y - side / 2)
        outputs[level.scores][0, near, 0] = random.uniform(0.6, 0.9, len(near))
        edges = np.concatenate([centers - (x - side / 2, y - side / 2), (x + side / 2, y + side / 2) - centers], axis=1)
        outputs[level.boxes][0, near] = edges / level.stride
        outputs[level.landmarks][0, near] = ((points - centers[:, None]) / level.stride).reshape(len(near), 10)
    return outputs


def clock(call: Callable[[], object], runs: int) -> tuple[float, float]:
    """Median and 95th percentile in milliseconds of CPU."""
    for _ in range(max(2, runs // 10)):
        call()
    taken = np.empty(runs)
    for run in range(runs):
        start = time.thread_time_ns()
        call()
        taken[run] = time.thread_time_ns() - start
    return float(np.median(taken) / 1e6), float(np.percentile(taken, 95) / 1e6)


def measure(width: int, height: int, faces: int, runs: int) -> dict[str, object]:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    outputs = answers(faces, width, height)
    detector = Detector(Answers(outputs), INPUT, OUTPUTS)
    canvas, layout = Canvas(SIDE, SIDE), levels(OUTPUTS, SIDE, SIDE)
    found = detector.detect(image)
    assert len(found.boxes) == faces, "the stand-in does not answer like a detector"
    candidates = decode(outputs, layout, 0.5)
    calls: dict[str, Callable[[], object]] = {
        "detect": lambda: detector.detect(image),
        "letterbox": lambda: canvas.letterbox(image),
        "decode": lambda: decode(outputs, layout, 0.5),
        "suppress": lambda: suppress(candidates.boxes, 0.4),
    }
    if faces:
        calls["align"] = lambda: [align(image, points) for points in found.landmarks]
    row: dict[str, object] = {"image": f"{width}×{height}", "faces": faces}
    for name, call in calls.items():
        middle, late = clock(call, runs)
        share = faces if name == "align" else 1
        row |= {name: middle / share, f"{name}_p95": late / share}
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/bench/hot"), help="results, .md and .json")
    parser.add_argument("--runs", type=int, default=100)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    rows = [measure(*size, faces, options.runs) for size in RESOLUTIONS for faces in FACES]
    pixels, tensor = np.zeros((1, SIDE, SIDE, 3), np.uint8), Tensor(INPUT)
    pixels[0, : SIDE * 9 // 16] = 1  # a frame of 16:9
    vectors = np.ones((20, 512), np.float32)
    others = {
        "a frame of 16:9 as floats (reference backend)": clock(lambda: tensor.fill(pixels), options.runs),
        "unit length of 20 embeddings": clock(lambda: unit(vectors), options.runs),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.with_suffix(".json").write_text(json.dumps({"rows": rows, "others": others}, indent=2) + "\n")
    text = markdown(rows, others)
    options.out.with_suffix(".md").write_text(text)
    print(text)
    return 0


def markdown(rows: list[dict[str, object]], others: dict[str, tuple[float, float]]) -> str:
    stages = ("detect", "letterbox", "decode", "suppress", "align")
    lines = [
        f"{os.cpu_count()} cores, one thread; milliseconds of CPU, median (95th percentile); align: a face.",
        "",
        f"| image | faces | {' | '.join(stages)} |",
        "|---" * 7 + "|",
    ]
    for row in rows:
        cells = [f"{row[stage]:.3f} ({row[stage + '_p95']:.3f})" if stage in row else "" for stage in stages]
        lines.append(f"| {row['image']} | {row['faces']} | {' | '.join(cells)} |")
    lines += ["", *(f"{name}: {middle:.3f} ({late:.3f})." for name, (middle, late) in others.items())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
