"""The loop that both sides of `make bench` run, each in a process and an environment of its own.

Commands come in on stdin and answers go out on stdout, one line of JSON each, so that both sides stay warm and their
runs can alternate. Every call gets a new copy of the frame, as a camera hands over a new one each time: whether memory
goes back to the system depends on what was freed before, and moved single rows by milliseconds. Imports nothing of
rkface and nothing of insightface: their difference is what is measured.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime

# The CPU's is that of all threads of the process.
TIMERS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass
class Clock:
    """Seconds inside ONNX Runtime, added up by ``timer``: what is left of a call is its own work."""

    timer: Callable[[], float] = time.perf_counter
    seconds: float = 0.0

    def watch(self) -> None:
        """Count every way to run a session, of any subclass, from now on."""
        for name in ("run", "run_with_iobinding"):
            setattr(onnxruntime.InferenceSession, name, self._timed(getattr(onnxruntime.InferenceSession, name)))

    def _timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            started = self.timer()
            try:
                return call(*arguments, **options)
            finally:
                self.seconds += self.timer() - started

        return timed


@dataclass(frozen=True)
class Answer:
    """What one side sees in an image: boxes N×4, landmarks N×5×2, pixels; unit embeddings N×D."""

    boxes: np.ndarray
    landmarks: np.ndarray
    embeddings: np.ndarray


@dataclass(frozen=True)
class Side:
    """One product as its user calls it.

    recognize  image (H×W×3 uint8 BGR) → whatever it returns: this is timed
    answer     that → Answer
    align      image, landmarks (5×2) → 112×112×3 crop
    embed      crops → N×D of unit length
    versions   of what it runs on
    stages     image, runs, the clock → seconds of each stage of each run; None where they cannot be told apart
    """

    recognize: Callable[[np.ndarray], Any]
    answer: Callable[[Any], Answer]
    align: Callable[[np.ndarray, np.ndarray], np.ndarray]
    embed: Callable[[Sequence[np.ndarray]], np.ndarray]
    versions: dict[str, str]
    stages: Callable[[np.ndarray, int, Clock], dict[str, list[float]]] | None = None


def session_options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return options


@dataclass
class Loop:
    side: Side
    clock: Clock
    image: np.ndarray = field(default_factory=lambda: np.zeros((64, 64, 3), np.uint8))

    def load(self, image: str) -> dict[str, Any]:
        self.image = np.load(image)
        return {}

    def time(self, runs: int) -> dict[str, Any]:
        """``runs`` × [seconds, seconds inside ONNX Runtime]."""
        return {"times": [self._once() for _ in range(runs)]}

    def _once(self) -> tuple[float, float]:
        frame = self.image.copy()
        self.clock.seconds, started = 0.0, self.clock.timer()
        self.side.recognize(frame)
        return self.clock.timer() - started, self.clock.seconds

    def align(self, landmarks: list[Any], runs: int) -> dict[str, Any]:
        """Seconds of aligning all the faces at ``landmarks``, ``runs`` times."""
        points = [np.asarray(one, np.float32) for one in landmarks]
        taken = []
        for _ in range(runs):
            started = self.clock.timer()
            for one in points:
                self.side.align(self.image, one)
            taken.append(self.clock.timer() - started)
        return {"times": taken}

    def answer(self) -> dict[str, Any]:
        said = self.side.answer(self.side.recognize(self.image))
        return {
            "boxes": said.boxes.tolist(),
            "landmarks": said.landmarks.tolist(),
            "embeddings": said.embeddings.tolist(),
        }

    def embed(self, crops: str) -> dict[str, Any]:
        return {"embeddings": self.side.embed(list(np.load(crops))).tolist()}

    def stages(self, runs: int) -> dict[str, Any]:
        return {"stages": self.side.stages(self.image, runs, self.clock) if self.side.stages else None}

    def versions(self) -> dict[str, Any]:
        return {"versions": self.side.versions}


def serve(open_side: Callable[[Path, Path, int], Side]) -> None:
    """Run one side as ``python SCRIPT DETECTOR RECOGNIZER THREADS TIMER`` until stdin ends; TIMER is one of TIMERS."""
    detector, recognizer, threads = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    with _answers() as out:
        cv2.setNumThreads(threads)
        clock = Clock(TIMERS[sys.argv[4]])
        clock.watch()
        loop = Loop(open_side(detector, recognizer, threads), clock)
        gc.collect()
        gc.freeze()
        for line in sys.stdin:
            command = json.loads(line)
            said = getattr(loop, command.pop("do"))(**command)
            out.write(json.dumps(said) + "\n")
            out.flush()


@contextmanager
def _answers() -> Any:
    """stdout for answers alone: whatever a library prints goes to stderr."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        yield out
