"""How search time grows with the gallery, and the service's cost with its cameras: points for tests/bench/scaling.py.

    python tests/bench/scaling_gallery_cameras.py gallery 10000      search in one gallery of 10000 samples
    python tests/bench/scaling_gallery_cameras.py cameras 4          one service with 4 cameras

Prints two numbers as JSON: milliseconds of CPU time, and megabytes. Each point is measured in its own process, so that
no memory of the previous point counts. Search runs on one thread. The service is the one of tests/bench/service_day.py,
with stand-ins for the models, over a simulated quarter of an hour.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from program import create_parser
from stand_ins import DIMENSIONS

from rkface.runtime.gallery.search import build_index
from rkface.runtime.vision.embed import unit

SAMPLES = (1_000, 10_000, 20_000, 30_000, 40_000, 49_000, 60_000, 80_000, 100_000)
CAMERAS = (1, 2, 3, 4, 6, 8)
MINUTES, FRAMES = 15, 27  # simulated minutes, and frames of each camera per minute
RUNS = 25


def measure_gallery(samples: int) -> tuple[float, float]:
    """CPU milliseconds to search one probe among ``samples`` of as many people; megabytes of the index."""
    random = np.random.default_rng(0)
    vectors = unit(random.standard_normal((samples, DIMENSIONS), dtype=np.float32))
    index = build_index(vectors, range(samples), range(samples))
    probe = unit(vectors[:1] + random.standard_normal((1, DIMENSIONS), dtype=np.float32) / DIMENSIONS**0.5)
    times = []
    for _ in range(RUNS):
        started = time.thread_time()
        [hits] = index.search(probe, 5, lambda ids: (ids, vectors[ids]))
        times.append(time.thread_time() - started)
    assert hits[0].sample == 0
    return float(np.median(times)) * 1e3, (index.nbytes + index.samples.nbytes + index.owners.nbytes) / 1e6


def measure_cameras(cameras: int) -> tuple[float, float]:
    """CPU milliseconds of all threads for one frame from each of ``cameras``; resident megabytes."""
    from service_day import simulate_day

    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        hours = simulate_day(MINUTES / 60, Path(folder), cameras)
    return hours[-1]["CPU s"] * 1e3 / (MINUTES * FRAMES), hours[-1]["RSS MiB"] * 2**20 / 1e6


MEASUREMENTS: dict[str, Callable[[int], tuple[float, float]]] = {"gallery": measure_gallery, "cameras": measure_cameras}


def measure_points(kind: str, sizes: tuple[int, ...]) -> list[tuple[float, float]]:
    """CPU milliseconds and megabytes of measurement ``kind`` at each of ``sizes``."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    return [
        tuple(json.loads(subprocess.check_output([sys.executable, __file__, kind, str(size)], env=environment)))
        for size in sizes
    ]


def main() -> int:
    parser = create_parser(__doc__)
    parser.add_argument("kind", choices=MEASUREMENTS, help="what to measure")
    parser.add_argument("size", type=int, help="number of samples or cameras")
    options = parser.parse_args()
    print(json.dumps(MEASUREMENTS[options.kind](options.size)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
