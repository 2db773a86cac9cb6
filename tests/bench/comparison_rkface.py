"""rkface's reference pipeline for `make bench`, and its stages apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from comparison_worker import Answer, Clock, Side, serve

from rkface.runtime.backends.reference import ReferenceBackend
from rkface.runtime.core.bundle import Input, Manifest, Model, Output, Source, Thresholds
from rkface.runtime.inference.pipeline import Pipeline
from rkface.runtime.vision import detect
from rkface.runtime.vision.bare_onnx import open_detector, open_recognizer

PACKAGES = ("onnxruntime", "numpy", "opencv-python")
STAGES = ("letterbox", "tensor", "inference", "decode", "nms", "align", "embed", "rest")


def open_side(detector: Path, recognizer: Path, threads: int) -> Side:
    pipeline = open_pipeline(detector, recognizer, threads)
    return Side(
        pipeline.recognize,
        lambda faces: Answer(faces.boxes, faces.landmarks, faces.embeddings),
        pipeline.align,
        pipeline.embed,
        {name: version(name) for name in PACKAGES},
        lambda image, runs, clock: _stages(pipeline, image, runs, clock),
    )


def open_pipeline(detector: Path, recognizer: Path, threads: int) -> Pipeline:
    """Of two bare ONNX models, as a bundle's reference backend would run them."""
    finder, frame, outputs = open_detector(detector, threads=threads)
    network, crop, dimensions = open_recognizer(recognizer, threads=threads)
    manifest = _manifest(_model(detector, frame, outputs), _model(recognizer, crop, (Output("", (1, dimensions)),)))
    return Pipeline(manifest, finder, network)


def _model(path: Path, input: Input, outputs: Sequence[Output]) -> Model:
    return Model(path.name, path.name, "fp32", input, tuple(outputs), Source(path.name, "", 0, ""))


def _manifest(detector: Model, recognizer: Model) -> Manifest:
    """The thresholds that insightface has by default."""
    return Manifest(
        name="bench",
        synthetic=False,
        created="",
        target="",
        toolkit="",
        rkface="",
        detector=detector,
        recognizer=recognizer,
        thresholds=Thresholds(detect.THRESHOLD, detect.NMS_IOU, 0.4),
    )


def _stages(pipeline: Pipeline, image: np.ndarray, runs: int, clock: Clock) -> dict[str, list[float]]:
    """Seconds of each of STAGES in each run of detect, align, embed. ``tensor`` is what the backend does around ONNX
    Runtime (uint8 → float planes), ``embed`` the recognizer with what is around it, ``rest`` what no stage names."""
    found: dict[str, list[float]] = {name: [] for name in STAGES}
    for _ in range(runs):
        spent = dict.fromkeys(STAGES, 0.0)
        frame = image.copy()
        with _watched(spent, clock.timer):
            clock.seconds, started = 0.0, clock.timer()
            faces = pipeline.detect(frame)
            whole = clock.timer() - started
        spent["inference"] = clock.seconds
        spent["tensor"] = max(spent["tensor"] - clock.seconds, 0.0)  # the backend's call holds ONNX Runtime's
        spent["rest"] = whole - sum(spent.values())
        started = clock.timer()
        crops = [pipeline.align(frame, landmarks) for landmarks in faces.landmarks]
        spent["align"], started = clock.timer() - started, clock.timer()
        pipeline.embed(crops)
        spent["embed"] = clock.timer() - started
        for name, seconds in spent.items():
            found[name].append(seconds)
    return found


@contextmanager
def _watched(spent: dict[str, float], timer: Callable[[], float]) -> Iterator[None]:
    places = {
        "letterbox": (detect.Canvas, "letterbox"),
        "decode": (detect, "decode"),
        "nms": (detect, "suppress"),
        "tensor": (ReferenceBackend, "infer"),
    }
    with ExitStack() as patched:
        for name, (owner, attribute) in places.items():
            patched.enter_context(patch.object(owner, attribute, _timed(getattr(owner, attribute), spent, name, timer)))
        yield


def _timed(
    call: Callable[..., Any], spent: dict[str, float], name: str, timer: Callable[[], float]
) -> Callable[..., Any]:
    def timed(*arguments: Any, **options: Any) -> Any:
        started = timer()
        try:
            return call(*arguments, **options)
        finally:
            spent[name] += timer() - started

    return timed


if __name__ == "__main__":
    serve(open_side)
