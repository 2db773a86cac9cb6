"""The loop that both sides of `make bench` run, each in its own process and environment.

Commands arrive on stdin and answers leave on stdout, one line of JSON each. So both sides stay warm, and their runs can
alternate. Every call gets a new copy of the frame, as a camera delivers one: whether memory goes back to the system
depends on earlier allocations, and changed single rows by milliseconds. This module imports neither rkface nor
insightface, because it measures their difference.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import cv2
import numpy as np
import onnxruntime

# "cpu" counts all threads of the process.
TIMERS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


def timed(call: Callable[..., Any], timer: Callable[[], float], add: Callable[[float], None]) -> Callable[..., Any]:
    """``call``, which reports the seconds of each run to ``add``."""

    def timed_call(*arguments: Any, **options: Any) -> Any:
        started = timer()
        try:
            return call(*arguments, **options)
        finally:
            add(timer() - started)

    return timed_call


@dataclass
class InferenceClock:
    """Adds up the seconds in which ONNX Runtime runs a model, or several at once. The rest of a call is the side's own
    work.

    The clock itself must not look like own work: next to a call, it only reads the time. With a lock and a sum there,
    each inference took 2 to 5 µs more.
    """

    timer: Callable[[], float] = time.perf_counter
    _spans: list[tuple[float, float]] = field(default_factory=list)

    def reset(self) -> None:
        self._spans.clear()

    @property
    def seconds(self) -> float:
        """Since the last reset. What runs at the same time counts once."""
        total, until = 0.0, 0.0
        for started, ended in sorted(self._spans):
            total += max(ended - max(started, until), 0.0)
            until = max(until, ended)
        return total

    def install(self) -> None:
        """Count every call that runs a session, also of subclasses, starting now."""
        for name in ("run", "run_with_iobinding"):
            setattr(onnxruntime.InferenceSession, name, self._counted(getattr(onnxruntime.InferenceSession, name)))

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        timer, add = self.timer, self._spans.append

        def counted(*arguments: Any, **options: Any) -> Any:
            started = timer()
            try:
                return call(*arguments, **options)
            finally:
                add((started, timer()))

        return counted


@dataclass(frozen=True)
class Results:
    """The faces that one side finds in an image: boxes N×4 and landmarks N×5×2 in pixels, unit embeddings N×D."""

    boxes: np.ndarray
    landmarks: np.ndarray
    embeddings: np.ndarray


@dataclass(frozen=True)
class Side:
    """One product, used as its documentation shows.

    recognize  image (H×W×3 uint8 BGR) → the product's own results; this is timed
    read       the product's own results → Results
    align      image, landmarks (5×2) → 112×112×3 crop
    embed      crops → N×D embeddings of unit length
    versions   of the packages in use
    stages     image, runs, clock → seconds of each stage of each run; None if stages cannot be measured
    bound      image, clock → a function that measures, once, the seconds of each part of the work that no
               implementation can leave out
    """

    recognize: Callable[[np.ndarray], Any]
    read: Callable[[Any], Results]
    align: Callable[[np.ndarray, np.ndarray], np.ndarray]
    embed: Callable[[Sequence[np.ndarray]], np.ndarray]
    versions: dict[str, str]
    stages: Callable[[np.ndarray, int, InferenceClock], dict[str, list[float]]] | None = None
    bound: Callable[[np.ndarray, InferenceClock], Callable[[], dict[str, float]]] | None = None


def session_options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as rkface does
    return options


@dataclass
class Worker:
    """Executes commands. Each public method is a command; its arguments and its answer travel as JSON."""

    side: Side
    clock: InferenceClock
    image: np.ndarray = field(default_factory=lambda: np.zeros((64, 64, 3), np.uint8))
    measure_bound: Callable[[], dict[str, float]] | None = None  # of the image

    def load(self, image: str) -> dict[str, Any]:
        """Use the ``.npy`` file ``image`` for the commands that follow."""
        self.image, self.measure_bound = np.load(image), None
        return {}

    def time(self, runs: int) -> dict[str, Any]:
        """``runs`` × [seconds, seconds inside ONNX Runtime]."""
        return {"times": [self._time_once() for _ in range(runs)]}

    def _time_once(self) -> tuple[float, float]:
        frame = self.image.copy()
        self.clock.reset()
        started = self.clock.timer()
        self.side.recognize(frame)
        return self.clock.timer() - started, self.clock.seconds

    def align(self, landmarks: list[Any], runs: int) -> dict[str, Any]:
        """Seconds to align all faces at ``landmarks``, ``runs`` times."""
        points = [np.asarray(face, np.float32) for face in landmarks]
        times = []
        for _ in range(runs):
            started = self.clock.timer()
            for face in points:
                self.side.align(self.image, face)
            times.append(self.clock.timer() - started)
        return {"times": times}

    def recognize(self) -> dict[str, Any]:
        """The faces in the image."""
        found = self.side.read(self.side.recognize(self.image))
        return {
            "boxes": found.boxes.tolist(),
            "landmarks": found.landmarks.tolist(),
            "embeddings": found.embeddings.tolist(),
        }

    def embed(self, crops: str) -> dict[str, Any]:
        """Embeddings of the crops in the ``.npy`` file ``crops``."""
        return {"embeddings": self.side.embed(list(np.load(crops))).tolist()}

    def stages(self, runs: int) -> dict[str, Any]:
        return {"stages": self.side.stages(self.image, runs, self.clock) if self.side.stages else None}

    def bound(self, runs: int) -> dict[str, Any]:
        """The seconds of each part of the bound, ``runs`` times."""
        if self.measure_bound is None and self.side.bound:
            self.measure_bound = self.side.bound(self.image, self.clock)
        return {"bound": [self.measure_bound() for _ in range(runs)] if self.measure_bound else None}

    def versions(self) -> dict[str, Any]:
        return {"versions": self.side.versions}


def serve(open_side: Callable[[Sequence[Path], Path, int], Side]) -> None:
    """Run one side as ``python SCRIPT THREADS TIMER RECOGNIZER DETECTOR …`` until stdin ends. TIMER is one of TIMERS;
    several DETECTORs are one detector in several shapes."""
    threads, timer, recognizer, *detectors = sys.argv[1:]
    with _answers_on_stdout() as out:
        cv2.setNumThreads(int(threads))
        clock = InferenceClock(TIMERS[timer])
        clock.install()
        worker = Worker(open_side(list(map(Path, detectors)), Path(recognizer), int(threads)), clock)
        gc.collect()
        gc.freeze()
        for line in sys.stdin:
            arguments = json.loads(line)
            answer = getattr(worker, arguments.pop("command"))(**arguments)
            out.write(json.dumps(answer) + "\n")
            out.flush()


@contextmanager
def _answers_on_stdout() -> Iterator[TextIO]:
    """The real stdout, for answers only. Output of libraries goes to stderr."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        yield out
