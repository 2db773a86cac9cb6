"""CPU time of tracking and recognizing faces, without inference and decoding of the stream: docs/camera.md.

    make bench-watch
    python tests/bench/tracking_cpu.py --seconds 2        a quick look

The frames are random pixels, with faces that move by about a pixel from frame to frame. Stand-ins replace the models
and answer as an SCRFD and a recognizer with 512 numbers do (tests/bench/stand_ins.py). For each frame, the letterbox,
decoding, suppression and tracking are measured, then the quality check, alignment of the faces to embed, fusion of
embeddings and a search among 1000 people, which is one matrix product. Each time is CPU time of the one thread that
computes; OpenCV's own threads are switched off.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from program import create_parser, format_table
from stand_ins import DIMENSIONS, ConstantBackend, make_detector_outputs, make_manifest

from rkface.runtime.core.faces import Faces
from rkface.runtime.core.progress import stage
from rkface.runtime.gallery.match import Match
from rkface.runtime.inference.frames import Frame
from rkface.runtime.inference.pipeline import Pipeline
from rkface.runtime.tracking.rules import RecognitionRules
from rkface.runtime.tracking.track import Tracker
from rkface.runtime.tracking.watcher import Watcher
from rkface.runtime.vision.embed import unit

PEOPLE = 1000


class StandInRecognizer:
    """Gives every crop the same embedding."""

    name = "stand-in"

    def __init__(self, embedding: NDArray[np.float32]) -> None:
        self.embedding = embedding

    def infer(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        return [np.repeat(self.embedding[None], len(images), axis=0)]

    def close(self) -> None: ...


def measure_frames(
    width: int, height: int, faces: int, seconds: float, rate: float
) -> tuple[NDArray[np.float64], float]:
    """CPU milliseconds of each frame, and embeddings per face and second."""
    random = np.random.default_rng(0)
    people = unit(random.normal(size=(PEOPLE, DIMENSIONS)).astype(np.float32))
    manifest = make_manifest()
    detector = ConstantBackend(make_detector_outputs(faces, width, height))
    pipeline = Pipeline(manifest, detector, StandInRecognizer(people[0]))

    def search(probes: NDArray[np.float32], k: int) -> list[Sequence[Match]]:
        cosines = probes @ people.T
        best = np.argpartition(-cosines, k, axis=1)[:, :k]
        return [
            sorted((Match(str(i), "", float(row[i])) for i in nearest), key=lambda match: -match.cosine)
            for row, nearest in zip(cosines, best, strict=True)
        ]

    rules = RecognitionRules.of(manifest.thresholds)
    watcher = Watcher("bench", pipeline, search, rules)
    image = random.integers(0, 256, (height, width, 3), np.uint8)
    times = []
    for number in range(round(seconds * rate)):
        jitter = random.normal(0, 1, (faces, 2)).astype(np.float32)
        start = time.thread_time_ns()
        found = pipeline.detect(image, rules.doubtful)
        found = Faces(found.boxes + np.tile(jitter, 2), found.scores, found.landmarks + jitter[:, None])
        watcher.update(Frame(image, number, number / rate), found)
        times.append((time.thread_time_ns() - start) / 1e6)
    assert watcher.state.faces == faces * len(times), "the stand-in does not answer like a detector"
    return np.array(times), watcher.state.embeddings / max(faces, 1) / seconds


def measure_tracker(faces: int, frames: int = 300) -> float:
    """Median CPU milliseconds per frame of the tracker alone, for ``faces`` people who walk."""
    random = np.random.default_rng(0)
    tracker, times = Tracker(), []
    start_points, speeds = random.uniform(100, 1800, (faces, 2)), random.normal(0, 5, (faces, 2))
    for number in range(frames):
        centers = start_points + speeds * number + random.normal(0, 1, (faces, 2))
        boxes = np.concatenate([centers - 30, centers + 30], axis=1).astype(np.float32)
        found = Faces(boxes, np.full(faces, 0.8, np.float32), np.zeros((faces, 5, 2), np.float32))
        start = time.thread_time_ns()
        tracker.update(found, number / 15)
        times.append((time.thread_time_ns() - start) / 1e6)
    return float(np.median(times))


def main() -> int:
    parser = create_parser(__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the video (default: %(default)g)")
    parser.add_argument("--rate", type=float, default=15.0, help="its frames per second (default: %(default)g)")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    rows = []
    with stage("tracking"):
        for width, height in ((1280, 720), (1920, 1080)):
            for faces in (0, 1, 5, 20):
                times, embedded = measure_frames(width, height, faces, options.seconds, options.rate)
                median, p95 = np.percentile(times, [50, 95])
                figures = [f"{value:.2f}" for value in (median, times.mean(), p95, embedded)]
                rows.append([f"{width}×{height}", faces, *figures])
    headings = ["frame", "faces", "median ms", "mean ms", "95th percentile ms", "embeddings per face and second"]
    print("\n".join(format_table(headings, rows)))
    print(f"\ntracker alone: {measure_tracker(5):.2f} ms for 5 faces, {measure_tracker(50):.2f} ms for 50")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
