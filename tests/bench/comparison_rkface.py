"""rkface's reference pipeline, and the time of each of its stages: one side of `make bench`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from unittest.mock import patch

import numpy as np
from comparison_worker import InferenceClock, Results, Side, serve, timed
from stand_ins import make_manifest

from rkface.runtime.backends.reference import ReferenceBackend
from rkface.runtime.core.manifest import Output
from rkface.runtime.inference.pipeline import Pipeline
from rkface.runtime.vision import detect, letterbox
from rkface.runtime.vision.bare_onnx import open_detector, open_recognizer
from rkface.runtime.vision.detectors import Layout

PACKAGES = ("onnxruntime", "numpy", "opencv-python")
STAGES = ("letterbox", "tensor", "inference", "decode", "nms", "align", "embed", "rest")


def open_side(detector: Path, recognizer: Path, threads: int) -> Side:
    pipeline = open_pipeline(detector, recognizer, threads)
    return Side(
        pipeline.recognize,
        lambda faces: Results(faces.boxes, faces.landmarks, faces.embeddings),
        pipeline.align,
        pipeline.embed,
        {name: version(name) for name in PACKAGES},
        lambda image, runs, clock: measure_stages(pipeline, image, runs, clock),
    )


def open_pipeline(detector: Path, recognizer: Path, threads: int) -> Pipeline:
    """A pipeline over two ONNX models without a bundle, with the default thresholds of insightface."""
    detector_backend, detector_input, detector_outputs = open_detector(detector, threads=threads)
    face = open_recognizer(recognizer, threads=threads)
    recognizer_outputs = [Output("embedding", (1, face.dimensions))]
    manifest = make_manifest(detector_input, detector_outputs, face.input, recognizer_outputs)
    return Pipeline(manifest, detector_backend, face.backend)


def measure_stages(pipeline: Pipeline, image: np.ndarray, runs: int, clock: InferenceClock) -> dict[str, list[float]]:
    """Seconds of each of STAGES in each run.

    ``tensor`` is the work of the backend around ONNX Runtime (uint8 to float planes), ``embed`` the recognizer with its
    inference, and ``rest`` the time of the detection that belongs to no other stage.
    """
    results: dict[str, list[float]] = {name: [] for name in STAGES}
    for _ in range(runs):
        seconds = dict.fromkeys(STAGES, 0.0)
        frame = image.copy()
        with _measured_calls(seconds, clock.timer):
            clock.seconds, started = 0.0, clock.timer()
            faces = pipeline.detect(frame)
            whole = clock.timer() - started
        seconds["inference"] = clock.seconds
        seconds["tensor"] = max(seconds["tensor"] - clock.seconds, 0.0)  # the backend's call includes ONNX Runtime's
        seconds["rest"] = whole - sum(seconds.values())
        started = clock.timer()
        crops = [pipeline.align(frame, landmarks) for landmarks in faces.landmarks]
        seconds["align"], started = clock.timer() - started, clock.timer()
        pipeline.embed(crops)
        seconds["embed"] = clock.timer() - started
        for name, value in seconds.items():
            results[name].append(value)
    return results


@contextmanager
def _measured_calls(seconds: dict[str, float], timer: Callable[[], float]) -> Iterator[None]:
    """Add the time of the functions behind four stages to ``seconds``."""
    functions = {
        "letterbox": (letterbox.Canvas, "letterbox"),
        "decode": (Layout, "decode"),
        "nms": (detect, "suppress"),
        "tensor": (ReferenceBackend, "infer"),
    }
    with ExitStack() as patches:
        for stage, (owner, attribute) in functions.items():

            def add(spent: float, stage: str = stage) -> None:
                seconds[stage] += spent

            patches.enter_context(patch.object(owner, attribute, timed(getattr(owner, attribute), timer, add)))
        yield


if __name__ == "__main__":
    serve(open_side)
