"""``rkface hub``: its people."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import asdict

from ..core.text import counted, in_a_line
from .gallery_options import format_time
from .hub_options import add_hub, open_hub
from .options import add_json, add_yes, confirmed, print_json


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
      rkface hub erase --yes "Ada Lovelace"      # does not ask
    """
    parser.add_argument("person", metavar="PERSON", help="name or id")
    add_yes(parser)
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


def _people(options: Namespace) -> int:
    from ..hub.people import list_people

    with open_hub(options) as connection:
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

    with open_hub(options) as connection:
        person = find_person(connection, options.person)
        move_person(connection, person.id, options.sites)
    print(in_a_line(f"{person.name}: known at {', '.join(options.sites)}"))
    return 0


def _erase(options: Namespace) -> int:
    from ..hub.people import erase_person, find_person

    with open_hub(options) as connection:
        person = find_person(connection, options.person)
        if not confirmed(options, f"erase {person.name} at the hub and on every board, forever"):
            return 1
        erase_person(connection, person.id)
    print("erased at the hub; boards delete the person when they sync: `rkface hub erased` says which have")
    return 0


def _erased(options: Namespace) -> int:
    from ..hub.people import list_erased

    with open_hub(options) as connection:
        found = list_erased(connection)
    for one in found:
        if options.json:
            print_json(asdict(one))
            continue
        missing = f"not confirmed by {', '.join(one.missing)}" if one.missing else "confirmed by every board"
        print(in_a_line(f"{one.person}, erased {format_time(one.erased)}: {missing}"))
    return int(any(one.missing for one in found))
