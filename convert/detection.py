"""What quantization does to a detector: scores, boxes and landmarks apart, by threshold, by size of face.

Pure functions. ``convert/prove.py`` says whether a detector is good enough; this says where it is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.core.faces import Faces
from rkface.runtime.vision.detect import THRESHOLD, Level

from .prove import match

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)
MARGIN = 0.1  # a face this much below the threshold was seen, and only scored lower
LOWEST = THRESHOLDS[0] - MARGIN  # decode from here on, and all questions below can be answered
SIZES = (24.0, 48.0, 96.0)  # input pixels: below the first a face is small, from the last on large
SPOKEN = THRESHOLDS[0]  # FP32's score from which an anchor speaks of a face, and its box and landmarks count
COARSE = 0.02  # step of scores above which the thresholds of people who tune them fall between two values
LOST, ENOUGH = 0.05, 20  # share of the small faces whose loss is worth a note, and how many there have to be
CUT = 0.9  # share of FP32's highest score that the quantized one has to reach on every stride

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class OutputError:
    """One output of the detector, quantized minus FP32, at the ``anchors`` that speak of a face (score from 0.3 on).

    Scores as they are; box distances and landmark offsets in input pixels. ``bias`` is the mean difference, ``mean``
    the mean absolute one. ``tops`` are the largest magnitudes that FP32 and the quantized one reach there: where the
    second is far below, calibration never saw such values. ``step`` is the smallest difference between two values,
    which is the scale of an INT8 tensor; None where there are more values than INT8 has.
    """

    kind: str
    stride: int
    anchors: int
    bias: float
    mean: float
    worst: float
    tops: tuple[float, float]
    step: float | None


@dataclass(frozen=True)
class AtThreshold:
    """Both detectors at one score threshold. ``missed`` are FP32's ``faces`` without a partner, ``lost`` those of them
    that have none even 0.1 below; ``extra`` are the quantized detector's without one, ``invented`` those of them that
    FP32 does not see even 0.1 below."""

    threshold: float
    faces: int
    missed: int
    lost: int
    extra: int
    invented: int


@dataclass(frozen=True)
class OfSize:
    """The same at the usual threshold for faces from ``low`` to ``high`` input pixels (root of the box's area; None: no
    limit). Mean IoU and landmark error (share of the inter-ocular distance) are over ``faces`` minus ``missed``."""

    low: float
    high: float | None
    faces: int
    missed: int
    lost: int
    extra: int
    mean_iou: float
    landmark_error: float


@dataclass(frozen=True)
class Scenes:
    """Both detectors on one kind of images."""

    images: int
    thresholds: tuple[AtThreshold, ...]
    sizes: tuple[OfSize, ...]


@dataclass(frozen=True)
class DetectorEvidence:
    """``photos`` as they were taken, ``mosaics`` of them shrunk (convert/mosaic.py); ``outputs`` over both."""

    outputs: tuple[OutputError, ...]
    photos: Scenes
    mosaics: Scenes


def output_errors(
    layout: Sequence[Level], reference: Sequence[Floats], quantized: Sequence[Floats]
) -> tuple[OutputError, ...]:
    """Raw outputs of both detectors (N first, in the model's order) → the error of each, kind by kind."""
    found = []
    for kind in ("score", "box", "landmark"):
        for level in layout:
            at = {"score": level.scores, "box": level.boxes, "landmark": level.landmarks}[kind]
            unit = 1 if kind == "score" else level.stride
            spoken = reference[level.scores].reshape(-1) >= SPOKEN
            before, after = (outputs[at].reshape(len(spoken), -1)[spoken] for outputs in (reference, quantized))
            error = (after.astype(np.float64) - before) * unit
            step = _step(quantized[at])
            found.append(
                OutputError(
                    kind,
                    level.stride,
                    int(spoken.sum()),
                    bias=float(error.mean()) if error.size else 0.0,
                    mean=float(np.abs(error).mean()) if error.size else 0.0,
                    worst=float(np.abs(error).max(initial=0)),
                    tops=(unit * float(np.abs(before).max(initial=0)), unit * float(np.abs(after).max(initial=0))),
                    step=None if step is None else step * unit,
                )
            )
    return tuple(found)


def _step(values: Floats) -> float | None:
    distinct = np.unique(values)
    return float(np.diff(distinct).min()) if 1 < len(distinct) <= 256 else None


def own_steps(outputs: Sequence[OutputError]) -> bool:
    """Whether no two outputs of a quantized detector are quantized together, with one scale for both."""
    steps = [one.step / (1 if one.kind == "score" else one.stride) for one in outputs if one.step]
    return len(steps) == len(outputs) == len({float(f"{step:.6g}") for step in steps})


def compare_scenes(reference: Sequence[Faces], quantized: Sequence[Faces], scales: Sequence[float]) -> Scenes:
    """Both detectors' faces on the same images, decoded from a score of 0.2 on.

    Suppression goes by falling score, so that what it keeps of a lower threshold is, above a higher one, what it keeps
    of that one. ``scales`` are input pixels per pixel of each image.
    """
    return Scenes(
        len(reference),
        tuple(_at(threshold, reference, quantized) for threshold in THRESHOLDS),
        _sizes(reference, quantized, scales),
    )


def _at(threshold: float, reference: Sequence[Faces], quantized: Sequence[Faces]) -> AtThreshold:
    faces = missed = lost = extra = invented = 0
    for ours, theirs in zip(reference, quantized, strict=True):
        faces += len(_from(ours, threshold))
        unseen, gone = _without(ours, theirs, threshold)
        missed, lost = missed + int(unseen.sum()), lost + int(gone.sum())
        unseen, gone = _without(theirs, ours, threshold)
        extra, invented = extra + int(unseen.sum()), invented + int(gone.sum())
    return AtThreshold(threshold, faces, missed, lost, extra, invented)


def _sizes(reference: Sequence[Faces], quantized: Sequence[Faces], scales: Sequence[float]) -> tuple[OfSize, ...]:
    rows: list[tuple[float, Mask]] = []  # of FP32's faces: size; missed, lost
    others: list[tuple[float, Mask]] = []
    pairs: list[tuple[float, float, float]] = []  # size, IoU, landmark error
    for before, after, scale in zip(reference, quantized, scales, strict=True):
        ours, theirs = _from(before, THRESHOLD), _from(after, THRESHOLD)
        rows += zip(_size(ours, scale), np.stack(_without(before, after, THRESHOLD), axis=1), strict=True)
        others += zip(_size(theirs, scale), np.stack(_without(after, before, THRESHOLD), axis=1), strict=True)
        sizes = _size(ours, scale)
        for row, column, iou in match(ours.boxes, theirs.boxes):
            error = np.linalg.norm(ours.landmarks[row] - theirs.landmarks[column], axis=1).mean()
            eyes = np.linalg.norm(ours.landmarks[row, 0] - ours.landmarks[row, 1])
            pairs.append((sizes[row], iou, float(error / max(eyes, 1e-6))))
    found = []
    for low, high in zip((0.0, *SIZES), (*SIZES, None), strict=True):
        within = [flags for size, flags in rows if low <= size < (high or np.inf)]
        added = [flags for size, flags in others if low <= size < (high or np.inf)]
        matched = [pair[1:] for pair in pairs if low <= pair[0] < (high or np.inf)]
        iou, error = np.mean(matched, axis=0) if matched else (0.0, 0.0)
        found.append(
            OfSize(
                low,
                high,
                len(within),
                sum(int(flags[0]) for flags in within),
                sum(int(flags[1]) for flags in within),
                sum(int(flags[0]) for flags in added),
                float(iou),
                float(error),
            )
        )
    return tuple(found)


def _from(faces: Faces, threshold: float) -> Faces:
    return faces[faces.scores >= threshold]


def _size(faces: Faces, scale: float) -> list[float]:
    sides = np.maximum(faces.boxes[:, 2:] - faces.boxes[:, :2], 0) * scale
    return [float(size) for size in np.sqrt(sides[:, 0] * sides[:, 1])]


def _without(faces: Faces, others: Faces, threshold: float) -> tuple[Mask, Mask]:
    """Which of ``faces`` at ``threshold`` have no partner there, and which of those have none 0.1 below either."""
    asked = _from(faces, threshold)

    def alone(among: Faces) -> Mask:
        mask = np.ones(len(asked), bool)
        mask[[row for row, *_ in match(asked.boxes, among.boxes)]] = False
        return mask

    unseen = alone(_from(others, threshold))
    return unseen, unseen & alone(_from(others, threshold - MARGIN))


def remarks(evidence: DetectorEvidence) -> tuple[str, ...]:
    """What a person should be told, although the bar is cleared."""
    said = []
    for group in evidence.mosaics.sizes:
        if group.high and group.high <= SIZES[1] and group.faces >= ENOUGH and group.lost > LOST * group.faces:
            said.append(
                f"detector: of {group.faces} faces of {group.low:g} to {group.high:g} input pixels in mosaics of the "
                f"photos, the quantized one does not see {group.lost} that FP32 sees: for small faces take a larger "
                "--size, or other calibration photos"
            )
    scores = [one for one in evidence.outputs if one.kind == "score"]
    coarse = [one.step for one in scores if one.step and one.step > COARSE]
    if coarse:
        said.append(
            f"detector: its scores move in steps of {max(coarse):.2f}: they seem to share a scale with other outputs"
        )
    cut = [one for one in scores if one.anchors >= ENOUGH and one.tops[1] < CUT * one.tops[0]]
    said += [
        f"detector: at stride {one.stride} no score passes {one.tops[1]:.2f} where FP32's reach {one.tops[0]:.2f}: "
        "faces of that size have to be among the calibration photos"
        for one in cut
    ]
    return tuple(said)
