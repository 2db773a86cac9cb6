"""Journeys over all boards of a hub."""

import json
import time

import pytest
from hypothesis import HealthCheck, given, settings, strategies

from rkface.runtime.cli.main import main
from rkface.runtime.hub.boards import add_board
from rkface.runtime.hub.journeys import Stop
from rkface.runtime.hub.people import add_person, erase_person
from rkface.runtime.hub.stored_stops import HubStops, Selection, reading

from ..journey_histories import NOON, PEOPLE, appearances, check_journeys, grouped, histories, in_pages
from .conftest import ONE, sample

BOARDS = {"door": ("door-1", "east"), "hall": ("door-2", "east"), "gate": ("door-3", "west")}
NAMES = {PEOPLE[0]: "Ada", PEOPLE[1]: "Bob"}


def send(hub, board, *stages):
    """What ``HubEvents`` writes for these appearances of ``board``."""
    for one in stages:
        event = json.dumps(one.as_event())
        hub.execute("INSERT INTO rkface.event (id, board, body) VALUES (%s, %s, %s)",
                    [f"{board}-{one.id}-{one.stage}-{one.best}", board, event])  # fmt: skip


def as_stop(one):
    board, site = BOARDS[one.source]
    last = max(one.best, one.ended)
    person = one.match.person
    return Stop(one.id, site, board, one.source, person, NAMES[person], one.started, last, one.stage != "end")


def pages(hub, limit=3, selection=None, **times):
    with reading(hub):
        return in_pages(HubStops(hub, selection or Selection(), **times), limit)


@pytest.fixture
def doors(hub):
    """Three boards at two sites, and two people."""
    for board, site in BOARDS.values():
        add_board(hub, board, site, 3600.0)
    for person, name in NAMES.items():
        add_person(hub, name, ["east", "west"], [sample(1)], ONE, id=person)
    return hub


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories, strategies.integers(1, 13))
def test_journeys_are_whole_on_pages_of_any_size(doors, history, limit):
    doors.execute("TRUNCATE rkface.event, rkface.appearance")
    with doors.transaction():
        for one in appearances(history):
            send(doors, BOARDS[one.source][0], one)
    stops = [as_stop(one) for one in appearances(history) if one.match]
    journeys = pages(doors, limit)
    check_journeys(journeys, stops)
    assert journeys == grouped(stops)
    east = [stop for stop in stops if stop.site == "east"]
    assert pages(doors, limit, Selection(site="east")) == grouped(east)
    late = [one for one in journeys if NOON + 60 <= one.started < NOON + 300]
    assert pages(doors, limit, since=NOON + 60, until=NOON + 300) == late
    assert pages(doors, limit, Selection(PEOPLE[0])) == [one for one in journeys if one.person == PEOPLE[0]]


def test_the_last_stage_of_an_appearance_counts(doors):
    (known,) = appearances([(PEOPLE[0], "door", NOON, 5.0, True)])
    at_start = type(known)(**{**vars(known), "stage": "start", "match": None, "best": NOON, "ended": 0.0})
    send(doors, "door-1", at_start)
    assert pages(doors) == []
    send(doors, "door-1", known)
    (journey,) = pages(doors)
    assert (journey.name, journey.last, len(journey.stops)) == ("Ada", NOON + 5, 1)
    late = type(known)(**{**vars(known), "stage": "update", "match": None, "ended": 0.0})
    send(doors, "door-1", late)  # an event that was delayed is no news
    assert pages(doors) == [journey]


def test_who_was_renamed_has_the_new_name_and_who_was_erased_no_journey(doors):
    for person, board in zip(NAMES, ("door", "hall"), strict=True):
        send(doors, BOARDS[board][0], *appearances([(person, board, NOON, 5.0, True)]))
    doors.execute("UPDATE rkface.person SET name = 'Ada King' WHERE name = 'Ada'")
    assert {one.name for one in pages(doors)} == {"Ada King", "Bob"}
    erase_person(doors, PEOPLE[0])
    assert [one.name for one in pages(doors)] == ["Bob"]
    assert PEOPLE[0] not in str(doors.execute("SELECT * FROM rkface.appearance").fetchall())
    doors.execute("DELETE FROM rkface.event")  # somebody tidies up with SQL
    assert pages(doors) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"started": None},
        {"ended": [1]},
        {"best": {}},
        {"id": ""},
        {"id": None},
        {"stage": "later"},
        {"source": {"a": 1}, "match": {"person": {"a": 1}, "name": ["x"]}},
        {"match": "Ada"},
        {"started": -1e300},
        {"started": 1e300},
        {"id": "x" * 10_000},
        {"source": "x" * 200_000},
        {"match": {"person": "x" * 1000, "name": "x"}},
        {"match": {"person": "d" * 32, "name": "x" * 200_000}},
        {"schema": "rkface.alert"},
    ],
)
def test_a_malformed_event_breaks_nothing(doors, wrong):
    (good,) = appearances([(PEOPLE[0], "door", NOON, 5.0, True)])
    event = json.dumps({**good.as_event(), "id": "f" * 32, **wrong})
    doors.execute("INSERT INTO rkface.event (id, board, body) VALUES ('x', 'door-1', %s)", [event])
    send(doors, "door-1", good)
    journeys = pages(doors)
    assert good.id in [stop.appearance for one in journeys for stop in one.stops]
    assert len(str(journeys)) < 3000 and all(0 <= one.started <= one.last < 1e10 for one in journeys)


def test_a_board_with_a_clock_a_year_ahead_makes_no_journey_of_the_future(doors):
    now = time.time()
    send(doors, "door-1", *appearances([(PEOPLE[0], "door", now + 3e7, 5.0, True)]))
    (journey,) = pages(doors)
    assert journey.started <= journey.last <= time.time() + 5


def test_a_board_sees_and_writes_neither_appearances_nor_silences(hub, board):
    import psycopg

    with board("door-9", "east") as (own, _):
        for table in ("appearance", "silence"):
            for query in (f"SELECT * FROM rkface.{table}", f"DELETE FROM rkface.{table}"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    own.execute(query)
        send(own, "door-9", *appearances([(PEOPLE[0], "door", NOON, 5.0, True)]))
    assert [stop.board for one in pages(hub) for stop in one.stops] == ["door-9"]


def test_the_command_lists_journeys(doors, database, capsys):
    ada = [(PEOPLE[0], "door", NOON, 5.0, True), (PEOPLE[0], "gate", NOON + 60, 5.0, False)]
    for one in appearances([*ada, (None, "hall", NOON, 5.0, True)]):
        send(doors, BOARDS[one.source][0], one)

    def run(*options):
        try:
            return main(["hub", "journeys", "--hub", database, *options])
        except SystemExit as stopped:
            return stopped.code

    assert run("--json") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert [stop["board"] for stop in json.loads(line)["stops"]] == ["door-1", "door-3"]
    assert run("--person", "Ada", "--limit", "1", "--pause-minutes", "1") == 0
    shown = capsys.readouterr().out
    assert "Ada: 2025-06-15" in shown and "west: door-3 / gate" in shown and "no end yet" in shown
    for wrong, message in (
        (["--site", "nowhere"], "no site 'nowhere'"),
        (["--person", "Eve"], "nobody called 'Eve'"),
        (["--from", "yesterday"], "write a day such as"),
        (["--limit", "0"], "must be a whole number"),
        (["--from", "2026-11-30", "--to", "2026-11-01"], "is before the start"),
    ):
        assert run(*wrong) == 2
        assert message in capsys.readouterr().err
