"""Stand-ins for models. They answer at once, so a benchmark measures everything except inference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.core.crop_template import ARCFACE_112
from rkface.runtime.core.manifest import Input, Manifest, Model, Output, RecognizerSpec, Source, Thresholds
from rkface.runtime.vision import embed
from rkface.runtime.vision.align import TEMPLATE
from rkface.runtime.vision.detectors import STRIDES, find_layout
from rkface.runtime.vision.detectors.scrfd import ANCHORS, SCRFD

SIDE = 640  # pixels of the detector's square input
DIMENSIONS = 512  # numbers in an embedding
SHAPES = [((SIDE // stride) ** 2 * ANCHORS, width) for width in (1, 4, 10) for stride in STRIDES]
DETECTOR_INPUT = Input("image", SIDE, SIDE, SCRFD.mean, SCRFD.std)
DETECTOR_OUTPUTS = tuple(Output(f"{index}", (1, *shape)) for index, shape in enumerate(SHAPES))
RECOGNIZER_INPUT = Input("face", 112, 112, embed.MEAN, embed.STD)
RECOGNIZER_OUTPUTS = (Output("embedding", (1, DIMENSIONS)),)


class ConstantBackend:
    """A backend that gives the same outputs for every image."""

    name = "stand-in"

    def __init__(self, outputs: list[NDArray[np.float32]]) -> None:
        self.outputs = outputs

    def infer(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        return self.outputs

    def close(self) -> None: ...


def make_detector_outputs(faces: int, width: int, height: int) -> list[NDArray[np.float32]]:
    """Outputs of an SCRFD at 640×640 for a ``width``×``height`` image with ``faces`` faces in a row.

    Twelve overlapping anchors show each face; the other scores are noise below the threshold.
    """
    random = np.random.default_rng(faces)
    outputs = [random.uniform(0, 0.1, output.shape).astype(np.float32) for output in DETECTOR_OUTPUTS]
    levels = find_layout(DETECTOR_OUTPUTS, SIDE, SIDE).levels
    used_height = SIDE * min(1.0, height / width)  # the letterbox leaves the rest black
    side = min(60.0, SIDE / (faces + 1))
    for index in range(faces):
        x, y = (index + 0.5) * SIDE / faces, used_height / 2
        level = levels[1 if side > 30 else 0]
        near = np.argsort(((level.centers - (x, y)) ** 2).sum(axis=1))[:12]
        centers = level.centers[near]
        points = TEMPLATE / 112 * side + (x - side / 2, y - side / 2)
        outputs[level.scores[0].index][0, near, 0] = random.uniform(0.6, 0.9, len(near))
        edges = np.concatenate([centers - (x - side / 2, y - side / 2), (x + side / 2, y + side / 2) - centers], axis=1)
        outputs[level.boxes.index][0, near] = edges / level.stride
        outputs[level.landmarks.index][0, near] = ((points - centers[:, None]) / level.stride).reshape(len(near), 10)
    return outputs


def make_manifest(
    detector_input: Input = DETECTOR_INPUT,
    detector_outputs: Sequence[Output] = DETECTOR_OUTPUTS,
    recognizer_input: Input = RECOGNIZER_INPUT,
    recognizer_outputs: Sequence[Output] = RECOGNIZER_OUTPUTS,
) -> Manifest:
    """A manifest without a bundle, for a detector and a recognizer with these inputs and outputs.

    Its thresholds are those of a bundle, and also the defaults of insightface.
    """
    source = Source("model.onnx", "0" * 64, 0, "none")
    detector = Model("detector.rknn", "detector.onnx", "int8", detector_input, tuple(detector_outputs), source)
    recognizer = RecognizerSpec(
        "recognizer.rknn", "recognizer.onnx", "int8", recognizer_input, tuple(recognizer_outputs), source, ARCFACE_112
    )
    return Manifest(
        name="bench",
        synthetic=True,
        created="2026-01-01T00:00:00Z",
        target="rk3588",
        toolkit="",
        rkface="",
        detector=detector,
        recognizer=recognizer,
        thresholds=Thresholds(SCRFD.threshold, SCRFD.nms_iou, 0.4),
    )
