"""How search grows with the gallery, and the service with its cameras: points for tests/bench/scaling.py, as JSON.

    python tests/bench/scaling_gallery_cameras.py gallery 10000      one gallery of so many samples
    python tests/bench/scaling_gallery_cameras.py cameras 4          one service with so many cameras

Each in a process of its own, so that nothing of the point before is in memory, and search on one thread. The service is
that of tests/bench/service_day.py, stand-ins for the models and all else real, for a simulated quarter of an hour.
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

from rkface.runtime.gallery.search import build
from rkface.runtime.vision.embed import unit

SAMPLES = (1_000, 10_000, 20_000, 30_000, 40_000, 49_000, 60_000, 80_000, 100_000)
CAMERAS = (1, 2, 3, 4, 6, 8)
MINUTES, FRAMES = 15, 27  # simulated, and a minute's frames of each camera
RUNS, DIMENSIONS = 25, 512


def gallery(samples: int) -> tuple[float, float]:
    """Milliseconds of CPU to search one probe among ``samples``, each somebody else's; megabytes of the index."""
    random = np.random.default_rng(0)
    vectors = unit(random.standard_normal((samples, DIMENSIONS), dtype=np.float32))
    index = build(vectors, range(samples), range(samples))
    probe = unit(vectors[:1] + random.standard_normal((1, DIMENSIONS), dtype=np.float32) / DIMENSIONS**0.5)
    taken = []
    for _ in range(RUNS):
        started = time.thread_time()
        [hits] = index.search(probe, 5, lambda ids: (ids, vectors[ids]))
        taken.append(time.thread_time() - started)
    assert hits[0].sample == 0
    return float(np.median(taken)) * 1e3, (index.nbytes + index.samples.nbytes + index.owners.nbytes) / 1e6


def cameras(count: int) -> tuple[float, float]:
    """Milliseconds of CPU that one frame from each of ``count`` cameras takes, all threads; resident megabytes."""
    from service_day import day

    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        held = day(MINUTES / 60, Path(folder), count)
    return held[-1]["CPU s"] * 1e3 / (MINUTES * FRAMES), held[-1]["RSS MiB"] * 2**20 / 1e6


KINDS: dict[str, Callable[[int], tuple[float, float]]] = {"gallery": gallery, "cameras": cameras}


def points(kind: str, sizes: tuple[int, ...]) -> list[tuple[float, float]]:
    """``kind`` at each of ``sizes``."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    return [
        tuple(json.loads(subprocess.check_output([sys.executable, __file__, kind, str(size)], env=environment)))
        for size in sizes
    ]


if __name__ == "__main__":
    print(json.dumps(KINDS[sys.argv[1]](int(sys.argv[2]))))
