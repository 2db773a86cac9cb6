"""``rkface hub``: one directory of people for many boards. Imports nothing heavy before it runs."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import InputError
from ..core.text import in_a_line, shell_quoted
from .gallery_options import format_time
from .hub_options import ENVIRONMENT, add_hub, hub_address
from .hub_serve import serve
from .options import add_json, counted, print_json
from .parser import add_actions

if TYPE_CHECKING:
    import psycopg

    Hub = psycopg.Connection[Any]

DAY = 86_400.0


def hub(parser: ArgumentParser) -> None:
    """Keep one directory of people for many boards, in PostgreSQL with pgvector.

    A person who is enrolled once is known at every door of the site. Doors keep working without the hub, for the time
    of their lease. Who is erased is deleted on every board, and the hub says which boards have confirmed it.

    The hub is a database: HUB is its address, such as postgresql://rkface@db.example.org/rkface, or embedded:DIR for a
    PostgreSQL of its own in a folder. Write it as env:NAME or file:PATH if it contains a password. Without --hub, the
    environment variable RKFACE_HUB has it.

    examples:
      rkface hub init postgresql://rkface@db.example.org/rkface
      rkface hub init --embedded hub/                  a PostgreSQL of its own, to try it out
      rkface hub add-board door-1 --site headquarters
      rkface hub boards
      rkface hub erase "Ada Lovelace"
      rkface hub serve                                 a page with all boards, and an API
    """
    add_actions(parser, (init, add_board, boards, revoke, people, move, erase, erased, serve))


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
        type=float,
        default=7.0,
        metavar="DAYS",
        help="how long it names people without having heard of the hub (default: %(default)s)",
    )
    add_hub(parser)
    parser.set_defaults(run=_add_board)


def boards(parser: ArgumentParser) -> None:
    """List the boards: when each was seen last, how far it is behind, and what it says about itself.

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


def people(parser: ArgumentParser) -> None:
    """List the people, the sites where they are known, and their samples.

    examples:
      rkface hub people
    """
    add_hub(parser)
    add_json(parser, "one object per line")
    parser.set_defaults(run=_people)


def move(parser: ArgumentParser) -> None:
    """Say at which sites a person is known. Boards of other sites delete the person at their next sync.

    examples:
      rkface hub move "Ada Lovelace" headquarters warehouse
    """
    parser.add_argument("person", metavar="PERSON", help="name or id")
    parser.add_argument("sites", nargs="+", metavar="SITE", help="all sites where the person is known from now on")
    add_hub(parser)
    parser.set_defaults(run=_move)


def erase(parser: ArgumentParser) -> None:
    """Erase a person here, and on every board as soon as it syncs. Boards that are away name nobody when their lease
    has ended. It cannot be undone.

    examples:
      rkface hub erase "Ada Lovelace"
    """
    parser.add_argument("person", metavar="PERSON", help="name or id")
    add_hub(parser)
    parser.set_defaults(run=_erase)


def erased(parser: ArgumentParser) -> None:
    """Say which boards have confirmed that erased people are gone, and which have not. Exit status 1 if one has not.

    examples:
      rkface hub erased
    """
    add_hub(parser)
    add_json(parser, "one object per line")
    parser.set_defaults(run=_erased)


def _init(options: Namespace) -> int:
    from ..hub.connection import connect
    from ..hub.migrations import migrate

    if (options.hub is None) == (options.embedded is None) and not os.environ.get(ENVIRONMENT):
        raise InputError("name the hub's database, or a folder with --embedded")
    address = f"embedded:{options.embedded.absolute()}" if options.embedded is not None else hub_address(options)
    if options.embedded is not None:
        print(f"rkface: its address is {address}: `export {ENVIRONMENT}={shell_quoted(address)}`", file=sys.stderr)
    with connect(address) as connection:
        version = migrate(connection)
    print(f"the hub is ready (tables of version {version}); next: `rkface hub add-board NAME --site SITE`")
    return 0


def _add_board(options: Namespace) -> int:
    from ..hub.boards import add_board
    from ..hub.embedded import embedded_address

    own = hub_address(options)
    with _open(options) as connection:
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
    from ..hub.boards import list_boards

    with _open(options) as connection:
        found = list_boards(connection)
    for one in found:
        if options.json:
            print_json(asdict(one))
            continue
        seen = f"seen {format_time(one.seen)}" if one.seen else "never seen"
        behind = f", {counted(one.behind, 'change')} behind" if one.behind else ""
        revoked = f", revoked {format_time(one.revoked)}" if one.revoked else ""
        print(in_a_line(f"{one.id} ({one.site}): {seen}{behind}{revoked}"))
    return 0


def _revoke(options: Namespace) -> int:
    from ..hub.boards import revoke_board

    with _open(options) as connection:
        revoke_board(connection, options.name)
    print(f"revoked: {in_a_line(options.name)}")
    return 0


def _people(options: Namespace) -> int:
    from ..hub.people import list_people

    with _open(options) as connection:
        found = list_people(connection)
    for one in found:
        if options.json:
            print_json(asdict(one))
        else:
            sites = ", ".join(one.sites) or "nowhere"
            print(in_a_line(f"{one.name}: {counted(one.samples, 'sample')}; known at {sites}"))
    return 0


def _move(options: Namespace) -> int:
    from ..hub.people import find_person, move_person

    with _open(options) as connection:
        person = find_person(connection, options.person)
        move_person(connection, person.id, options.sites)
    print(in_a_line(f"{person.name}: known at {', '.join(options.sites)}"))
    return 0


def _erase(options: Namespace) -> int:
    from ..hub.people import erase_person, find_person

    with _open(options) as connection:
        erase_person(connection, find_person(connection, options.person).id)
    print("erased at the hub; boards delete the person when they sync: `rkface hub erased` says which have")
    return 0


def _erased(options: Namespace) -> int:
    from ..hub.people import list_erased

    with _open(options) as connection:
        found = list_erased(connection)
    for one in found:
        if options.json:
            print_json(asdict(one))
            continue
        missing = f"not confirmed by {', '.join(one.missing)}" if one.missing else "confirmed by every board"
        print(in_a_line(f"{one.person}, erased {format_time(one.erased)}: {missing}"))
    return int(any(one.missing for one in found))


@contextmanager
def _open(options: Namespace) -> Iterator[Hub]:
    from ..hub.connection import connect
    from ..hub.migrations import check_version

    with connect(hub_address(options)) as connection:
        check_version(connection)
        yield connection
