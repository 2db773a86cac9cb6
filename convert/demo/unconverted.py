"""The original FP32 demo models in ONNX Runtime: a scheduler without a bundle, for tests and measurements."""

from __future__ import annotations

from pathlib import Path

from rkface.runtime.backends import Backend
from rkface.runtime.backends.reference import open_reference
from rkface.runtime.core.crop_template import ARCFACE_112
from rkface.runtime.core.manifest import Manifest, Model, RecognizerSpec, Source, Thresholds
from rkface.runtime.inference.scheduler import Scheduler, Work

from .measure import DETECTOR, DETECTOR_INPUT, RECOGNIZER, RECOGNIZER_INPUT, outputs

FOLDER = Path(__file__).parent
MODELS = {"detector": (DETECTOR, DETECTOR_INPUT), "recognizer": (RECOGNIZER, RECOGNIZER_INPUT)}
THRESHOLDS = Thresholds(detection=0.5, nms=0.4, match=0.411)  # what `rkface convert --pack demo` writes


def open_demo(work: Work) -> Scheduler:
    """A scheduler with one core that runs the demo models, each with one thread."""
    models = {
        role: Model("", file, "fp32", input, tuple(outputs(FOLDER / file)), Source(file, "", 0, "Apache-2.0"))
        for role, (file, input) in MODELS.items()
    }
    manifest = Manifest(
        name="demo",
        synthetic=True,
        created="",
        target="",
        toolkit="",
        rkface="",
        thresholds=THRESHOLDS,
        detector=models["detector"],
        recognizer=RecognizerSpec(**vars(models["recognizer"]), crop=ARCFACE_112),
    )

    def open_context(name: str, core: int) -> Backend:
        file, input = MODELS[name]
        return open_reference(FOLDER / file, input, threads=1)

    return Scheduler(manifest, open_context, 1, work)
