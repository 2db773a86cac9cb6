"""Verification figures, compared with their definitions and with published figures."""

import numpy as np
import pytest

from rkface.convert.evaluate.verification import (
    FARS,
    accuracy_at,
    enough_pairs,
    proportion,
    rank_pairs,
    tar_at_fars,
    ten_fold,
    verify_pairs,
)

RANDOM = np.random.default_rng(7)


def scores(pairs=3000, part=0.2):
    """Cosines and labels of ``pairs`` pairs."""
    same = RANDOM.random(pairs) < part
    return np.where(same, RANDOM.normal(0.6, 0.15, pairs), RANDOM.normal(0.05, 0.12, pairs)).astype(np.float32), same


def test_verification_follows_its_definition():
    cosines, same = scores()
    found = verify_pairs(cosines, same)
    accuracies = [np.mean((cosines >= threshold) == same) for threshold in np.append(np.unique(cosines), 2)]
    assert found.best_accuracy == pytest.approx(max(accuracies))
    assert np.mean((cosines >= found.best_threshold) == same) == pytest.approx(found.best_accuracy)
    for far, tar in found.tar.items():
        impostors = np.sort(cosines[~same])[::-1]
        accepted = [threshold for threshold in impostors if np.mean(impostors > threshold) <= float(far)]
        assert tar == pytest.approx(np.mean(cosines[same] > min(accepted)))
    # With 2400 pairs of different people, a FAR of 1e-4 would be a quarter of a pair.
    assert set(found.tar) == {f"{far:g}" for far in FARS if far >= 1e-3}


def test_a_threshold_accepts_cosines_at_or_above_it():
    cosines, same = np.array([0.1, 0.5, 0.5, 0.9]), np.array([False, True, False, True])
    ranked = rank_pairs(cosines, same)
    counts = ranked.counts()
    for threshold in (-1, 0.1, 0.3, 0.49, 0.5, 0.51, 0.69, 0.71, 0.9, 0.95):
        at = ranked.at(threshold)
        accepted = cosines >= threshold
        assert (counts.same[at], counts.different[at]) == (np.sum(accepted & same), np.sum(accepted & ~same))
        # The threshold at that index accepts the same pairs.
        assert ((cosines >= counts.thresholds[at]) == accepted).all()
    assert accuracy_at(counts, counts.most_accurate()).value == 0.75


def test_a_weight_is_how_many_times_a_pair_counts():
    cosines, same = scores(200)
    weights = RANDOM.integers(0, 4, 200)
    weighted = rank_pairs(cosines, same).counts(weights.astype(float))
    repeated = rank_pairs(np.repeat(cosines, weights), np.repeat(same, weights)).counts()
    for far in (0.1, 0.02):
        here, there = weighted.at_far(far), repeated.at_far(far)
        assert (weighted.same[here], weighted.different[here]) == (repeated.same[there], repeated.different[there])
    assert weighted.eer() == pytest.approx(repeated.eer())


def test_the_eer_is_between_both_error_rates():
    cosines, same = scores()
    rate = rank_pairs(cosines, same).counts().eer()
    # Both error rates are equal at (0.6 − t)/0.15 = (t − 0.05)/0.12, which is 2.04 standard deviations: 2.1 %.
    assert rate == pytest.approx(0.021, abs=0.008)  # 600 same-person pairs: a standard error of 0.006
    apart = rank_pairs(np.float32([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True])).counts()
    assert apart.eer() == 0
    mixed = rank_pairs(np.float32([0.9, 0.8, 0.2, 0.1]), np.array([False, False, True, True])).counts()
    assert mixed.eer() == 1


def test_wilsons_interval_by_its_formula_and_at_the_ends():
    # The interval contains the rates p for which 10 of 100 is within 1.96 standard errors: |0.1 − p| = z·√(p(1 −
    # p)/100).
    found = proportion(10, 100)
    for end in (found.low, found.high):
        assert abs(0.1 - end) == pytest.approx(1.959964 * np.sqrt(end * (1 - end) / 100), rel=1e-9)
    assert found.low < 0.1 < found.high
    none, every = proportion(0, 50), proportion(50, 50)
    assert none.low == 0 and none.high == pytest.approx(0.0714, abs=1e-4)
    assert every.high == pytest.approx(1) and every.low == pytest.approx(1 - none.high)


def test_tar_is_given_only_if_a_pair_may_be_accepted():
    cosines, same = scores(1000, 0.5)
    different = int((~same).sum())
    found = tar_at_fars(rank_pairs(cosines, same).counts())
    assert set(found) == {far for far in FARS if far * different >= 1}
    assert not enough_pairs(1e-3, 999) and enough_pairs(1e-3, 1000)
    assert found[0.1].total == same.sum() and found[0.1].low < found[0.1].value < found[0.1].high


def insightface_accuracy(cosines, same):
    """The LFW protocol by its definition, threshold by threshold."""
    distances = 2 - 2 * cosines.astype(np.float64)
    grid = np.arange(0, 4, 0.01)
    accuracies = []
    for fold in np.array_split(np.arange(len(same)), 10):
        rest = np.setdiff1d(np.arange(len(same)), fold)
        right = [np.mean((distances[rest] < threshold) == same[rest]) for threshold in grid]
        best = grid[int(np.argmax(right))]
        accuracies.append(np.mean((distances[fold] < best) == same[fold]))
    return np.mean(accuracies), np.std(accuracies)


@pytest.mark.parametrize("pairs", [600, 607])  # 607: folds of unequal size, as sklearn's KFold makes them
def test_ten_folds_follow_the_protocol(pairs):
    cosines, same = scores(pairs, 0.5)
    found = ten_fold(cosines, same)
    mean, deviation = insightface_accuracy(cosines, same)
    assert found.mean == pytest.approx(mean, abs=1e-12) and found.deviation == pytest.approx(deviation, abs=1e-12)
    assert found.pooled.total == pairs and found.pooled.low < found.mean < found.pooled.high


def test_a_pair_exactly_at_a_fold_threshold_is_rejected():
    # Squared distances of 1.00 and 1.005: the protocol accepts below a threshold and has none between 1.00 and 1.01.
    same = np.arange(40) % 2 == 0
    found = ten_fold(np.where(same, 0.5, 0.4975), same)
    assert found.mean == 0.5
