"""``rkface hub``: one directory of people for many boards. Imports nothing heavy before it runs."""

from __future__ import annotations

from argparse import ArgumentParser

from .hub_boards import add_board, boards, init, revoke
from .hub_conflicts import conflicts, decide
from .hub_encrypt import encrypt
from .hub_journeys import attendance, journeys
from .hub_leave import leave
from .hub_people import erase, erased, move, people
from .hub_search import index, search
from .hub_serve import serve
from .parser import add_actions


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
      rkface hub journeys --from 2026-11-29
      rkface hub erase "Ada Lovelace"
      rkface hub search visitor.jpg
      rkface hub serve                                 a page with all boards, and an API
    """
    add_actions(
        parser,
        (
            init,
            add_board,
            boards,
            revoke,
            people,
            move,
            erase,
            erased,
            conflicts,
            decide,
            leave,
            search,
            index,
            encrypt,
            journeys,
            attendance,
            serve,
        ),
    )
