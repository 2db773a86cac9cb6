"""Intervals of verification figures: the bootstrap over people, and what no error in a few pairs says."""

import numpy as np
import pytest

from rkface.convert.evaluate.bootstrap import bootstrap_interval, equal_error_rate, resample_people, widen
from rkface.convert.evaluate.verification import AcceptCounts, proportion, rank_pairs

RANDOM = np.random.default_rng(7)


def threshold_at(far):
    return lambda counts: counts.thresholds[counts.at_far(far)]


def people_and_pairs(people, photos):
    owner = np.repeat(np.arange(people), photos)
    first, second = np.triu_indices(len(owner), 1)
    return owner[first], owner[second]


def test_resampling_separates_a_shift_from_noise():
    first, second = people_and_pairs(25, 3)
    same = first == second
    cosines = np.where(same, RANDOM.normal(0.6, 0.1, len(same)), RANDOM.normal(0, 0.1, len(same)))
    noise = cosines + RANDOM.normal(0, 0.002, len(same))
    drawn = resample_people(
        [rank_pairs(cosines, same), rank_pairs(cosines + 0.05, same), rank_pairs(noise, same)],
        first,
        second,
        [threshold_at(1e-2)],
    )
    moved, still = (bootstrap_interval(0, drawn[:, model, 0] - drawn[:, 0, 0]) for model in (1, 2))
    # The offset is the same in every resample, so its interval is empty.
    assert (moved.low, moved.high) == (pytest.approx(0.05), pytest.approx(0.05))
    assert still.low <= 0 <= still.high and still.high - still.low < 0.03
    again = resample_people([rank_pairs(cosines, same)], first, second, [threshold_at(1e-2)])
    np.testing.assert_array_equal(again[:, 0], drawn[:, 0])  # the seed is fixed


def test_people_are_resampled_and_not_pairs():
    """A person whom everybody resembles makes the threshold uncertain, although that person has many pairs."""
    first, second = people_and_pairs(20, 4)
    same = first == second
    cosines = np.where(same, 0.7, RANDOM.normal(0, 0.05, len(same)))
    cosines[~same & ((first == 0) | (second == 0))] += 0.3
    threshold = resample_people([rank_pairs(cosines, same)], first, second, [threshold_at(0.05)])[:, 0, 0]
    assert bootstrap_interval(0, threshold).low < 0.2 and bootstrap_interval(0, threshold).high > 0.3


def test_a_resample_without_both_kinds_of_pairs_is_ignored():
    first, second = people_and_pairs(2, 2)
    same = first == second
    drawn = resample_people([rank_pairs(np.where(same, 0.7, 0.1), same)], first, second, [threshold_at(0.1)])
    assert 0.3 < np.isnan(drawn[:, 0, 0]).mean() < 0.7  # one person twice: half of the draws
    assert bootstrap_interval(0.4, drawn[:, 0, 0]).low == pytest.approx(0.4)
    assert np.isnan(bootstrap_interval(0.4, drawn[:0, 0, 0]).low)


def eer_of(cosines, same, first, second):
    ranked = rank_pairs(cosines, same)
    drawn = resample_people([ranked], first, second, [AcceptCounts.eer])
    return equal_error_rate(ranked.counts(), drawn[:, 0, 0])


def test_an_equal_error_rate_of_0_from_few_pairs_has_an_interval():
    """No error in n pairs of one person: the rate is below 3.8/n (Wilson), and no resample can tell."""
    for people, photos, same_pairs in ((12, 3, 36), (40, 4, 240)):
        first, second = people_and_pairs(people, photos)
        same = first == second
        found = eer_of(np.where(same, 0.7, 0.1), same, first, second)
        assert (found.value, found.low) == (0, 0) and same.sum() == same_pairs
        assert found.high == pytest.approx(1.96**2 / (same_pairs + 1.96**2), rel=1e-3)


def test_a_person_whom_everybody_resembles_widens_the_interval_of_the_equal_error_rate():
    first, second = people_and_pairs(20, 4)
    same = first == second
    cosines = np.where(same, RANDOM.normal(0.6, 0.1, len(same)), RANDOM.normal(0.1, 0.1, len(same)))
    alone = eer_of(cosines, same, first, second)
    cosines[~same & ((first == 0) | (second == 0))] += 0.4
    found = eer_of(cosines, same, first, second)
    assert found.low < found.value < found.high
    assert found.high - found.low > 1.5 * (alone.high - alone.low)
    wilson = proportion(found.value * 120, 120)
    assert found.high > wilson.high, "120 pairs of one person are not independent"


def test_the_wider_limits_are_kept():
    share = proportion(0, 50)
    assert widen(share, np.zeros(100)) == share, "resamples without an error say nothing"
    assert widen(share, np.full(100, np.nan)) == share
    wide = widen(share, np.linspace(0, 0.5, 101))
    assert (wide.value, wide.low) == (0, 0) and wide.high == pytest.approx(0.4875)
