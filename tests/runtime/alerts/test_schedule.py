"""Days and hours of rules: over midnight, when clocks change, and while a clock is not set."""

import zoneinfo
from datetime import datetime, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkface.runtime.alerts.rule import Rule
from rkface.runtime.alerts.schedule import find_zone, is_open, moments_between, read_hours
from rkface.runtime.core.errors import InputError

WARSAW = "Europe/Warsaw"


def at(text, zone=WARSAW, fold=0):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()


def rule(*hours, days=(), zone=WARSAW):
    return Rule(hours=hours, days=days, time_zone=zone)


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-11-26T21:59:59", False),
        ("2026-11-26T22:00:00", True),
        ("2026-11-27T00:00:00", True),
        ("2026-11-27T05:59:59", True),
        ("2026-11-27T06:00:00", False),
        ("2026-11-27T12:00:00", False),
    ],
)
def test_hours_over_midnight_begin_in_the_evening_and_end_in_the_morning(moment, expected):
    assert is_open(rule("22:00-06:00"), at(moment)) is expected


def test_hours_over_midnight_belong_to_the_day_on_which_they_begin():
    friday = rule("22:00-06:00", days=("fri",))
    assert not is_open(friday, at("2026-11-27T05:00:00")), "Friday morning belongs to Thursday"
    assert is_open(friday, at("2026-11-27T23:00:00"))
    assert is_open(friday, at("2026-11-28T05:00:00")), "Saturday morning belongs to Friday"
    assert not is_open(friday, at("2026-11-28T23:00:00"))
    assert is_open(rule("22:00-06:00", days=("sun",)), at("2026-11-30T01:00:00")), "and Monday morning to Sunday"


def test_days_and_hours_without_the_other_one_are_unlimited():
    assert is_open(Rule(), utc("2026-11-27T05:00:00"))
    assert is_open(rule(days=("fri",)), at("2026-11-27T00:00:00")) and is_open(
        rule(days=("fri",)), at("2026-11-27T23:59:59")
    )
    assert not is_open(rule(days=("fri",)), at("2026-11-28T00:00:00"))
    working = rule("08:00-12:00", "13:00-24:00")
    assert [is_open(working, at(f"2026-11-27T{hour}:30:00")) for hour in (11, 12, 23)] == [True, False, True]


def test_the_hours_follow_the_time_zone_of_the_rule():
    moment = utc("2026-11-27T22:30:00")
    assert [is_open(rule("22:00-23:00", zone=zone), moment) for zone in ("UTC", WARSAW, "America/New_York")] == [
        True, False, False,
    ]  # fmt: skip


def test_the_time_zone_of_the_machine_counts_without_another_one(monkeypatch):
    import time

    moment = utc("2026-11-27T22:30:00")
    for zone, expected in (("UTC", True), ("Asia/Tokyo", False)):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        assert is_open(rule("22:00-23:00", zone=""), moment) is expected
    monkeypatch.undo()
    time.tzset()


def test_the_hour_that_comes_twice_in_autumn_counts_twice():
    night = rule("02:30-03:00")
    assert is_open(night, at("2026-10-25T02:45:00", fold=0)) and is_open(night, at("2026-10-25T02:45:00", fold=1))
    assert utc("2026-10-25T01:45:00") - utc("2026-10-25T00:45:00") == 3600
    assert not is_open(night, utc("2026-10-25T01:15:00")), "02:15 for the second time"


def test_a_night_in_which_clocks_change_has_no_gap():
    """On 29 March 2026, 02:00 is followed by 03:00; on 25 October, 03:00 by 02:00."""
    night = rule("22:00-06:00")
    for begin, hours in (("2026-03-28T21:00:00", 7), ("2026-10-24T20:00:00", 9)):
        start = utc(begin)
        assert all(is_open(night, moment) for moment in moments_between(start, start + hours * 3600 - 1))
        assert not is_open(night, start - 1) and not is_open(night, start + hours * 3600)


def test_hours_that_do_not_exist_on_a_day_begin_when_clocks_change():
    assert is_open(rule("02:30-04:00"), utc("2026-03-29T01:00:00")), "03:00, the first minute after 01:59"
    assert not is_open(rule("02:15-02:45"), utc("2026-03-29T01:00:00"))


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


@given(st.text())
def test_any_text_is_hours_or_a_clear_error(text):
    try:
        hours = read_hours(text)
    except InputError as error:
        assert "22:00-06:00" in str(error) or "whole day" in str(error)
    else:
        assert 0 <= hours.begin < 1440 and 0 <= hours.end <= 1440


@pytest.mark.parametrize(
    "text", ["22-06", "22:00–06:00", "24:00-06:00", "22:00-24:01", "22:60-23:00", "٢٢:00-06:00", ""]
)
def test_wrong_hours_are_refused(text):
    with pytest.raises(InputError, match="must be two times of the day"):
        read_hours(text)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Europe/Warsav", "did you mean Europe/Warsaw?"),
        ("europe/berln", "did you mean Europe/Berlin?"),
        ("Europe", "there is no time zone 'Europe'"),
        ("../../etc/passwd", "there is no time zone"),
        ("/etc/localtime", "there is no time zone"),
        ("a\0b", "there is no time zone"),
        ("x" * 5000, "there is no time zone"),
    ],
)
def test_an_unknown_time_zone_is_refused_with_a_suggestion(name, said):
    with pytest.raises(InputError) as error:
        find_zone(name)
    assert said in str(error.value) and len(str(error.value)) < 300


def test_a_machine_without_data_about_time_zones_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr(zoneinfo, "available_timezones", set)
    with pytest.raises(InputError, match="apt install tzdata"):
        find_zone("Europe/Nowhere")
