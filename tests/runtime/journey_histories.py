"""Random appearances for the tests of journeys, and what must hold for the journeys that they make up."""

from hypothesis import strategies

from rkface.runtime.gallery.match import Match
from rkface.runtime.hub.journeys import Start, group_stops, read_journeys
from rkface.runtime.tracking.appearance import Appearance

PEOPLE = ("a" * 32, "b" * 32, None)
NOON = 1_750_000_000.0  # seconds since 1970
PAUSE = 60.0

# Seconds around the pause: exactly as long, a bit longer, at the same moment, and through each other.
moments = strategies.sampled_from([0, 1, 30, 59, 60, 61, 90, 120, 150, 181, 300, 400, 4000, 4061]).map(
    lambda one: NOON + one
)
visits = strategies.tuples(
    strategies.sampled_from(PEOPLE),
    strategies.sampled_from(["door", "hall", "gate"]),
    moments,
    strategies.sampled_from([0.0, 1.0, 59.0, 60.0, 200.0, 4000.0]),
    strategies.booleans(),
)
histories = strategies.lists(visits, max_size=20)


def appearances(history):
    """The visits as events have them, each at its last stage."""
    for number, (person, camera, started, seconds, ended) in enumerate(history):
        match = Match(person, f"Name of {person}", 0.7) if person else None
        last = started + seconds
        yield Appearance(
            f"{number:032x}", camera, "end" if ended else "update", match, 0.4, started, last, last if ended else 0.0,
            (0, 0, 1, 1), 0.9, 0.8, 5,
        )  # fmt: skip


def in_pages(stored, limit, pause=PAUSE):
    """All journeys, read in pages."""
    found, before = [], None
    while True:
        page, before = read_journeys(stored, limit, before, pause)
        assert len(page) <= limit
        found += page
        if before is None:
            return found


def check_journeys(journeys, stops, pause=PAUSE):
    """``journeys`` contain each of ``stops`` once, in order, with short pauses within and long ones between."""
    assert sorted(stop.appearance for one in journeys for stop in one.stops) == sorted(
        stop.appearance for stop in stops if stop.person
    )
    ends = {}
    for one in sorted(journeys, key=lambda journey: (journey.started, journey.person)):
        assert {stop.person for stop in one.stops} == {one.person}
        starts = [stop.started for stop in one.stops]
        assert starts == sorted(starts) and starts[0] == one.started
        last = one.started
        for stop in one.stops:
            assert stop.started <= last + pause
            last = max(last, stop.last)
        assert last == one.last
        assert one.started > ends.get(one.person, float("-inf")) + pause
        ends[one.person] = one.last
    places = [Start(one.started, one.person) for one in journeys]
    assert places == sorted(places, key=lambda one: (one.started, one.person), reverse=True)


def grouped(stops, pause=PAUSE):
    """The journeys of all ``stops``, in the order of pages."""
    found = group_stops(sorted(stops, key=lambda one: (one.started, one.board, one.appearance)), pause)
    return sorted(found, key=lambda one: (one.started, one.person), reverse=True)
