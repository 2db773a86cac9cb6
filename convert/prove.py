"""The NPU simulator's outputs against ONNX Runtime's, in words that mean something for faces. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.core.errors import ModelError
from rkface.runtime.core.faces import Faces
from rkface.runtime.vision.embed import unit

from .recipe import Bar, Grade
from .verification import Verification, verification

MATCH_IOU = 0.5
TIGHT_IOU = 0.9

# Below these something is wrong with models or photos, whatever the recipe; a healthy INT8 conversion of SCRFD and of
# MobileFaceNet stands far above (docs/accuracy.md).
SICK_MEAN_COSINE = 0.97
WORST_MATCHED = 0.95

# What a good detector reaches, and where the search for a better recipe ends.
GOOD_LANDMARKS, GOOD_TIGHT, GOOD_WRONG = 0.02, 0.98, 0.01  # of the eye distance, and shares of all faces

# What liveness has to come to: the difference of its probability from FP32's, of all faces and of the worst. Of faces
# that FP32 itself is not sure of, one may be decided otherwise. Chosen, not measured.
LIVE_MEAN, LIVE_WORST = 0.02, 0.15
LIVE_FLIPS = 0.02  # of all faces, or one

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class EmbeddingParity:
    """Quantized against FP32 embeddings of the same crops. ``cosines`` and ``norm_ratio`` (quantized length over
    FP32's) by face; ``euclidean`` is the mean distance as a share of the FP32 length: PRelu networks are known to keep
    the direction and lose the length."""

    faces: int
    mean: float
    p1: float
    minimum: float
    norm_ratio: float
    euclidean: float
    cosines: tuple[float, ...]


@dataclass(frozen=True)
class DetectionParity:
    """Faces of the quantized detector against FP32's on the same images: ``matched`` at IoU 0.5, ``tight`` at 0.9.
    ``landmark_error`` is the mean distance as a share of FP32's inter-ocular distance, over matched faces."""

    images: int
    faces: int
    matched: int
    tight: int
    missed: int
    extra: int
    mean_iou: float
    minimum_iou: float
    landmark_error: float
    landmark_error_max: float


@dataclass(frozen=True)
class PairParity:
    """Decisions on pairs of faces. Without labels only ``changed`` (other decision than FP32's at ``threshold``) is
    known; with them also both models' verification and the ``shift`` of the best threshold."""

    pairs: int
    threshold: float
    changed: int
    same: int | None = None
    reference: Verification | None = None
    quantized: Verification | None = None

    @property
    def shift(self) -> float | None:
        if self.reference is None or self.quantized is None:
            return None
        return self.quantized.best_threshold - self.reference.best_threshold


@dataclass(frozen=True)
class LivenessParity:
    """The probability that a face is live, quantized against FP32: ``mean`` and ``worst`` difference; ``flips``: faces
    decided otherwise at ``threshold``; ``live``: faces that FP32 takes for live."""

    faces: int
    mean: float
    worst: float
    threshold: float
    flips: int
    live: int


@dataclass(frozen=True)
class Parity:
    """All that one conversion proved. ``end_to_end`` embeds every face at the landmarks its own detector found."""

    detection: DetectionParity
    embedding: EmbeddingParity
    end_to_end: EmbeddingParity
    pairs: PairParity
    liveness: LivenessParity | None = None


def compare_embeddings(reference: Floats, quantized: Floats) -> EmbeddingParity:
    """Raw (not normalized) N×D embeddings of the same faces; all figures are 0 where N is."""
    if not len(reference):
        return EmbeddingParity(0, 0, 0, 0, 0, 0, ())
    lengths = np.maximum(np.linalg.norm(reference, axis=1), np.finfo(np.float32).tiny)
    cosines = np.sum(unit(reference) * unit(quantized), axis=1)
    return EmbeddingParity(
        faces=len(cosines),
        mean=float(cosines.mean()),
        p1=float(np.percentile(cosines, 1)),
        minimum=float(cosines.min()),
        norm_ratio=float(np.mean(np.linalg.norm(quantized, axis=1) / lengths)),
        euclidean=float(np.mean(np.linalg.norm(quantized - reference, axis=1) / lengths)),
        cosines=tuple(round(float(value), 5) for value in cosines),
    )


def overlaps(a: Floats, b: Floats) -> Floats:
    """N×M intersection over union of N×4 and M×4 boxes (x1, y1, x2, y2)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (a, b)]
    return np.asarray(shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-9), np.float32)


def match(reference: Floats, quantized: Floats, iou: float = MATCH_IOU) -> list[tuple[int, int, float]]:
    """Pairs (index in reference, index in quantized, IoU) of N×4 and M×4 boxes, largest overlap first, each box in one
    pair at most."""
    table = overlaps(reference, quantized)
    pairs = []
    while table.size and (best := float(table.max())) >= iou:
        row, column = (int(index) for index in np.unravel_index(int(table.argmax()), table.shape))
        pairs.append((row, column, best))
        table[row], table[:, column] = -1, -1
    return pairs


def compare_faces(reference: Sequence[Faces], quantized: Sequence[Faces]) -> DetectionParity:
    """Both detectors' faces on the same images."""
    ious, errors = [], []
    for ours, theirs in zip(reference, quantized, strict=True):
        for row, column, iou in match(ours.boxes, theirs.boxes):
            ious.append(iou)
            eyes = float(np.linalg.norm(ours.landmarks[row, 0] - ours.landmarks[row, 1]))
            distance = np.linalg.norm(ours.landmarks[row] - theirs.landmarks[column], axis=1).mean()
            errors.append(float(distance) / max(eyes, 1e-6))
    faces, found = sum(map(len, reference)), sum(map(len, quantized))
    return DetectionParity(
        images=len(reference),
        faces=faces,
        matched=len(ious),
        tight=sum(iou >= TIGHT_IOU for iou in ious),
        missed=faces - len(ious),
        extra=found - len(ious),
        mean_iou=float(np.mean(ious)) if ious else 0.0,
        minimum_iou=min(ious, default=0.0),
        landmark_error=float(np.mean(errors)) if errors else 0.0,
        landmark_error_max=max(errors, default=0.0),
    )


def compare_pairs(
    reference: Floats, quantized: Floats, threshold: float, labeled: Sequence[tuple[int, int, bool]] | None = None
) -> PairParity:
    """Decisions on pairs of N×D unit embeddings: the ``labeled`` ones (index, index, same person), else all."""
    if labeled:
        first, second, same = (np.array(column) for column in zip(*labeled, strict=True))
    else:
        first, second = np.triu_indices(len(reference), 1)
    before = np.sum(reference[first] * reference[second], axis=1)
    after = np.sum(quantized[first] * quantized[second], axis=1)
    changed = int(np.sum((before >= threshold) != (after >= threshold)))
    if not labeled:
        return PairParity(len(first), threshold, changed)
    return PairParity(
        len(first), threshold, changed, int(same.sum()), verification(before, same), verification(after, same)
    )


def compare_liveness(reference: Floats, quantized: Floats, threshold: float) -> LivenessParity:
    """Both models' probabilities, N float32, of the same N ≥ 1 faces."""
    apart = np.abs(reference - quantized)
    before, after = reference >= threshold, quantized >= threshold
    return LivenessParity(
        len(apart), float(apart.mean()), float(apart.max()), threshold, int((before != after).sum()), int(before.sum())
    )


def likeness(embeddings: Floats) -> float:
    """The mean cosine between different ones of N×D unit embeddings, N ≥ 2."""
    table = embeddings @ embeddings.T
    return float(np.mean(table[~np.eye(len(table), dtype=bool)]))


def check_recognizer(name: str, embeddings: Floats, mirrored: Floats) -> None:
    """Raise ModelError where a model cannot be a face recognizer: to one, a face and its mirror image are far more
    alike than two people. Catches classifiers, random weights, and a model fed with the wrong normalization.

    Both are N×D unit embeddings, of N ≥ 2 faces and of the same mirrored.
    """
    own = float(np.mean(np.sum(embeddings * mirrored, axis=1)))
    others = likeness(embeddings)
    if not own > others + 0.1:
        raise ModelError(
            f"{name} does not tell faces apart: the cosine between a face and its mirror image is {own:.2f}, between "
            f"different faces {others:.2f}. It is no face recognizer, or expects another normalization"
        )


def grade_embeddings(parity: EmbeddingParity, bar: Bar) -> Grade:
    """By the mean cosine; good where the worst face is as well."""
    return Grade(
        parity.mean >= bar.mean and parity.minimum >= bar.minimum,
        (parity.mean, parity.minimum),
        f"cosine mean {parity.mean:.4f}, min {parity.minimum:.4f}",
        parity.mean,
    )


def grade_faces(parity: DetectionParity) -> Grade:
    """By missed and extra faces, then by landmarks, which decide what the recognizer sees."""
    wrong = parity.missed + parity.extra
    return Grade(
        wrong <= GOOD_WRONG * parity.faces
        and parity.tight >= GOOD_TIGHT * parity.faces
        and parity.landmark_error <= GOOD_LANDMARKS,
        (-wrong, -parity.landmark_error),
        f"{parity.missed} missed, {parity.extra} extra, {parity.tight} of {parity.faces} at IoU {TIGHT_IOU}, landmarks "
        f"{parity.landmark_error:.1%} off",
        parity.landmark_error,
    )


def grade_liveness(parity: LivenessParity) -> Grade:
    """By faces decided otherwise, then by the mean difference."""
    return Grade(
        parity.mean <= LIVE_MEAN
        and parity.worst <= LIVE_WORST
        and parity.flips <= max(1, int(LIVE_FLIPS * parity.faces)),
        (-parity.flips, -parity.mean),
        f"probability {parity.mean:.3f} off, {parity.worst:.3f} at most; {parity.flips} of {parity.faces} faces "
        f"decided otherwise at {parity.threshold:g}",
        parity.mean,
    )


def fault(parity: Parity, bar: Bar) -> str | None:
    """Why the quantized models are too far from FP32 to be handed to anyone, and what to do; None where all is well."""
    embedding, detection = parity.embedding, parity.detection
    if not grade_embeddings(embedding, bar).clears:
        return (
            f"the quantized recognizer is too far from FP32: mean cosine {embedding.mean:.4f} where at least "
            f"{bar.mean:g} is asked, worst face {embedding.minimum:.4f} where {bar.minimum:g} is. Calibrate on other "
            "faces, use --recipe auto or --no-quantize, or ask for less with --min-cosine"
        )
    if detection.matched < WORST_MATCHED * detection.faces:
        return (
            f"the quantized detector finds only {detection.matched} of the {detection.faces} faces that FP32 finds. "
            "Calibrate on other photos, use --recipe auto, or --no-quantize"
        )
    if parity.liveness is not None and not (grade := grade_liveness(parity.liveness)).clears:
        return (
            f"the quantized liveness model is too far from FP32: {grade.said} (asked: {LIVE_MEAN:g} off, "
            f"{LIVE_WORST:g} at most, {LIVE_FLIPS:.0%} of the faces or one). Calibrate on other photos, "
            "use --recipe auto, or --no-quantize"
        )
    return None
