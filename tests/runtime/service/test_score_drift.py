"""Drift of a camera's scores: weeks, and warnings only where the interval says so."""

import numpy as np
import pytest

from rkface.runtime.service.score_drift import SMALLEST_FALL, Score, describe_drift, find_drift
from rkface.runtime.service.settings import DAY

NOW = 1_798_761_600.0  # Friday 2027-01-01, 00:00 UTC


def scores(days, people, seed=0, *, visits=2, fall=0.0, day_spread=0.0):
    """``visits`` a day of each of ``people`` (name → usual cosine), over these ``days`` before NOW; ``fall`` is taken
    off, and each day has its own light (``day_spread``)."""
    random = np.random.default_rng(seed)
    found = []
    for day in days:
        light = day_spread * random.standard_normal()
        for person, usual in people.items():
            for _ in range(visits):
                cosine = usual - fall + light + 0.05 * random.standard_normal()
                moment = NOW - day * DAY - 3600 * random.uniform(1, 23)
                found.append(Score("door", moment, person, cosine, 0.8 + 0.05 * random.standard_normal()))
    return found


TWO = {"ada": 0.7, "grace": 0.55}
BEFORE, LAST = range(7, 35), range(7)


def shift(found, measure="cosine"):
    (drift,) = find_drift(found, NOW)
    return next((one for one in drift.shifts if one.measure == measure), None)


def test_a_fall_is_measured_and_said():
    found = scores(BEFORE, TWO, 1) + scores(LAST, TWO, 2, fall=0.1)
    moved = shift(found)
    assert moved.fell and moved.low < -0.1 < moved.high < -SMALLEST_FALL
    assert (moved.recent, moved.before) == (28, 112)
    (sentence,) = describe_drift(find_drift(found, NOW)[0])
    assert "camera door" in sentence and "28 appearances after 112" in sentence
    assert not shift(found, "quality").fell


def test_other_visitors_are_no_drift():
    """Grace, whose cosines are always lower, comes more often: the median of all falls, but nobody's own does."""
    found = scores(BEFORE, {"ada": 0.7}, 1, visits=4) + scores(BEFORE, {"grace": 0.5}, 2, visits=1)
    found += scores(LAST, {"ada": 0.7}, 3, visits=1) + scores(LAST, {"grace": 0.5}, 4, visits=4)
    plain = [np.median([one.cosine for one in found if (one.started > NOW - 7 * DAY) == recent]) for recent in (1, 0)]
    assert plain[0] - plain[1] < -0.1 and not shift(found).fell


@pytest.mark.parametrize("day_spread", [0.0, 0.05])
def test_without_drift_there_are_hardly_any_warnings(day_spread):
    """Also if all appearances of a day are alike, so that they count as little more than one."""
    warned = sum(shift(scores((*BEFORE, *LAST), TWO, seed, day_spread=day_spread)).fell for seed in range(40))
    assert warned <= 1


def test_too_few_appearances_say_nothing():
    assert shift(scores(BEFORE, TWO, 1) + scores([1, 2], TWO, 2, visits=20, fall=0.3)) is None  # two days
    assert shift(scores(BEFORE, TWO, 1) + scores(LAST, {"hedy": 0.3}, 2, visits=9)) is None  # nobody who was there
    assert find_drift([], NOW) == ()


def test_weeks_are_listed_with_quantiles():
    found = [
        *scores([1, 8], TWO, visits=5),
        Score("door", NOW - DAY, None, None, 0.2),
        Score("attic", NOW, None, None, 0.9),
    ]
    attic, door = find_drift([*found, Score("door", NOW + 99, None, None, 0.1)], NOW)
    assert attic.weeks[0].cosine is None and attic.weeks[0].recognized == 0
    assert [week.week for week in door.weeks] == ["2026-12-28", "2026-12-21"]
    assert (door.weeks[0].appearances, door.weeks[0].recognized) == (11, 10)
    low, median, high = door.weeks[1].cosine
    assert low < median < high
