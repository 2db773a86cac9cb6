"""``rkface hub``: the database and its boards."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.arguments import number_in
from ..core.errors import InputError
from ..core.messages import show_message
from ..core.text import counted, in_a_line, shell_quoted
from .gallery_options import format_time
from .hub_options import ENVIRONMENT, add_hub, hub_address, open_hub
from .options import add_json, print_json

if TYPE_CHECKING:
    from ..hub.fleet import BoardState

DAY = 86_400.0


def init(parser: ArgumentParser) -> None:
    """Create the hub's tables in a database, or migrate those of an older rkface. Nothing is lost.

    The server needs PostgreSQL 15 or newer and pgvector 0.7 or newer. The user must own the database, and may create
    roles. Over a network, the connection must be encrypted and the server's certificate right.

    examples:
      rkface hub init postgresql://rkface@db.example.org/rkface
      rkface hub init file:/etc/rkface/hub
      rkface hub init --embedded hub/
    """
    parser.add_argument("hub", nargs="?", metavar="HUB", help="address of the database")
    parser.add_argument("--embedded", type=Path, metavar="DIR", help="run a PostgreSQL with its data in this folder")
    parser.set_defaults(run=_init)


def add_board(parser: ArgumentParser) -> None:
    """Add a board, and print the address that it uses. It is shown only now: the hub keeps a hash of the password.

    Put it into a file on the board that only rkface can read, and name that file in the board's settings:
    [hub] address = "file:/etc/rkface/hub".

    examples:
      rkface hub add-board door-1 --site headquarters
      rkface hub add-board door-2 --site headquarters --lease-days 2
    """
    parser.add_argument("name", metavar="NAME", help="small letters, digits and hyphens; no two boards have one name")
    parser.add_argument("--site", required=True, metavar="SITE", help="where it is; a new site is added")
    parser.add_argument(
        "--lease-days",
        type=number_in(0, 3650),
        default=7.0,
        metavar="DAYS",
        help="how long it names people without having heard of the hub (default: %(default)s)",
    )
    add_hub(parser)
    parser.set_defaults(run=_add_board)


def boards(parser: ArgumentParser) -> None:
    """List the boards, with what the hub's page shows: state, last heartbeat, release, how far its copy of the people
    is behind, events that wait there, temperature, lease, and erasures that it has not confirmed.

    examples:
      rkface hub boards
      rkface hub boards --json
    """
    add_hub(parser)
    add_json(parser, "one object per line")
    parser.set_defaults(run=_boards)


def revoke(parser: ArgumentParser) -> None:
    """End the credentials of a board that was lost or stolen: it syncs no more from now on, and names nobody when its
    lease has ended.

    examples:
      rkface hub revoke door-1
    """
    parser.add_argument("name", metavar="NAME", help="the board")
    add_hub(parser)
    parser.set_defaults(run=_revoke)


def _init(options: Namespace) -> int:
    from ..hub.connection import connect
    from ..hub.embedded import create_embedded
    from ..hub.migrations import migrate

    if (options.hub is None) == (options.embedded is None) and not os.environ.get(ENVIRONMENT):
        raise InputError("name the hub's database, or a folder with --embedded")
    address = hub_address(options) if options.embedded is None else create_embedded(options.embedded)
    with connect(address) as connection:
        version = migrate(connection)
    if options.embedded is not None:
        show_message(f"its address is {address}: `export {ENVIRONMENT}={shell_quoted(address)}`")
    print(f"the hub is ready (tables of version {version}); next: `rkface hub add-board NAME --site SITE`")
    return 0


def _add_board(options: Namespace) -> int:
    from ..hub.boards import add_board
    from ..hub.embedded import embedded_address

    own = hub_address(options)
    with open_hub(options) as connection:
        user, password = add_board(connection, options.name, options.site, options.lease_days * DAY)
        info = connection.info
        host = (
            f"/{info.dbname}?host={info.host}"
            if info.host.startswith("/")
            else f"{info.host}:{info.port}/{info.dbname}"
        )
    print(embedded_address(own, user) or f"postgresql://{user}:{password}@{host}")
    print("rkface: keep it now, in a file on the board: it cannot be shown again", file=sys.stderr)
    return 0


def _boards(options: Namespace) -> int:
    from ..hub.fleet import read_fleet

    with open_hub(options) as connection:
        found = read_fleet(connection)
    for one in found:
        if options.json:
            print_json(asdict(one))
        else:
            print(in_a_line(f"{one.id} ({one.site}): {'; '.join(_facts(one))}"))
    return 0


def _facts(board: BoardState) -> Iterator[str]:
    """What the page of the hub shows. What a board has not said is left out."""
    yield "reports a problem" if board.standing == "trouble" else board.standing
    yield "never seen" if board.seen is None else f"seen {format_time(board.seen)}"
    if board.release is not None:
        yield f"release {board.release}"
    if board.seen is not None:
        yield f"{counted(board.behind, 'change')} behind" if board.behind else "up to date"
    if board.queue is not None:
        yield f"{counted(board.queue, 'event')} in the queue"
    if board.celsius is not None:
        yield f"{board.celsius:.0f} °C"
    if board.lease_left:
        yield f"lease ends in {board.lease_left / DAY:.1f} days"
    if board.unconfirmed:
        yield f"{counted(board.unconfirmed, 'erasure')} not confirmed"
    if board.revoked is not None:
        yield f"revoked {format_time(board.revoked)}"


def _revoke(options: Namespace) -> int:
    from ..hub.boards import revoke_board

    with open_hub(options) as connection:
        revoke_board(connection, options.name)
    print(f"revoked: {in_a_line(options.name)}")
    return 0
