import math
from dataclasses import replace

import numpy as np
import pytest

from rkface.convert.evaluate.grades import find_fault, not_close_together
from rkface.convert.evaluate.parity import (
    DetectionParity,
    EmbeddingParity,
    GroupParity,
    PairParity,
    Parity,
    box_ious,
    compare_embeddings,
    compare_faces,
    compare_pairs,
    match_boxes,
)
from rkface.convert.recipe import AccuracyBar
from rkface.runtime.core.faces import Faces
from rkface.runtime.vision.embed import unit

RANDOM = np.random.default_rng(7)


def faces(boxes):
    boxes = np.float32(boxes).reshape(-1, 4)
    x1, y1, x2, y2 = (side[:, None] for side in boxes.T)
    points = np.float32([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
    landmarks = np.stack([x1 + (x2 - x1) * points[:, 0], y1 + (y2 - y1) * points[:, 1]], axis=2)
    return Faces(boxes, np.ones(len(boxes), np.float32), landmarks.astype(np.float32))


def test_embeddings_by_hand():
    reference = np.float32([[3, 4], [0, 2]])
    quantized = np.float32([[6, 8], [2, 0]])
    parity = compare_embeddings(reference, quantized)
    assert parity.cosines == (1.0, 0.0) and (parity.mean, parity.minimum) == (0.5, 0.0)
    # Lengths 10/5 and 2/2; distances 5/5 and √8/2.
    assert parity.norm_ratio == pytest.approx(1.5) and parity.euclidean == pytest.approx((1 + math.sqrt(8) / 2) / 2)


def test_a_wrong_length_is_visible_although_the_cosine_is_perfect():
    vectors = RANDOM.normal(size=(20, 64)).astype(np.float32)
    parity = compare_embeddings(vectors, vectors * 0.4)
    assert parity.minimum == pytest.approx(1, abs=1e-6)  # float32 rounding
    assert parity.norm_ratio == pytest.approx(0.4, abs=1e-5) and parity.euclidean == pytest.approx(0.6, abs=1e-5)


def test_box_ious_by_hand():
    table = box_ious(np.float32([[0, 0, 10, 10]]), np.float32([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]]))
    np.testing.assert_allclose(table, [[1, 50 / 150, 0]], atol=1e-6)


def test_each_face_is_matched_once_and_the_largest_iou_first():
    ours = np.float32([[0, 0, 10, 10], [2, 0, 12, 10]])
    theirs = np.float32([[2, 0, 12, 10], [100, 0, 110, 10]])
    assert [(row, column) for row, column, _ in match_boxes(ours, theirs)] == [(1, 0)]
    assert match_boxes(ours[:0], theirs) == [] and match_boxes(ours, theirs[:0]) == []


def test_missed_extra_and_moved_faces_are_counted():
    before = [faces([[0, 0, 100, 100], [200, 0, 300, 100]]), faces([]), faces([[0, 0, 50, 50]])]
    after = [faces([[0, 0, 100, 100]]), faces([[5, 5, 20, 20]]), faces([[4, 0, 54, 50]])]
    parity = compare_faces(before, after)
    assert (parity.images, parity.faces, parity.matched, parity.missed, parity.extra) == (3, 3, 2, 1, 1)
    assert parity.tight == 1 and parity.minimum_iou == pytest.approx(46 / 54, abs=1e-5)
    # All landmarks of the third face are moved by 4 px; its eyes are 0.4 · 50 = 20 px apart.
    assert parity.landmark_error_max == pytest.approx(4 / 20, abs=1e-5)


def test_threshold_shift_and_changed_decisions():
    people = unit(RANDOM.normal(size=(8, 32)).astype(np.float32))
    vectors = unit(np.repeat(people, 4, axis=0) + 0.08 * RANDOM.normal(size=(32, 32)).astype(np.float32))
    labeled = [(i, j, i // 4 == j // 4) for i in range(32) for j in range(i)]
    still = compare_pairs(vectors, vectors, 0.5, labeled)
    assert still.changed == 0 and still.shift == 0 and still.pairs == 496 and still.same == 48
    # A common offset, such as from a wrong zero point, makes all people more similar.
    moved = compare_pairs(vectors, unit(vectors + 0.2), 0.5, labeled)
    assert moved.shift > 0.1 and moved.changed > 0
    unlabeled = compare_pairs(vectors, unit(vectors + 0.2), 0.5)
    assert (unlabeled.pairs, unlabeled.changed, unlabeled.shift) == (496, moved.changed, None)


def parity(mean=0.996, matched=100, minimum=None):
    minimum = mean if minimum is None else minimum
    embedding = EmbeddingParity(50, mean, mean, minimum, 1, 0, ())
    return Parity(
        DetectionParity(50, 100, matched, matched, 100 - matched, 0, 1, 1, 0, 0),
        embedding,
        embedding,
        PairParity(1, 0.4, 0),
        {"in-domain": GroupParity(embedding, embedding)},
        EmbeddingParity(0, 0, 0, 0, 0, 0, ()),
    )


def test_faults_of_models_below_the_bar():
    assert find_fault(parity(), AccuracyBar()) is None
    assert "mean cosine 0.9000" in find_fault(parity(mean=0.9), AccuracyBar())
    assert "only 90 of the 100 faces" in find_fault(parity(matched=90), AccuracyBar())
    assert find_fault(parity(mean=float("nan")), AccuracyBar()) is not None
    assert find_fault(parity(mean=0.9), AccuracyBar(0.9, 0.9)) is None
    assert find_fault(parity(), AccuracyBar(0.999, 0.9)) is not None


def test_a_fault_names_only_what_failed_with_enough_digits_to_see_it():
    fault = find_fault(parity(mean=0.9962, minimum=0.98996), AccuracyBar())
    assert "worst face 0.98996 (required: 0.99)" in fault and "mean" not in fault
    fault = find_fault(parity(mean=0.99499999, minimum=0.991), AccuracyBar())
    assert "mean cosine 0.99499999 (required: 0.995)" in fault and "worst" not in fault
    good, bad = (GroupParity(one, one) for one in (parity().embedding, parity(mean=0.99).embedding))
    both = replace(parity(), groups={"in-domain": good, "unlike": bad})
    fault = find_fault(both, AccuracyBar())
    assert "light or sharpness, that the calibration set does not have (50): mean cosine 0.9900" in fault
    changed = replace(parity(), groups={"in-domain": good, "augmented": bad})
    assert find_fault(changed, AccuracyBar()) is None, "changed faces decide between recipes, not whether to refuse"


def test_models_that_are_close_alone_but_not_together_are_refused():
    apart = parity(mean=0.9799).embedding
    fault = find_fault(replace(parity(), groups={"in-domain": GroupParity(parity().embedding, apart)}), AccuracyBar())
    assert "models together" in fault and "mean cosine 0.9799 (required: 0.98)" in fault


def test_models_that_are_nearly_too_far_apart_together_are_a_remark():
    def remark(mean):
        groups = {"in-domain": GroupParity(parity().embedding, parity(mean=mean).embedding)}
        return not_close_together(replace(parity(), groups=groups), AccuracyBar())

    good = AccuracyBar().end_to_end_good
    assert f"{good - 1e-5:.5f}" in remark(good - 1e-5) and f"{good}:" in remark(good - 1e-5)
    assert remark(good) is None and remark(0.97) is None, "good, and refused"
