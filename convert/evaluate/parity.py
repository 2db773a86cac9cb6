"""Compares the outputs of the quantized models with those of FP32: embeddings, faces, decisions, liveness. Pure
functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.core.faces import Faces
from rkface.runtime.vision.embed import unit

from .max_drop import MetricDrop
from .verification import Verification, verify_pairs

MATCH_IOU = 0.5
TIGHT_IOU = 0.9

# Groups of evaluation faces: EvaluationSet says what is in the first two; augment.py makes the third.
FaceGroup = Literal["in-domain", "unlike", "augmented"]
REAL: tuple[FaceGroup, ...] = ("in-domain", "unlike")
OUT_OF_DOMAIN: tuple[FaceGroup, ...] = ("unlike", "augmented")
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class EmbeddingParity:
    """Quantized against FP32 embeddings of the same crops.

    mean, p1, minimum  of the cosines
    norm_ratio         mean of the quantized length divided by FP32's
    euclidean          mean distance as a share of FP32's length: PReLU networks may keep the direction and lose the
                       length
    cosines            by face
    """

    faces: int
    mean: float
    p1: float
    minimum: float
    norm_ratio: float
    euclidean: float
    cosines: tuple[float, ...]


@dataclass(frozen=True)
class DetectionParity:
    """The quantized detector against FP32 on the same images.

    faces               found by FP32
    matched, tight      of these, found by the quantized detector at an IoU of 0.5 and of 0.9
    missed              of these, not found by it
    extra               found only by it
    landmark_error      mean distance as a share of FP32's inter-ocular distance, over matched faces
    landmark_error_max  of the worst face
    """

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
    """Decisions on pairs of faces.

    changed               pairs that are decided differently from FP32 at ``threshold``
    same                  pairs of one person; None without labels
    reference, quantized  verification by both models; None without labels
    """

    pairs: int
    threshold: float
    changed: int
    same: int | None = None
    reference: Verification | None = None
    quantized: Verification | None = None

    @property
    def shift(self) -> float | None:
        """The quantized model's best threshold minus FP32's; None without labels."""
        if self.reference is None or self.quantized is None:
            return None
        return self.quantized.best_threshold - self.reference.best_threshold


@dataclass(frozen=True)
class LivenessParity:
    """The probability that a face is live, quantized against FP32.

    mean, worst  absolute difference
    changed      faces that are decided differently at ``threshold``
    live         faces that are live according to FP32
    """

    faces: int
    mean: float
    worst: float
    threshold: float
    changed: int
    live: int


@dataclass(frozen=True)
class GroupParity:
    """One group of evaluation faces, on the same crops and end to end. No detector saw augmented faces."""

    same_crop: EmbeddingParity
    end_to_end: EmbeddingParity


@dataclass(frozen=True)
class Parity:
    """All comparisons of one conversion. For ``end_to_end``, each model embeds faces at its own detector's
    landmarks.

    embedding, end_to_end  over all real faces, in-domain and unlike
    groups                 the same by group; groups without faces are missing
    out_of_domain          over unlike and augmented faces, on the same crops
    drops                  how much worse the user's own figures are, on the same crops; empty without --max-drop
    """

    detection: DetectionParity
    embedding: EmbeddingParity
    end_to_end: EmbeddingParity
    pairs: PairParity
    groups: dict[FaceGroup, GroupParity]
    out_of_domain: EmbeddingParity
    liveness: LivenessParity | None = None
    drops: tuple[MetricDrop, ...] = ()


def without_cosines(parity: Parity) -> dict[str, Any]:
    """The figures of ``parity``, without the cosine of each face and without empty parts."""
    return _without_cosines(asdict(parity))


def _without_cosines(figures: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _without_cosines(part) if isinstance(part, dict) else part
        for name, part in figures.items()
        if name != "cosines" and part is not None
    }


def compare_embeddings(reference: Floats, quantized: Floats) -> EmbeddingParity:
    """Compare raw (not normalized) N×D embeddings of the same faces. If N is 0, all figures are 0."""
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


def compare_groups(
    groups: Sequence[FaceGroup], reference: Floats, quantized: Floats
) -> dict[FaceGroup, EmbeddingParity]:
    """``compare_embeddings`` of each group; ``groups`` are those of the N rows. Every group is in the result."""
    found = np.array(groups, np.str_)
    return {
        group: compare_embeddings(reference[found == group], quantized[found == group]) for group in get_args(FaceGroup)
    }


def pool_embeddings(parts: Iterable[EmbeddingParity]) -> EmbeddingParity:
    """The figures over the faces of all ``parts``. Without faces, all figures are 0."""
    parts = [part for part in parts if part.faces]
    if not parts:
        return EmbeddingParity(0, 0, 0, 0, 0, 0, ())
    faces = [part.faces for part in parts]
    mean, norm_ratio, euclidean = (
        float(np.average([getattr(part, name) for part in parts], weights=faces))
        for name in ("mean", "norm_ratio", "euclidean")
    )
    cosines = tuple(cosine for part in parts for cosine in part.cosines)
    p1, minimum = float(np.percentile(cosines, 1)), min(part.minimum for part in parts)
    return EmbeddingParity(sum(faces), mean, p1, minimum, norm_ratio, euclidean, cosines)


def box_ious(a: Floats, b: Floats) -> Floats:
    """The intersection over union, N×M, of N×4 and M×4 boxes (x1, y1, x2, y2)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (a, b)]
    return np.asarray(shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-9), np.float32)


def match_boxes(reference: Floats, quantized: Floats, iou: float = MATCH_IOU) -> list[tuple[int, int, float]]:
    """Match N×4 with M×4 boxes: pairs of (index in reference, index in quantized, IoU), the largest IoU first.

    Each box is in at most one pair, and ``iou`` is the minimum.
    """
    table = box_ious(reference, quantized)
    pairs = []
    while table.size and (best := float(table.max())) >= iou:
        row, column = (int(index) for index in np.unravel_index(int(table.argmax()), table.shape))
        pairs.append((row, column, best))
        table[row], table[:, column] = -1, -1
    return pairs


def compare_faces(reference: Sequence[Faces], quantized: Sequence[Faces]) -> DetectionParity:
    """Compare the faces of both detectors on the same images."""
    ious, errors = [], []
    for before, after in zip(reference, quantized, strict=True):
        for row, column, iou in match_boxes(before.boxes, after.boxes):
            ious.append(iou)
            eyes = float(np.linalg.norm(before.landmarks[row, 0] - before.landmarks[row, 1]))
            distance = np.linalg.norm(before.landmarks[row] - after.landmarks[column], axis=1).mean()
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
    """Compare decisions on pairs of N×D unit embeddings: the ``labeled`` pairs (index, index, same person), or all
    pairs without labels. ``threshold`` is the minimum cosine for a match."""
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
        len(first), threshold, changed, int(same.sum()), verify_pairs(before, same), verify_pairs(after, same)
    )


def compare_liveness(reference: Floats, quantized: Floats, threshold: float) -> LivenessParity:
    """Compare both models' probabilities (N float32) of the same N ≥ 1 faces."""
    difference = np.abs(reference - quantized)
    before, after = reference >= threshold, quantized >= threshold
    return LivenessParity(
        len(difference),
        float(difference.mean()),
        float(difference.max()),
        threshold,
        int((before != after).sum()),
        int(before.sum()),
    )


def mean_cosine_between(embeddings: Floats) -> float:
    """The mean cosine over all pairs of different rows of N×D unit embeddings, N ≥ 2."""
    table = embeddings @ embeddings.T
    return float(np.mean(table[~np.eye(len(table), dtype=bool)]))
