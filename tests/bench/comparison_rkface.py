"""rkface's reference pipeline, and the time of each of its stages: one side of `make bench`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
from comparison_worker import InferenceClock, Results, Side, serve, timed
from stand_ins import make_manifest

from rkface.runtime.backends.reference import ReferenceBackend, Tensor
from rkface.runtime.core.manifest import Model, Output, shape_name
from rkface.runtime.inference.pipeline import Pipeline
from rkface.runtime.vision import detect, letterbox
from rkface.runtime.vision.bare_onnx import open_detector, open_recognizer
from rkface.runtime.vision.detector_shapes import find_fitting_size
from rkface.runtime.vision.detectors import Layout, find_layout

PACKAGES = ("onnxruntime", "numpy", "opencv-python")
CACHE_LINE = 64  # bytes
STAGES = ("letterbox", "tensor", "inference", "decode", "nms", "align", "embed", "rest")


def open_side(detectors: Sequence[Path], recognizer: Path, threads: int) -> Side:
    pipeline = open_pipeline(detectors[0], recognizer, threads, detectors[1:])
    return Side(
        pipeline.recognize,
        lambda faces: Results(faces.boxes, faces.landmarks, faces.embeddings),
        pipeline.align,
        pipeline.embed,
        {name: version(name) for name in PACKAGES},
        lambda image, runs, clock: measure_stages(pipeline, image, runs, clock),
        lambda image, clock: Bound(pipeline, image, clock.timer).measure,
    )


def open_pipeline(detector: Path, recognizer: Path, threads: int, shapes: Sequence[Path] = ()) -> Pipeline:
    """A pipeline over ONNX models without a bundle, with the default thresholds of insightface. ``shapes``: the
    detector in other shapes."""
    main, *others = (open_detector(path, threads=threads) for path in (detector, *shapes))
    face = open_recognizer(recognizer, threads=threads)
    manifest = make_manifest(*main[1:], face.input, [Output("embedding", (1, face.dimensions))])
    models = tuple(replace(manifest.detector, input=input, outputs=outputs) for _, input, outputs in others)
    backends = {shape_name(input.width, input.height): backend for backend, input, _ in others}
    return Pipeline(replace(manifest, shapes=models), main[0], face.backend, open_shape=backends.__getitem__)


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
            clock.reset()
            started = clock.timer()
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


class Bound:
    """The work on ``image`` that no implementation with the same answers can leave out.

    ``touch``: one byte of each cache line of the frame that shrinking it needs, on as many threads as OpenCV shrinks
    with. ``tensor``: the shrunk frame as float planes. ``scores``: each score of the detector compared with the
    threshold. ``crops``: OpenCV's calls that cut out the faces, and the crops as float planes.
    """

    def __init__(self, pipeline: Pipeline, image: np.ndarray, timer: Callable[[], float]) -> None:
        model = _fitting_model(pipeline, image)
        self._pipeline, self._image, self._timer = pipeline, image, timer
        self._shrunk = letterbox.Canvas(model.input.width, model.input.height).shrink(image)[0][..., :3].copy()
        self._whole, self._small = Tensor(model.input), Tensor(pipeline.manifest.recognizer.input)
        levels = find_layout(model.outputs, model.input.width, model.input.height).levels
        self._scores = [score.index for level in levels for score in level.scores]
        # The CPU time of a process counts all its threads: there, more threads change nothing.
        threads = cv2.getNumThreads() if timer is time.perf_counter else 1
        self._pool = ThreadPoolExecutor(threads)
        self._bands = find_bands(len(image), len(self._shrunk), threads)
        self.measure()  # the first run allocates

    def measure(self) -> dict[str, float]:
        """Seconds of each part, once.

        Each part follows the inference that it follows in a call, because an inference fills the processor's caches: a
        recognition of the frame before touch and tensor, the detector before scores and crops. Only the shrunk frame
        is in the caches, because shrinking has just written it.
        """
        timer, pipeline = self._timer, self._pipeline
        pipeline.recognize(self._image)
        frame = self._image.copy()
        spent = {"touch": self._touch(frame), "scores": 0.0, "crops": 0.0}
        pixels = self._shrunk.copy()
        started = timer()
        self._whole.fill_picture(pixels)
        spent["tensor"] = timer() - started
        with _compared_scores(self._scores, pipeline.thresholds.detection, timer, spent):
            found = pipeline.detect(frame)

        def add(seconds: float) -> None:
            spent["crops"] += seconds

        with ExitStack() as patches:
            for name in ("warpAffine", "resize", "copyMakeBorder"):
                patches.enter_context(patch.object(cv2, name, timed(getattr(cv2, name), timer, add)))
            crops = [pipeline.align(frame, points) for points in found.landmarks]
        if crops:
            images = np.stack(crops)
            started = timer()
            self._small.fill(images, bgr=True)
            add(timer() - started)
        return spent

    def _touch(self, frame: np.ndarray) -> float:
        """The slowest thread's seconds, without those in which it wakes up."""

        def touch(first: int, stop: int, rows: int) -> float:
            started = self._timer()
            touch_lines(frame[first:stop], rows)
            return self._timer() - started

        if len(self._bands) == 1:
            return touch(*self._bands[0])
        return max(self._pool.map(touch, *zip(*self._bands, strict=True)))


def find_bands(height: int, rows: int, threads: int) -> list[tuple[int, int, int]]:
    """The rows of a frame of ``height`` rows, split among ``threads``: first, end, and into how many of the ``rows``
    new ones they shrink. One band if they cannot be split into whole steps."""
    if height % rows or rows % threads:
        return [(0, height, rows)]
    step = height // threads
    return [(index * step, (index + 1) * step, rows // threads) for index in range(threads)]


def _fitting_model(pipeline: Pipeline, image: np.ndarray) -> Model:
    """The shape of the detector that looks at ``image``."""
    models = list(pipeline.manifest.detectors.values())
    sizes = [(model.input.width, model.input.height) for model in models]
    return models[find_fitting_size(sizes, image.shape[1], image.shape[0])]


@contextmanager
def _compared_scores(
    places: Sequence[int], threshold: float, timer: Callable[[], float], spent: dict[str, float]
) -> Iterator[None]:
    """Behind each inference of the reference backend, compare the outputs at ``places`` with ``threshold``."""
    infer = ReferenceBackend.infer_picture

    def infer_and_compare(backend: ReferenceBackend, picture: np.ndarray) -> list[np.ndarray]:
        outputs = infer(backend, picture)
        started = timer()
        for place in places:
            _ = outputs[place] >= threshold
        spent["scores"] += timer() - started
        return outputs

    with patch.object(ReferenceBackend, "infer_picture", infer_and_compare):
        yield


def touch_lines(image: np.ndarray, rows: int) -> int:
    """Read one byte of each cache line that bilinear shrinking of ``image`` (H×W×3 uint8) to ``rows`` rows needs: of
    one row of an odd number of rows, of two rows of an even number, or else of all."""
    by = len(image) // rows
    if by * rows != len(image) or by == 1:
        first, by = [0], 1
    else:
        first = [by // 2] if by % 2 else [by // 2 - 1, by // 2]
    lines = image.reshape(len(image), -1)[:, ::CACHE_LINE]
    return max(int(lines[start::by].max()) for start in first)


@contextmanager
def _measured_calls(seconds: dict[str, float], timer: Callable[[], float]) -> Iterator[None]:
    """Add the time of the functions behind four stages to ``seconds``."""
    functions = {
        "letterbox": (letterbox.Canvas, "shrink"),
        "decode": (Layout, "candidates"),
        "nms": (detect, "suppress"),
        "tensor": (ReferenceBackend, "infer_picture"),
    }
    with ExitStack() as patches:
        for stage, (owner, attribute) in functions.items():

            def add(spent: float, stage: str = stage) -> None:
                seconds[stage] += spent

            patches.enter_context(patch.object(owner, attribute, timed(getattr(owner, attribute), timer, add)))
        yield


if __name__ == "__main__":
    serve(open_side)
