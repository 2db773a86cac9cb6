"""What following and recognizing faces costs the CPU, all but inference and the camera's decoding: docs/camera.md.

    make bench-watch        (python tests/bench/watch.py --help)

Frames of random pixels hold faces that jitter by a pixel; stand-ins answer in place of the models, as a SCRFD and a
recognizer of 512 numbers would (tests/bench/hot.py). A frame's work is letterbox, decode and suppression, tracking,
quality gate, alignment of what may be embedded, fusion, and the search among 1000 people: one matrix product. CPU time
of the one thread that computes, OpenCV's own switched off.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import cv2
import numpy as np
from hot import INPUT, OUTPUTS, Answers, answers
from numpy.typing import NDArray

from rkface.runtime.core.bundle import Input, Manifest, Model, Output, Source, Thresholds
from rkface.runtime.core.faces import Faces
from rkface.runtime.core.progress import stage
from rkface.runtime.gallery.match import Match
from rkface.runtime.inference.frames import Frame
from rkface.runtime.inference.pipeline import Pipeline
from rkface.runtime.tracking.track import Tracker
from rkface.runtime.tracking.visit import RecognitionRules
from rkface.runtime.tracking.watcher import Watcher
from rkface.runtime.vision import embed

PEOPLE, DIMENSIONS = 1000, 512


class Recognizer:
    """Says of every crop that it is the first of the people."""

    name = "answers"

    def __init__(self, vector: NDArray[np.float32]) -> None:
        self.vector = vector

    def infer(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        return [np.repeat(self.vector[None], len(images), axis=0)]

    def close(self) -> None: ...


def measure(width: int, height: int, count: int, seconds: float, rate: float) -> tuple[NDArray[np.float64], float]:
    """CPU milliseconds of each frame, and embeddings a face and second."""
    random = np.random.default_rng(0)
    people = embed.unit(random.normal(size=(PEOPLE, DIMENSIONS)).astype(np.float32))
    recognizer = Input("face", 112, 112, embed.MEAN, embed.STD)
    source = Source("none", "0" * 64, 1, "none")
    manifest = Manifest(
        name="bench",
        synthetic=True,
        created="2026-01-01T00:00:00Z",
        target="rk3588",
        toolkit="2.5.0",
        rkface="0",
        detector=Model("d", "d", "int8", INPUT, OUTPUTS, source),
        recognizer=Model("r", "r", "int8", recognizer, (Output("embedding", (1, DIMENSIONS)),), source),
        thresholds=Thresholds(0.5, 0.4, 0.4),
    )
    pipeline = Pipeline(manifest, Answers(answers(count, width, height)), Recognizer(people[0]))

    def search(vectors: NDArray[np.float32], k: int) -> list[Sequence[Match]]:
        cosines = vectors @ people.T
        best = np.argpartition(-cosines, k, axis=1)[:, :k]
        return [
            sorted((Match(str(i), "", float(row[i])) for i in few), key=lambda match: -match.cosine)
            for row, few in zip(cosines, best, strict=True)
        ]

    rules = RecognitionRules.of(manifest.thresholds)
    watcher = Watcher("bench", pipeline, search, rules)
    image = random.integers(0, 256, (height, width, 3), np.uint8)
    taken = []
    for number in range(round(seconds * rate)):
        jitter = random.normal(0, 1, (count, 2)).astype(np.float32)
        start = time.thread_time_ns()
        found = pipeline.detect(image, rules.doubtful)
        found = Faces(found.boxes + np.tile(jitter, 2), found.scores, found.landmarks + jitter[:, None])
        watcher.step(Frame(image, number, number / rate), found)
        taken.append((time.thread_time_ns() - start) / 1e6)
    assert watcher.state.faces == count * len(taken), "the stand-in does not answer like a detector"
    return np.array(taken), watcher.state.embeddings / max(count, 1) / seconds


def track(count: int, frames: int = 300) -> float:
    """Median CPU milliseconds of the tracker alone, for ``count`` faces that walk."""
    random = np.random.default_rng(0)
    tracker, taken = Tracker(), []
    centers, speeds = random.uniform(100, 1800, (count, 2)), random.normal(0, 5, (count, 2))
    for number in range(frames):
        places = centers + speeds * number + random.normal(0, 1, (count, 2))
        boxes = np.concatenate([places - 30, places + 30], axis=1).astype(np.float32)
        faces = Faces(boxes, np.full(count, 0.8, np.float32), np.zeros((count, 5, 2), np.float32))
        start = time.thread_time_ns()
        tracker.update(faces, number / 15)
        taken.append((time.thread_time_ns() - start) / 1e6)
    return float(np.median(taken))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="of video (default: %(default)g)")
    parser.add_argument("--rate", type=float, default=15.0, help="frames a second of it (default: %(default)g)")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    rows = []
    with stage("watching"):
        for width, height in ((1280, 720), (1920, 1080)):
            for count in (0, 1, 5, 20):
                taken, embedded = measure(width, height, count, options.seconds, options.rate)
                middle, late = np.percentile(taken, [50, 95])
                rows.append(
                    f"| {width}×{height} | {count} | {middle:.2f} | {taken.mean():.2f} | {late:.2f} | {embedded:.2f} |"
                )
    print("| frame | faces | median | mean | 95th percentile | embeddings a face and second |")
    print("|---" * 6 + "|")
    print("\n".join(rows))
    print(f"\ntracker alone: {track(5):.2f} ms for 5 faces, {track(50):.2f} ms for 50")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
