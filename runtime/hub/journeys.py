"""Journeys: one person in front of one camera after another. Pure functions over appearances, wherever they are stored.

A journey is a run of appearances of one person in which no pause is longer than ``PAUSE``. Appearances may overlap: two
cameras see one person at once, and clocks of boards differ by a second or two. So the pause counts from the latest
moment of all appearances before, and the order of two appearances that begin within such a second says nothing.

Unknown people have no journeys, and neither have erased ones, whose appearances name nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

# Seconds. A store looks for an earlier appearance that reaches a later one among those that began not much longer than
# this before, and among those that are longer, which have an index of their own: otherwise among all of a person.
LONG = 3600
PAUSE = 1800.0  # seconds: longer than a meeting in a room without a camera; a lunch break ends a journey


@dataclass(frozen=True)
class Stop:
    """An appearance of a known person.

    Times are seconds since 1970 (UTC) by the clock of the board.

    appearance  its id
    site        of the board, and ``board``, the board itself; both "" where a board tells of itself
    source      the camera
    person      id of the person, and ``name``, the name today
    last        when the person was seen last, as far as is known
    lasts       no end was reported yet: the person is still there, or the board stopped
    """

    appearance: str
    site: str
    board: str
    source: str
    person: str
    name: str
    started: float
    last: float
    lasts: bool = False


@dataclass(frozen=True)
class Journey:
    """``stops`` of one person, in the order in which they began. ``started`` is when the first one began, and ``last``
    when the person was seen last: not always at the last stop."""

    person: str
    name: str
    started: float
    last: float
    stops: tuple[Stop, ...]


@dataclass(frozen=True)
class Start:
    """Where a journey begins. No two have the same time and person (id)."""

    started: float
    person: str


class StoredStops(Protocol):
    """Appearances of known people in a store, after the filters of a user."""

    def starts(self, limit: int, before: Start | None, pause: float) -> Sequence[Start]:
        """The newest ``limit`` starts of journeys, newest first and then by id, backwards; only those after ``before``
        in this order. An appearance is a start unless an earlier one of the same person lasts until ``pause`` seconds
        before it, or longer."""

    def stops(self, start: Start) -> Iterator[Stop]:
        """The appearances of a person from a start on, by their beginning; later ones are read only when the
        iterator comes to them."""


def group_stops(stops: Iterable[Stop], pause: float = PAUSE) -> Iterator[Journey]:
    """The journeys that ``stops``, of any people and sorted by ``started``, make up: each as soon as a later stop of
    the person shows that it is over. Raises ValueError if they are not sorted."""
    current: dict[str, tuple[list[Stop], float]] = {}
    before = float("-inf")
    for stop in stops:
        if stop.started < before:
            raise ValueError("stops must be sorted by their beginning")
        before = stop.started
        run, last = current.get(stop.person, ([], stop.last))
        if run and stop.started > last + pause:
            yield _make_journey(run, last)
            run, last = [], stop.last
        run.append(stop)
        current[stop.person] = run, max(last, stop.last)
    for run, last in current.values():
        yield _make_journey(run, last)


def read_journeys(
    stored: StoredStops, limit: int, before: Start | None = None, pause: float = PAUSE
) -> tuple[list[Journey], Start | None]:
    """The newest ``limit`` journeys that come after ``before``, newest start first, whole, and the start to go on from;
    None if there are no more."""
    starts = stored.starts(limit + 1, before, pause)
    shown = starts[:limit]
    # A person may be erased between the two reads: then there are no stops.
    journeys = [journey for start in shown for journey in islice(group_stops(stored.stops(start), pause), 1)]
    return journeys, shown[-1] if len(starts) > limit else None


def _make_journey(run: list[Stop], last: float) -> Journey:
    return Journey(run[0].person, run[-1].name, run[0].started, last, tuple(run))
