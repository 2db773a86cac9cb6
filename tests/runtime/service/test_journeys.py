"""Journeys in the appearance log of one board."""

import pytest
from hypothesis import given, settings, strategies

from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.replication import ReplicatedPerson, apply_changes
from rkface.runtime.hub.journeys import Stop, group_stops
from rkface.runtime.service.appearance_log import AppearanceLog
from rkface.runtime.service.logged_stops import LoggedStops

from ..journey_histories import NOON, PAUSE, PEOPLE, appearances, check_journeys, grouped, histories, in_pages

NAMES = {PEOPLE[0]: "Ada", PEOPLE[1]: "Bob"}


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    with AppearanceLog(tmp_path_factory.mktemp("log") / "appearances.sqlite") as log:
        yield log


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """Two people, whose names are not those of the events any more."""
    with Gallery(tmp_path_factory.mktemp("gallery") / "gallery.sqlite", "1" * 32, create=True) as gallery:
        people = [ReplicatedPerson(id, name, {}, ()) for id, name in NAMES.items()]
        apply_changes(gallery, people, (), (), {})
        yield gallery


def as_stop(one, name):
    last = max(one.best, one.ended)
    return Stop(one.id, "", "", one.source, one.match.person, name, one.started, last, one.stage != "end")


def test_stops_that_are_not_in_order_are_refused():
    stops = [Stop("1", "", "", "door", "a", "Ada", started, started) for started in (2.0, 1.0)]
    with pytest.raises(ValueError, match="sorted"):
        list(group_stops(stops))


@settings(max_examples=40, deadline=None)
@given(histories, strategies.integers(1, 13))
def test_journeys_are_whole_on_pages_of_any_size(log, gallery, history, limit):
    log.delete([one.id for one in log.newest(200)])
    for one in appearances(history):
        log.record(one)
    stops = [as_stop(one, NAMES[one.match.person]) for one in appearances(history) if one.match]
    journeys = in_pages(LoggedStops(log, gallery), limit)
    check_journeys(journeys, stops)
    assert journeys == grouped(stops)
    for camera in ("door", "hall"):
        at_camera = [stop for stop in stops if stop.source == camera]
        assert in_pages(LoggedStops(log, gallery, source=camera), limit) == grouped(at_camera)
    late = [one for one in journeys if NOON + 60 <= one.started < NOON + 300]
    assert in_pages(LoggedStops(log, gallery, since=NOON + 60, until=NOON + 300), limit) == late
    ada = [one for one in journeys if one.person == PEOPLE[0]]
    assert in_pages(LoggedStops(log, gallery, person=PEOPLE[0]), limit) == ada


def test_who_was_deleted_has_no_journey_even_before_the_log_is_pruned(log, gallery):
    log.delete([one.id for one in log.newest(200)])
    for one in appearances([("c" * 32, "door", NOON, 1.0, True)]):
        log.record(one)
    assert in_pages(LoggedStops(log, gallery), 5, PAUSE) == []
