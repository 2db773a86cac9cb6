"""Shows how quantization changes the raw outputs of a detector: scores, boxes and landmarks separately. Pure
functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.vision.detectors import Layout, Level, RawOutput

FACE_SCORE = 0.3  # minimum FP32 score at which an anchor detects a face, so that its box and landmarks count

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class OutputError:
    """The error of one output of the detector, quantized minus FP32, at anchors with an FP32 score of 0.3 or more.

    Scores have no unit, and are those of this output, if the product of several decides. Boxes are the distances from
    the anchor to the four edges, landmarks the offsets from it, both decoded, in pixels of the detector's input.

    kind               score, box or landmark
    anchors            number of these anchors
    bias               mean difference
    mean               mean absolute difference
    worst              largest absolute difference
    largest_fp32       largest magnitude of FP32
    largest_quantized  that of the quantized output. If it is much smaller, the calibration set has no such values
    step               smallest difference between two raw values (times the stride), which is the scale of an INT8
                       tensor; None if there are more values than INT8 has
    output             position of the output in the model's list
    """

    kind: str
    stride: int
    anchors: int
    bias: float
    mean: float
    worst: float
    largest_fp32: float
    largest_quantized: float
    step: float | None
    output: int = 0


def output_errors(layout: Layout, reference: Sequence[Floats], quantized: Sequence[Floats]) -> tuple[OutputError, ...]:
    """The error of each output: scores first, then boxes, then landmarks.

    ``reference`` and ``quantized`` are the raw outputs of both detectors, N first, in the model's order.
    """
    at_faces = [_at_faces(layout, level, reference, quantized) for level in layout.levels]
    scores: list[OutputError] = []
    boxes: list[OutputError] = []
    landmarks: list[OutputError] = []
    for level, (faces, *geometry) in zip(layout.levels, at_faces, strict=True):
        for score in level.scores:
            values = [score.read(outputs)[faces] for outputs in (reference, quantized)]
            scores.append(_output_error("score", level, score, quantized, values))
        for kind, output, found, errors in (
            ("box", level.boxes, boxes, geometry[0]),
            ("landmark", level.landmarks, landmarks, geometry[1]),
        ):
            found.append(_output_error(kind, level, output, quantized, errors))
    return (*scores, *boxes, *landmarks)


def _at_faces(
    layout: Layout, level: Level, reference: Sequence[Floats], quantized: Sequence[Floats]
) -> tuple[Mask, list[Floats], list[Floats]]:
    """Which anchors of ``level`` detect a face (N×K), and there, in input pixels, of FP32 and quantized: the distances
    from the anchor to the edges of the box (F×4), and the offsets of the landmarks (F×5×2)."""
    mask = np.zeros((len(reference[0]), len(level.centers)), bool)
    boxes: list[list[Floats]] = [[], []]
    landmarks: list[list[Floats]] = [[], []]
    for image, of_image in enumerate(mask):
        before = [array[image] for array in reference]
        anchors = layout.family.hits(before, level, FACE_SCORE)[0]
        of_image[anchors] = True
        centers = level.centers[anchors]
        for at, outputs in enumerate((before, [array[image] for array in quantized])):
            points = layout.family.geometry(outputs, level, anchors)
            boxes[at].append(np.concatenate([centers - points[:, 0], points[:, 1] - centers], axis=1))
            landmarks[at].append(points[:, 2:] - centers[:, None])
    return mask, [np.concatenate(one) for one in boxes], [np.concatenate(one) for one in landmarks]


def _output_error(
    kind: str, level: Level, output: RawOutput, quantized: Sequence[Floats], at_faces: Sequence[Floats]
) -> OutputError:
    """``at_faces``: what FP32 and the quantized detector say at the anchors of faces."""
    before, after = at_faces
    error = after.astype(np.float64) - before
    step = _step(quantized[output.index])
    return OutputError(
        kind,
        level.stride,
        len(before),
        bias=float(error.mean()) if error.size else 0.0,
        mean=float(np.abs(error).mean()) if error.size else 0.0,
        worst=float(np.abs(error).max(initial=0)),
        largest_fp32=float(np.abs(before).max(initial=0)),
        largest_quantized=float(np.abs(after).max(initial=0)),
        step=None if step is None else step * (1 if kind == "score" else level.stride),
        output=output.index,
    )


def _step(values: Floats) -> float | None:
    """The smallest difference between two of ``values``; None if there are more values than INT8 has."""
    distinct = np.unique(values)
    return float(np.diff(distinct).min()) if 1 < len(distinct) <= 256 else None


def have_separate_scales(outputs: Sequence[OutputError]) -> bool:
    """Whether each output of a quantized detector has its own INT8 scale."""
    steps = {one.output: one.step / (1 if one.kind == "score" else one.stride) for one in outputs if one.step}
    tensors = {one.output for one in outputs}
    return len(steps) == len(tensors) == len({float(f"{step:.6g}") for step in steps.values()})
