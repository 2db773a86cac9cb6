"""Which differences from FP32 are small enough."""

from dataclasses import replace

import pytest

from rkface.convert.evaluate.detector_errors import DetectorEvidence, SceneErrors, SizeErrors, ThresholdErrors
from rkface.convert.evaluate.grades import grade_faces, grade_pair
from rkface.convert.evaluate.parity import DetectionParity, EmbeddingParity, PairParity
from rkface.convert.recipe import AccuracyBar

FOUND = DetectionParity(10, 30, 30, 30, 0, 0, 0.994, 0.97, 0.002, 0.05)


def scene(landmark_error=0.004, lost_at=None):
    thresholds = tuple(ThresholdErrors(at, 30, 0, int(at == lost_at), 0, 0) for at in (0.3, 0.4, 0.5, 0.6, 0.7))
    sizes = SizeErrors(24, 48, 90, 0, 0, 0, 0.98, 0.05), SizeErrors(48, 96, 30, 0, 0, 0, 0.99, landmark_error)
    return SceneErrors(10, thresholds, sizes)


EVIDENCE = DetectorEvidence((), scene(), scene())


def test_finding_faces_is_more_important_than_exact_landmarks():
    missed = DetectionParity(10, 30, 29, 29, 1, 0, 0.99, 0.97, 0.001, 0.05)
    assert grade_faces(FOUND, EVIDENCE).clears and not grade_faces(missed, EVIDENCE).clears
    assert grade_faces(FOUND, EVIDENCE).rank > grade_faces(missed, EVIDENCE).rank
    one_in_hundred = DetectionParity(100, 277, 277, 276, 0, 1, 0.99, 0.8, 0.01, 0.05)
    assert grade_faces(one_in_hundred, EVIDENCE).clears


@pytest.mark.parametrize(
    ("faces", "evidence"),
    [
        (replace(FOUND, landmark_error=0.004), EVIDENCE),
        (replace(FOUND, mean_iou=0.985), EVIDENCE),
        (FOUND, replace(EVIDENCE, mosaics=scene(landmark_error=0.009))),
        *((FOUND, replace(EVIDENCE, photos=scene(lost_at=threshold))) for threshold in (0.3, 0.5, 0.7)),
    ],
)
def test_a_detector_that_would_be_worse_on_other_photos_is_not_good_enough_to_end_the_search(faces, evidence):
    assert grade_faces(FOUND, EVIDENCE).clears_well
    grade = grade_faces(faces, evidence)
    assert grade.clears and not grade.clears_well


def test_a_pair_is_graded_by_its_worst_group_of_real_faces():
    def parity(mean, faces=10):
        return EmbeddingParity(faces, mean, mean, mean, 1, 0, ())

    same_crop = {"in-domain": parity(0.998), "unlike": parity(0.997), "augmented": parity(0.99)}
    end_to_end = {"in-domain": parity(0.996), "unlike": parity(0.991), "augmented": parity(0, faces=0)}
    grade = grade_pair(same_crop, end_to_end, None, AccuracyBar())
    assert not grade.clears and grade.cosine == 0.991
    assert grade.recognizer == pytest.approx(0.003) and grade.detector == pytest.approx(0.006)
    assert grade_pair(same_crop, end_to_end | {"unlike": parity(0.994)}, None, AccuracyBar()).clears
    assert grade_pair({}, {}, None, AccuracyBar()).clears, "nothing speaks against a pair without faces"


def test_labeled_pairs_may_not_be_decided_differently():
    groups = {"in-domain": EmbeddingParity(10, 0.999, 0.999, 0.999, 1, 0, ())}
    for changed, clears in ((0, True), (1, True), (2, False)):
        grade = grade_pair(groups, groups, PairParity(300, 0.35, changed), AccuracyBar())
        assert grade.clears == clears and grade.changed == changed
