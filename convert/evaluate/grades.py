"""Decides from the comparison with FP32 whether quantized models are close enough to be used."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from rkface.runtime.core.text import show_beyond

from ..pair_search import PairGrade
from ..recipe import AccuracyBar
from ..recipe_search import Grade
from .detector_errors import DetectorEvidence, SizeErrors
from .max_drop import find_drop_fault
from .parity import (
    OUT_OF_DOMAIN,
    REAL,
    TIGHT_IOU,
    DetectionParity,
    EmbeddingParity,
    FaceGroup,
    LivenessParity,
    PairParity,
    Parity,
    pool_embeddings,
)

# Below these limits, something is wrong with the models or the photos, whatever the recipe is. Healthy INT8 conversions
# of SCRFD and MobileFaceNet are far above them (docs/accuracy.md).
BROKEN_MEAN_COSINE = 0.97
MIN_MATCHED = 0.95

# What a detector must reach. Then at most SPEND of its predicted time is spent on a better one.
GOOD_LANDMARKS = 0.02  # largest mean landmark error, as a share of the inter-ocular distance
GOOD_TIGHT, GOOD_WRONG = 0.98, 0.01  # shares of all faces: at least so many at IoU 0.9, at most so many missed or extra
# What ends the search. On photos of another kind, landmarks were up to 4.3 times as far off (docs/accuracy.md): with
# 0.3 %, they stay within 1.3 % there.
WELL_LANDMARKS, WELL_IOU = 0.003, 0.99
WELL_SMALL_LANDMARKS = 0.006  # the same for faces of SMALL_FACE or more input pixels in mosaics; small ones vary more
SMALL_FACE = 48.0
WELL_THRESHOLDS = (0.3, 0.5, 0.7)  # at which no face may be lost

# Share of the labeled pairs that the models together may decide differently from FP32; one pair always may.
CHANGED_PAIRS = 0.005

# What a liveness model must reach: the mean and the largest difference of its probability from FP32's. One face may be
# decided differently, because FP32 itself is not sure of some faces. Chosen, not measured.
LIVE_MEAN, LIVE_WORST = 0.02, 0.15
LIVE_CHANGED = 0.02  # share of the faces that may be decided differently; one face always may

# A recipe clears the bar well if its error, 1 − cosine, is at most this share of what the bar allows. On photos of
# another kind than all evaluation faces, the error of two recognizers was 1.8 and 2.4 times as large
# (docs/accuracy.md); such a recipe is still above the bar there.
WELL = 0.5
# Weight of the mean cosine, if that of the worst faces is 1, in the rank of a recipe: the default bar allows the mean
# half the error. By the mean alone, a recipe would be preferred that is slightly better on most faces, but lets ranges
# end where single faces need more. By the single worst face, chance would decide: chosen on half of 33 faces, the
# recipe was then 0.0012 below the best one on the other half, in mean and worst face; with a quarter, 0.0005
# (docs/accuracy.md).
MEAN_WEIGHT = 2.0
WORST_SHARE = 0.25  # of the faces

GROUP_NAMES: dict[FaceGroup, str] = {
    "in-domain": "the held-out faces",
    "unlike": "the held-out faces of people, and of a pose, light or sharpness, that the calibration set does not have",
}


def grade_embeddings(groups: Mapping[FaceGroup, EmbeddingParity], bar: AccuracyBar) -> Grade:
    """Grade by the faces that are furthest from those that calibrate: unlike and augmented ones, or all without such.

    It is close enough if each group of real faces reaches ``bar``, and well so if the error of unlike and augmented
    faces, too, is at most ``WELL`` of what ``bar`` allows. The rank weighs their mean and that of their worst quarter;
    both groups count alike, since one is real and the other has more faces.
    """
    found = {group: parity for group, parity in groups.items() if parity.faces}
    parts = [found[group] for group in OUT_OF_DOMAIN if group in found] or list(found.values())
    judged = pool_embeddings(parts)
    clears = find_failing_group(found, bar) is None
    return Grade(
        clears,
        (float(np.mean([MEAN_WEIGHT * part.mean + _worst_mean(part) for part in parts])),),
        "cosine " + ", ".join(f"{group} {one.mean:.4f} (min {one.minimum:.4f})" for group, one in found.items()),
        min((found[group].mean for group in REAL if group in found), default=judged.mean),
        1 - judged.mean <= WELL * (1 - bar.mean) and 1 - judged.minimum <= WELL * (1 - bar.minimum),
    )


def _worst_mean(parity: EmbeddingParity) -> float:
    """The mean cosine of the worst faces."""
    return float(np.sort(parity.cosines)[: math.ceil(WORST_SHARE * parity.faces)].mean())


def find_failing_group(groups: Mapping[FaceGroup, EmbeddingParity], bar: AccuracyBar) -> FaceGroup | None:
    """The first group of real faces that does not reach ``bar``: each face must reach the minimum, and each group the
    mean. None if all groups do."""
    for group in REAL:
        if (found := groups.get(group)) and found.faces and not bar.reached_by(found.mean, found.minimum):
            return group
    return None


def grade_faces(parity: DetectionParity, evidence: DetectorEvidence) -> Grade:
    """Grade by missed and extra faces, then by the landmarks, which decide how the recognizer sees a face.

    It is close enough well if no face of a photo is lost at any usual threshold, and landmarks are so close that they
    stay close on photos of another kind: in photos and on the smaller faces of mosaics.
    """
    wrong = parity.missed + parity.extra
    lost = sum(one.lost for one in evidence.photos.thresholds if one.threshold in WELL_THRESHOLDS)
    return Grade(
        wrong <= GOOD_WRONG * parity.faces
        and parity.tight >= GOOD_TIGHT * parity.faces
        and parity.landmark_error <= GOOD_LANDMARKS,
        (-wrong, -parity.landmark_error),
        f"{parity.missed} missed, {parity.extra} extra, {parity.tight} of {parity.faces} at IoU {TIGHT_IOU}, landmark "
        f"error {parity.landmark_error:.1%}",
        parity.landmark_error,
        lost == 0
        and parity.mean_iou >= WELL_IOU
        and parity.landmark_error <= WELL_LANDMARKS
        and _small_landmark_error(evidence.mosaics.sizes) <= WELL_SMALL_LANDMARKS,
    )


def find_shape_fault(shape: DetectionParity, main: DetectionParity) -> str | None:
    """Why a shape of the detector must not be used instead of the ``main`` one; None if it may.

    It finds the faces that FP32 finds in this shape, and no others, and its landmarks are about as close.
    """
    if min(shape.matched, shape.faces - shape.extra) < MIN_MATCHED * shape.faces:
        return f"it finds {shape.matched} of the {shape.faces} faces that FP32 finds, and {shape.extra} others"
    limit = max(GOOD_LANDMARKS, 2 * main.landmark_error)
    if shape.landmark_error > limit:
        return f"its landmark error is {shape.landmark_error:.1%}, and must not be above {limit:.1%}"
    return None


def _small_landmark_error(sizes: Sequence[SizeErrors]) -> float:
    """Over faces of ``SMALL_FACE`` or more input pixels; 0 without such faces."""
    found = [one for one in sizes if one.low >= SMALL_FACE and one.faces > one.missed]
    weights = [one.faces - one.missed for one in found]
    return float(np.average([one.landmark_error for one in found], weights=weights)) if found else 0.0


def grade_pair(
    same_crop: Mapping[FaceGroup, EmbeddingParity],
    end_to_end: Mapping[FaceGroup, EmbeddingParity],
    pairs: PairParity | None,
    bar: AccuracyBar,
) -> PairGrade:
    """Grade a detector and a recognizer together by the group of real faces with the lowest mean cosine ``end_to_end``.

    ``same_crop`` has the same faces at FP32's landmarks, ``pairs`` the decisions on labeled pairs; None without labels.
    Without faces, nothing speaks against the two models.
    """
    groups = [group for group in REAL if group in end_to_end and end_to_end[group].faces]
    if not groups:
        return PairGrade(True, 1.0, 0.0)
    worst = min(groups, key=lambda group: end_to_end[group].mean)
    cosine = end_to_end[worst].mean
    same_decisions = pairs is None or pairs.changed <= max(1, int(CHANGED_PAIRS * pairs.pairs))
    return PairGrade(
        cosine >= bar.wanted_end_to_end and same_decisions,
        cosine,
        1 - same_crop[worst].mean,
        None if pairs is None else pairs.changed,
    )


def grade_liveness(parity: LivenessParity) -> Grade:
    """Grade by faces that are decided differently, then by the mean difference."""
    return Grade(
        parity.mean <= LIVE_MEAN
        and parity.worst <= LIVE_WORST
        and parity.changed <= max(1, int(LIVE_CHANGED * parity.faces)),
        (-parity.changed, -parity.mean),
        f"probability differs by {parity.mean:.3f} on average and {parity.worst:.3f} at most; {parity.changed} of "
        f"{parity.faces} faces are decided differently at {parity.threshold:g}",
        parity.mean,
    )


def not_close_together(parity: Parity, bar: AccuracyBar) -> str | None:
    """A remark if both models together are further from FP32 than ``bar`` calls good, but close enough to be used."""
    for group in REAL:
        found = parity.groups[group].end_to_end if group in parity.groups else None
        if found and found.faces and bar.lowest_end_to_end <= found.mean < bar.wanted_end_to_end:
            return (
                f"end to end, the mean cosine with FP32 is {show_beyond(found.mean, bar.wanted_end_to_end, 4)} on "
                f"{_describe(group, found)}, although it should be {bar.wanted_end_to_end:g}: the landmarks of the "
                "quantized detector differ. See the report, and try --recipe thorough"
            )
    return None


def find_fault(parity: Parity, bar: AccuracyBar, *, quantized: bool = True) -> str | None:
    """Why the converted models are too far from FP32 to be used, and what to do; None if they are close enough.

    ``quantized``: False if the models are FP16. Then the calibration and the recipe cannot be the cause.
    """
    detection, kind = parity.detection, "quantized" if quantized else "FP16"
    photos, faces = (f"Calibrate on other {what}, use --recipe auto or --no-quantize" for what in ("photos", "faces"))
    if not quantized:
        photos = faces = "Its values may be too large for FP16 (above 65504): scale its weights"
    same_crop = {group: found.same_crop for group, found in parity.groups.items()}
    if group := find_failing_group(same_crop, bar):
        return (
            f"the {kind} recognizer is too far from FP32 on {_describe(group, same_crop[group])}: "
            f"{', '.join(_shortfalls(same_crop[group], bar))}. {faces}, or lower the requirement with --min-cosine"
        )
    if fault := find_drop_fault(parity.drops, kind, faces):
        return fault
    if detection.matched < MIN_MATCHED * detection.faces:
        return (
            f"the {kind} detector finds only {detection.matched} of the {detection.faces} faces that FP32 finds. "
            f"{photos}"
        )
    for group in REAL:
        found = parity.groups[group].end_to_end if group in parity.groups else None
        if found and found.faces and not found.mean >= bar.lowest_end_to_end:
            return (
                f"the {kind} models together are too far from FP32 on {_describe(group, found)}: at the landmarks of "
                f"its own detector, mean cosine {show_beyond(found.mean, bar.lowest_end_to_end, 4)} (required: "
                f"{bar.lowest_end_to_end:g}), although the recognizer is close enough at the same landmarks. {photos}, "
                "or use another detector"
            )
    if parity.liveness is not None and not (grade := grade_liveness(parity.liveness)).clears:
        return (
            f"the {kind} liveness model is too far from FP32: {grade.summary} (allowed: {LIVE_MEAN:g} on "
            f"average, {LIVE_WORST:g} at most, {LIVE_CHANGED:.0%} of the faces or one). {photos}"
        )
    return None


def _describe(group: FaceGroup, parity: EmbeddingParity) -> str:
    return f"{GROUP_NAMES[group]} ({parity.faces})"


def _shortfalls(parity: EmbeddingParity, bar: AccuracyBar) -> Iterator[str]:
    """The parts of ``bar`` that ``parity`` does not reach."""
    for name, value, required in (("mean cosine", parity.mean, bar.mean), ("worst face", parity.minimum, bar.minimum)):
        if not value >= required:
            yield f"{name} {show_beyond(value, required, 4)} (required: {required:g})"
