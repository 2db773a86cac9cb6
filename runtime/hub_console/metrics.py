"""``/metrics`` of the hub for Prometheus: every board by site and name. It contains no name of a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import get_args

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from ..core.errors import RkfaceError
from ..core.metrics import MEDIA_TYPE, Metric, write_metrics_text
from ..hub.fleet import BoardState, Standing, read_fleet
from .hub_connections import ConnectionsDependency, HubConnections

router = APIRouter()


@router.get("/metrics", include_in_schema=False)
def get_metrics(connections: ConnectionsDependency) -> PlainTextResponse:
    return PlainTextResponse(write_metrics_text(read_metrics(connections)), media_type=MEDIA_TYPE)


def read_metrics(connections: HubConnections) -> Iterator[Metric]:
    """The metrics now. A hub that cannot be reached is one of them, and then there is no other."""
    fleet: Sequence[BoardState] | None
    try:
        with connections.open() as hub:
            fleet = read_fleet(hub)
    except RkfaceError:
        fleet = None
    yield Metric("hub_up", "gauge", "1 while the hub's database answers.", fleet is not None)
    for board in fleet or ():
        yield from board_metrics(board)


def board_metrics(board: BoardState) -> Iterator[Metric]:
    """What is known about one board. What a board did not say is left out."""
    where = {"site": board.site, "board": board.id}
    for standing in get_args(Standing):
        about = "1 for the state of the board: ok, trouble, waiting, away, lease ended or revoked."
        yield Metric("board_state", "gauge", about, board.standing == standing, {**where, "state": standing})
    yield Metric(
        "board_behind_people",
        "gauge",
        "People of the site who changed since its last sync.",
        board.behind,
        where,
    )
    yield Metric(
        "board_receipts_outstanding", "gauge", "Erasures that the board has not confirmed.", board.unconfirmed, where
    )
    said = (
        ("board_last_seen_seconds", "Seconds since the last heartbeat of the board, by the hub's clock.", board.age),
        ("board_lease_left_seconds", "Seconds until the board names nobody any more.", board.lease_left),
        ("board_queue_events", "Events that wait at the board.", board.queue),
        ("board_temperature_celsius", "Temperature of the hottest zone of the board.", board.celsius),
    )
    for name, about, value in said:
        if value is not None:
            yield Metric(name, "gauge", about, value, where)
    if board.release is not None:
        yield Metric("board_info", "gauge", "Release of rkface on the board.", 1, {**where, "release": board.release})
