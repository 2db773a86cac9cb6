"""Hours of the week, also over midnight and when clocks are set forward or back."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rkface.runtime.core.errors import InputError
from rkface.runtime.core.weekly import DAYS, WeeklyHours, check_weekly_hours, includes, next_change

# Other processes may take the cores meanwhile.
at_any_speed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

WARSAW = "Europe/Warsaw"
WEEK = 8 * 24 * 3600
# 28 March 2027 and 31 October 2027: clocks are set in Warsaw. Lord Howe sets them by half an hour.
moments = st.one_of(
    st.integers(0, 2_000_000_000),
    st.sampled_from([datetime(2027, 3, 28), datetime(2027, 10, 31), datetime(2027, 4, 4)]).flatmap(
        lambda day: st.integers(-90_000, 90_000).map(lambda seconds: int(day.timestamp()) + seconds)
    ),
)
times = st.one_of(
    st.sampled_from(["00:00", "01:30", "02:00", "02:30", "03:00"]), st.times().map(lambda at: f"{at:%H:%M}")
)
spans = st.tuples(times, times).filter(lambda one: one[0] != one[1]).map("-".join)
hours = st.builds(
    WeeklyHours,
    days=st.lists(st.sampled_from(DAYS), max_size=3).map(tuple),
    hours=st.lists(spans, max_size=2).map(tuple),
    time_zone=st.sampled_from([WARSAW, "UTC", "Australia/Lord_Howe", "America/New_York"]),
)


def at(text, zone=WARSAW):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    "moment, inside",
    [
        ("2026-11-27 22:00", True),  # a Friday
        ("2026-11-27 21:59:59", False),
        ("2026-11-28 05:59:59", True),
        ("2026-11-28 06:00", False),
        ("2026-11-27 05:00", False),  # the night of Thursday
        ("2026-11-28 22:00", False),
    ],
)
def test_a_night_belongs_to_the_day_on_which_it_begins(moment, inside):
    assert includes([WeeklyHours(("fri",), ("22:00-06:00",), WARSAW)], at(moment)) is inside


def test_without_days_and_hours_it_is_always():
    always = WeeklyHours()
    assert includes([always], at("2026-11-28 22:00")) and next_change([always], 1e9) is None
    assert next_change([WeeklyHours(hours=("00:00-24:00",))], 1e9) is None
    assert not includes([], 1e9) and next_change([], 1e9) is None


def test_the_next_change():
    night = [WeeklyHours(("fri",), ("22:00-06:00",), WARSAW), WeeklyHours(("sat",), ("05:00-12:00",), WARSAW)]
    assert next_change(night, at("2026-11-23 12:00")) == at("2026-11-27 22:00")
    assert next_change(night, at("2026-11-27 22:00")) == at("2026-11-28 12:00")
    # The hour from 2:00 does not exist in the night when clocks are set forward.
    skipped = [WeeklyHours(hours=("02:30-05:00",), time_zone=WARSAW)]
    assert next_change(skipped, at("2027-03-28 01:00")) == at("2027-03-28 03:00")
    # When clocks are set back, 2:40 comes twice. The first time, the hours last until the clock shows 2:00 again.
    assert next_change(skipped, at("2027-10-31 02:40")) == at("2027-10-31 02:40") + 20 * 60


@pytest.mark.slow
@at_any_speed
@given(st.lists(hours, min_size=1, max_size=2), moments)
def test_the_next_change_is_the_first_one(hours, moment):
    change, now = next_change(hours, moment), includes(hours, moment)
    until = moment + WEEK if change is None else change
    assert change is None or (change > moment and includes(hours, change) != now and change % 60 == 0)
    # Every 10 minutes, and every minute of the last hour.
    looks = {*range(moment, int(until), 600), *range(max(moment, int(until) - 3600), int(until), 60)}
    assert all(includes(hours, look) == now for look in looks)


@pytest.mark.parametrize(
    "hours, said",
    [
        (WeeklyHours(hours=("8-12",)), "'8-12' are no hours of a day: write 08:00-17:30"),
        (WeeklyHours(hours=("08:00-24:30",)), "are no hours of a day"),
        (WeeklyHours(hours=("08:00-08:00",)), "begins and ends at the same time"),
        (
            WeeklyHours(time_zone="Europe/Warszawa"),
            "'Europe/Warszawa' on this machine: did you mean Europe/Warsaw",
        ),
        (WeeklyHours(time_zone="../../etc/passwd"), "there is no time zone"),
        (WeeklyHours(time_zone="Europe"), "there is no time zone"),
        (WeeklyHours(time_zone="a\0b"), "there is no time zone"),
    ],
)
def test_wrong_hours_are_explained(hours, said):
    with pytest.raises(InputError, match=said):
        check_weekly_hours(hours)


def test_a_machine_without_data_about_time_zones_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr("zoneinfo.available_timezones", set)
    with pytest.raises(InputError, match="apt install tzdata"):
        check_weekly_hours(WeeklyHours(time_zone="Europe/Nowhere"))


def test_right_hours_are_accepted():
    check_weekly_hours(WeeklyHours(("mon",), ("08:00-24:00", "22:00-06:00"), "America/Argentina/Buenos_Aires"))
