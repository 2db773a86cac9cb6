"""Hours of rules: while people stay, and while a clock is not set. tests/runtime/core/test_weekly.py has the rest."""

from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from rkface.runtime.alerts.dry_run import moments_between
from rkface.runtime.alerts.matching import is_open
from rkface.runtime.alerts.rule import Rule

WARSAW = "Europe/Warsaw"


def at(text, fold=0):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(WARSAW), fold=fold).timestamp()


def rule(*hours, days=()):
    return Rule(hours=hours, days=days, time_zone=WARSAW)


def test_the_days_and_hours_of_a_rule_are_in_its_time_zone():
    friday = rule("22:00-06:00", days=("fri",))
    assert not is_open(friday, at("2026-11-27T05:00:00")), "Friday morning belongs to Thursday"
    assert is_open(friday, at("2026-11-27T22:00:00")) and is_open(friday, at("2026-11-28T05:59:59"))
    assert not is_open(friday, at("2026-11-28T06:00:00"))


def test_a_night_in_which_clocks_change_has_no_gap():
    """On 28 March 2027, 02:00 is followed by 03:00; on 31 October, 03:00 by 02:00."""
    night = rule("22:00-06:00")
    for begin, hours in (("2027-03-27T22:00:00", 7), ("2027-10-30T22:00:00", 9)):
        start = at(begin)
        assert all(is_open(night, moment) for moment in moments_between(start, start + hours * 3600 - 1))
        assert not is_open(night, start - 1) and not is_open(night, start + hours * 3600)


def test_the_hour_that_comes_twice_in_autumn_counts_twice_and_the_one_that_is_skipped_in_spring_never():
    autumn, spring = rule("02:30-03:00"), rule("02:15-02:45")
    assert is_open(autumn, at("2027-10-31T02:45:00", fold=0)) and is_open(autumn, at("2027-10-31T02:45:00", fold=1))
    assert not is_open(autumn, at("2027-10-31T02:15:00", fold=1))
    start = at("2027-03-28T00:00:00")
    assert not any(is_open(spring, moment) for moment in moments_between(start, start + 12 * 3600))


def test_while_the_clock_is_not_set_every_hour_counts():
    assert is_open(rule("22:00-06:00", days=("fri",)), 3600.0)
    assert is_open(rule("22:00-06:00"), 1e300)


@given(st.floats(1.8e9, 1.9e9), st.integers(0, 1439), st.integers(1, 1439))
def test_hours_and_the_rest_of_the_day_fill_the_day(moment, begin, length):
    end = (begin + length) % 1440
    first, second = (f"{one // 60:02}:{one % 60:02}" for one in (begin, end))
    assert is_open(rule(f"{first}-{second}"), moment) != is_open(rule(f"{second}-{first}"), moment)


@given(st.floats(1.8e9, 1.9e9), st.floats(0, 1e6))
def test_no_minute_between_two_moments_is_left_out(begin, length):
    found = list(moments_between(begin, begin + length))
    assert (found[0], found[-1]) == (begin, min(begin + length, begin + 8 * 86_400))
    assert all(later // 60 - earlier // 60 <= 1 for earlier, later in pairwise(found))
