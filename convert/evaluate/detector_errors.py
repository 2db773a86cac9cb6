"""Shows how quantization changes the faces that a detector finds: by threshold, and by their size.

Pure functions. ``parity.py`` decides whether a detector is good enough; this module and ``output_errors.py`` show where
it differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.core.faces import Faces

from .output_errors import OutputError
from .parity import match_boxes

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)
MARGIN = 0.1  # a face with a score of at most this much below the threshold was found, only with a lower score
LOWEST = THRESHOLDS[0] - MARGIN  # the lowest score that any function below needs
SIZES = (24.0, 48.0, 96.0)  # limits between small and large faces, in pixels of the detector's input
COARSE_STEP = 0.02  # if scores have larger steps, a threshold cannot be tuned well
NOTABLE_LOSS = 0.05  # share of lost small faces above which there is a note
MIN_FACES = 20  # with fewer faces, there is no note
MIN_TOP_SHARE = 0.9  # the quantized detector must reach this share of FP32's highest score on every stride

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class ThresholdErrors:
    """Both detectors at the same score threshold.

    faces     found by FP32
    missed    of these, without a match by the quantized detector
    lost      of the missed, without a match even at a threshold lower by 0.1
    extra     found by the quantized detector, without a match by FP32
    invented  of the extra, without a match even at a threshold lower by 0.1
    """

    threshold: float
    faces: int
    missed: int
    lost: int
    extra: int
    invented: int


@dataclass(frozen=True)
class SizeErrors:
    """The same at the default threshold, for faces of ``low`` to ``high`` input pixels.

    The size of a face is the square root of its box's area; ``high`` is None for no limit. The mean IoU and the
    landmark error (a share of the inter-ocular distance) are over the matched faces.
    """

    low: float
    high: float | None
    faces: int
    missed: int
    lost: int
    extra: int
    mean_iou: float
    landmark_error: float


@dataclass(frozen=True)
class SceneErrors:
    """Both detectors on one kind of images: photos or mosaics."""

    images: int
    thresholds: tuple[ThresholdErrors, ...]
    sizes: tuple[SizeErrors, ...]


@dataclass(frozen=True)
class DetectorEvidence:
    """All errors of a detector. ``mosaics`` are the photos shrunk and put together (convert/mosaic.py); ``outputs``
    covers photos and mosaics."""

    outputs: tuple[OutputError, ...]
    photos: SceneErrors
    mosaics: SceneErrors


def compare_scenes(
    reference: Sequence[Faces], quantized: Sequence[Faces], scales: Sequence[float], threshold: float
) -> SceneErrors:
    """Compare the faces of both detectors on the same images, decoded with a threshold of ``LOWEST``.

    ``scales`` are input pixels per pixel of each image; ``threshold`` is the detector's default. Faces above a higher
    threshold are the same as if they were decoded with that threshold, because NMS keeps faces in the order of their
    scores.
    """
    return SceneErrors(
        len(reference),
        tuple(_at(one, reference, quantized) for one in THRESHOLDS),
        _sizes(reference, quantized, scales, threshold),
    )


def _at(threshold: float, reference: Sequence[Faces], quantized: Sequence[Faces]) -> ThresholdErrors:
    faces = missed = lost = extra = invented = 0
    for before, after in zip(reference, quantized, strict=True):
        faces += len(_above(before, threshold))
        unseen, gone = _unmatched(before, after, threshold)
        missed, lost = missed + int(unseen.sum()), lost + int(gone.sum())
        unseen, gone = _unmatched(after, before, threshold)
        extra, invented = extra + int(unseen.sum()), invented + int(gone.sum())
    return ThresholdErrors(threshold, faces, missed, lost, extra, invented)


def _sizes(
    reference: Sequence[Faces], quantized: Sequence[Faces], scales: Sequence[float], threshold: float
) -> tuple[SizeErrors, ...]:
    rows: list[tuple[float, Mask]] = []  # for each of FP32's faces: size, (missed, lost)
    others: list[tuple[float, Mask]] = []  # for each of the quantized detector's faces: size, (extra, invented)
    pairs: list[tuple[float, float, float]] = []  # size, IoU, landmark error
    for before, after, scale in zip(reference, quantized, scales, strict=True):
        ours, theirs = _above(before, threshold), _above(after, threshold)
        rows += zip(_size(ours, scale), np.stack(_unmatched(before, after, threshold), axis=1), strict=True)
        others += zip(_size(theirs, scale), np.stack(_unmatched(after, before, threshold), axis=1), strict=True)
        sizes = _size(ours, scale)
        for row, column, iou in match_boxes(ours.boxes, theirs.boxes):
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
            SizeErrors(
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


def _above(faces: Faces, threshold: float) -> Faces:
    return faces[faces.scores >= threshold]


def _size(faces: Faces, scale: float) -> list[float]:
    """The square root of each box's area, in input pixels."""
    sides = np.maximum(faces.boxes[:, 2:] - faces.boxes[:, :2], 0) * scale
    return [float(size) for size in np.sqrt(sides[:, 0] * sides[:, 1])]


def _unmatched(faces: Faces, others: Faces, threshold: float) -> tuple[Mask, Mask]:
    """Which of ``faces`` at ``threshold`` have no match at the same threshold, and which have none 0.1 lower,
    either."""
    chosen = _above(faces, threshold)

    def without_match(among: Faces) -> Mask:
        mask = np.ones(len(chosen), bool)
        mask[[row for row, *_ in match_boxes(chosen.boxes, among.boxes)]] = False
        return mask

    unseen = without_match(_above(others, threshold))
    return unseen, unseen & without_match(_above(others, threshold - MARGIN))


def detector_notes(evidence: DetectorEvidence, *, quantized: bool = True) -> tuple[str, ...]:
    """Remarks for people about a detector that is good enough. ``quantized``: False if it is FP16."""
    kind = "quantized" if quantized else "FP16"
    notes = []
    for group in evidence.mosaics.sizes:
        if (
            group.high
            and group.high <= SIZES[1]
            and group.faces >= MIN_FACES
            and group.lost > NOTABLE_LOSS * group.faces
        ):
            notes.append(
                f"detector: of {group.faces} faces of {group.low:g} to {group.high:g} input pixels that FP32 finds in "
                f"mosaics of the photos, the {kind} detector does not find {group.lost}: if you need small faces, use "
                f"a larger --size{', or other calibration photos' if quantized else ''}"
            )
    scores = [one for one in evidence.outputs if one.kind == "score"]
    coarse = [one.step for one in scores if one.step and one.step > COARSE_STEP]
    if coarse:
        notes.append(
            f"detector: its scores have steps of {max(coarse):.2f}: they seem to share a scale with other outputs"
        )
    cut = [
        one for one in scores if one.anchors >= MIN_FACES and one.largest_quantized < MIN_TOP_SHARE * one.largest_fp32
    ]
    notes += [
        f"detector: at stride {one.stride}, scores do not exceed {one.largest_quantized:.2f}, but FP32's reach "
        f"{one.largest_fp32:.2f}{': add calibration photos with faces of that size' if quantized else ''}"
        for one in cut
    ]
    return tuple(notes)
