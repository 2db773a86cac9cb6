"""Attendance: days of a time zone, midnight, clocks that are changed, and times in which nobody looked."""

import csv
import io
import json
from datetime import date, datetime

import pytest

from rkface.runtime.cli.main import main
from rkface.runtime.core.errors import InputError
from rkface.runtime.hub.attendance import Silence, Watch, find_seen_days, list_days, read_zone, write_attendance
from rkface.runtime.hub.boards import add_board, revoke_board
from rkface.runtime.hub.journeys import Stop
from rkface.runtime.hub.people import add_person, move_person
from rkface.runtime.hub.stored_stops import read_silences

from ..journey_histories import PEOPLE, appearances
from .conftest import ONE, sample
from .test_journeys import send

LATER = 4e9


def at(text, zone="Europe/Warsaw"):
    return datetime.fromisoformat(text).replace(tzinfo=read_zone(zone)).timestamp()


def stop(started, last, person="a", name="Ada", *, board="door-1", site="east"):
    return Stop(f"{person}{started}", site, board, "cam", person, name, at(started), at(last))


def days_of(first, last, zone="Europe/Warsaw"):
    return list_days(date.fromisoformat(first), date.fromisoformat(last), read_zone(zone))


def table(stops, days, silences=(), known=None, now=LATER):
    out = io.StringIO()
    write_attendance(out, find_seen_days(stops, days), Watch(silences, known or {}, now), days)
    return list(csv.DictReader(io.StringIO(out.getvalue())))


def test_first_and_last_of_each_day_in_any_order():
    stops = [
        stop("2026-11-03 17:00:10", "2026-11-03 17:00:20", board="door-2"),
        stop("2026-11-03 08:00:00", "2026-11-03 08:00:10"),
        stop("2026-11-03 09:00:00", "2026-11-03 18:00:00"),  # longer than the one that begins last
        stop("2026-11-04 07:00:00", "2026-11-04 07:00:00", "b", "Bob"),
    ]
    first, second = table(stops, days_of("2026-11-02", "2026-11-05"))
    assert first == {
        "day": "2026-11-03", "time_zone": "Europe/Warsaw", "person": "a", "name": "Ada",
        "first_seen": "2026-11-03T08:00:00+01:00", "first_camera": "door-1 / cam",
        "last_seen": "2026-11-03T18:00:00+01:00", "last_camera": "door-1 / cam", "appearances": "3", "not_watched": "",
    }  # fmt: skip
    assert (second["day"], second["name"], second["first_seen"]) == ("2026-11-04", "Bob", second["last_seen"])
    assert table(stops, days_of("2026-11-05", "2026-11-05")) == []


def test_an_appearance_over_midnight_counts_on_both_days_each_with_its_part():
    stops = [stop("2026-11-02 23:50:00", "2026-11-04 00:10:00"), stop("2026-11-05 00:00:00", "2026-11-05 00:00:05")]
    shown = [
        (one["day"], one["first_seen"], one["last_seen"]) for one in table(stops, days_of("2026-11-01", "2026-11-05"))
    ]
    assert shown == [
        ("2026-11-02", "2026-11-02T23:50:00+01:00", "2026-11-03T00:00:00+01:00"),
        ("2026-11-03", "2026-11-03T00:00:00+01:00", "2026-11-04T00:00:00+01:00"),
        ("2026-11-04", "2026-11-04T00:00:00+01:00", "2026-11-04T00:10:00+01:00"),
        ("2026-11-05", "2026-11-05T00:00:00+01:00", "2026-11-05T00:00:05+01:00"),
    ]
    (only,) = table(stops, days_of("2026-11-03", "2026-11-03"))
    assert only["appearances"] == "1"


def test_days_on_which_clocks_are_changed_have_23_and_25_hours():
    for day, hours in (("2026-03-29", 23), ("2026-10-25", 25), ("2026-10-26", 24)):
        begin, end = days_of(day, day).bounds
        assert end - begin == hours * 3600
    spring, autumn = days_of("2026-03-29", "2026-03-29").bounds[0], days_of("2026-10-25", "2026-10-25").bounds[0]
    stops = [
        Stop("1", "east", "door-1", "cam", "a", "Ada", spring + 1.5 * 3600, spring + 2.5 * 3600),
        Stop("2", "east", "door-1", "cam", "a", "Ada", autumn + 2.5 * 3600, autumn + 3.5 * 3600),
    ]
    first, second = table(stops, days_of("2026-03-01", "2026-11-01"))
    assert first["first_seen"] == "2026-03-29T01:30:00+01:00" and first["last_seen"] == "2026-03-29T03:30:00+02:00"
    assert second["first_seen"] == "2026-10-25T02:30:00+02:00" and second["last_seen"] == "2026-10-25T02:30:00+01:00"
    silence = Silence("east", "door-1", "", autumn + 2.5 * 3600, autumn + 3.5 * 3600)
    (line,) = table([], days_of("2026-10-25", "2026-10-25"), [silence])
    assert line["not_watched"] == "door-1 02:30+02:00 to 02:30+01:00"


def test_a_day_that_begins_at_one_because_clocks_are_changed_at_midnight():
    """Chile, 6 September 2026: 00:00 does not exist."""
    days = days_of("2026-09-05", "2026-09-07", "America/Santiago")
    assert [end - begin for begin, end in zip(days.bounds, days.bounds[1:], strict=False)] == [86400, 82800, 86400]


def test_each_line_says_when_nobody_looked_at_the_sites_of_the_person():
    silences = [
        Silence("east", "door-1", "", at("2026-11-03 22:00:00"), at("2026-11-05 01:00:30")),
        Silence("east", "door-1", "", at("2026-11-05 00:30:00"), at("2026-11-05 02:00:00")),  # through the one before
        Silence("west", "door-9", "hall", at("2026-11-03 10:00:20"), at("2026-11-03 10:00:50")),
    ]
    stops = [
        stop("2026-11-03 08:00:00", "2026-11-03 08:00:10"),
        stop("2026-11-03 08:00:00", "2026-11-03 08:00:10", "b", "Bob", board="door-9", site="west"),
        stop("2026-11-05 08:00:00", "2026-11-05 08:00:10", "b", "Bob", board="door-9", site="west"),
    ]
    lines = table(stops, days_of("2026-11-03", "2026-11-06"), silences, {"b": ["east"]}, at("2026-11-05 09:00:00"))
    assert [(one["day"][-2:], one["name"], one["not_watched"]) for one in lines] == [
        ("03", "", "door-1 22:00 to 24:00; door-9 / hall 10:00 to 10:01"),
        ("03", "Ada", "door-1 22:00 to 24:00"),
        ("03", "Bob", "door-1 22:00 to 24:00; door-9 / hall 10:00 to 10:01"),
        ("04", "", "door-1 all day"),
        ("05", "", "not over yet: 09:00 to 24:00; door-1 00:00 to 02:00"),
        ("05", "Bob", "not over yet: 09:00 to 24:00; door-1 00:00 to 02:00"),
        ("06", "", "not over yet: all day"),
    ]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("=1+2", "'=1+2"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("＝1", "'＝1"),
        ("\r\t=1\n", "??=1?"),
    ],
)
def test_no_cell_is_a_formula_or_ends_the_line(name, shown):
    (line,) = table([stop("2026-11-03 08:00:00", "2026-11-03 08:00:10", name=name, board="=b")],
                    days_of("2026-11-03", "2026-11-03"))  # fmt: skip
    assert line["name"] == shown and line["first_camera"] == "'=b / cam"


@pytest.mark.parametrize(
    ("first", "last", "zone", "message"),
    [
        ("2026-11-03", "2026-11-02", "UTC", "exchange them"),
        ("1990-01-01", "2026-11-02", "UTC", "ask for 3660 at most"),
        ("9999-12-30", "9999-12-31", "UTC", "end of the calendar"),
        ("2026-11-02", "2026-11-02", "Europe/Warsav", "did you mean Europe/Warsaw"),
        ("2026-11-02", "2026-11-02", "../../etc/passwd", "no time zone"),
        ("2026-11-02", "2026-11-02", "", "no time zone"),
    ],
)
def test_wrong_days_and_time_zones_are_refused(first, last, zone, message):
    with pytest.raises(InputError, match=message):
        days_of(first, last, zone)


@pytest.fixture
def beat(hub):
    """``beat(seconds, state)``: the heartbeat of the board door-1, with a lease of an hour, at such a time."""
    add_board(hub, "door-1", "east", 3600.0)
    hub.execute("UPDATE rkface.board SET created = to_timestamp(0)")

    def send_beat(seconds, **state):
        hub.execute(
            "INSERT INTO rkface.heartbeat VALUES ('door-1', to_timestamp(%s), 0, %s) "
            "ON CONFLICT (board) DO UPDATE SET seen = excluded.seen, state = excluded.state",
            [seconds, json.dumps(state)],
        )

    return send_beat


def silent(hub, now):
    return [(one.camera, one.started, one.ended) for one in read_silences(hub, "east", 0.0, LATER, now)]


def test_a_board_that_was_not_heard_was_silent_unless_its_service_ran_on(hub, beat):
    beat(100.0, running=50.0, lost=0)
    beat(500.0, running=10.0, lost=0)  # stopped, and started again
    assert silent(hub, 510.0) == [("", 100.0, 490.0)]
    beat(1500.0, running=1010.0, lost=0)  # a partition: its events come later
    beat(1560.0, running=5.0, lost=0)  # a short restart
    assert silent(hub, 1570.0) == [("", 100.0, 490.0)]
    beat(2500.0, running=945.0, lost=3)  # a partition in which it lost events
    assert silent(hub, 2510.0) == [("", 100.0, 490.0), ("", 1560.0, 2500.0)]
    beat(9000.0, running=7445.0, lost=3)  # one that was longer than its lease: from then on it named nobody
    assert silent(hub, 9010.0)[2:] == [("", 6100.0, 9000.0)]
    assert silent(hub, 9999.0)[3:] == [("", 9000.0, 9999.0)]  # it is away now
    revoke_board(hub, "door-1")
    hub.execute("UPDATE rkface.board SET revoked = to_timestamp(9500)")
    assert silent(hub, 9999.0)[3:] == [("", 9000.0, 9500.0)]


def test_an_older_board_that_does_not_say_how_long_it_runs_was_silent(hub, beat):
    beat(1000.0)
    beat(2000.0, ok=True)
    assert silent(hub, 2010.0) == [("", 0.0, 1000.0), ("", 1000.0, 2000.0)]


def test_a_camera_without_pictures_is_silent_until_it_has_some(hub, beat):
    beat(10.0, running=5.0, lost=0, blind=["yard"])
    beat(70.0, running=65.0, lost=0, blind=["yard", "hall", "hall"])
    beat(130.0)  # while it starts, it does not say
    beat(190.0, running=5.0, lost=0, blind=["hall"])
    assert silent(hub, 200.0) == [("hall", 10.0, 200.0), ("yard", 0.0, 190.0)]
    for wrong in ("x", [1, None, {"a": []}, "", "x" * 10_000], {"hall": 1}, None):
        beat(250.0, running="long", lost=[], blind=wrong)


def test_the_command_and_its_mistakes(hub, database, capsys):
    add_board(hub, "door-1", "east", 3600.0)
    add_person(hub, "=Ada", ["east"], [sample(1)], ONE, id=PEOPLE[0])
    hub.execute("UPDATE rkface.board SET created = to_timestamp(0)")
    started = at("2026-01-05 08:00:00")
    send(hub, "door-1", *appearances([(PEOPLE[0], "cam", started, 60.0, True), (None, "cam", started, 1.0, True)]))

    def run(*options):
        try:
            return main(["hub", "attendance", "--hub", database, "--from", "2026-01-05", *options])
        except SystemExit as stopped:
            return stopped.code

    assert run("--to", "2026-01-05", "--time-zone", "Europe/Warsaw", "--person", PEOPLE[0], "--site", "east") == 0
    unseen, ada = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (ada["name"], ada["last_seen"]) == ("'=Ada", "2026-01-05T08:01:00+01:00")
    assert unseen["name"] == "" and unseen["not_watched"] == ada["not_watched"] == "door-1 all day"
    move_person(hub, PEOPLE[0], [])  # left
    assert run("--to", "2026-01-06", "--time-zone", "UTC") == 0
    assert "=Ada" in capsys.readouterr().out
    for wrong, message in (
        (["--to", "2026-01-06"], "--time-zone"),
        (["--to", "soon", "--time-zone", "UTC"], "write one such as 2026-11-29"),
        (["--to", "2026-01-04", "--time-zone", "UTC"], "exchange them"),
    ):
        assert run(*wrong) == 2
        assert message in capsys.readouterr().err
