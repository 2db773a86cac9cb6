"""``rkface hub``: names that two people have, and what a human decides."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import asdict

from ..core.text import counted, in_a_line
from .gallery_options import format_time
from .hub_options import add_hub, open_hub
from .options import add_json, add_yes, confirmed, print_json


def conflicts(parser: ArgumentParser) -> None:
    """List people who got a name at a door that somebody else at the hub has. Nobody is merged without a decision.

    Until then the person stays at that door, with a number behind the name. Look at both people in the console of that
    door, then use `rkface hub decide`.

    examples:
      rkface hub conflicts
      rkface hub conflicts --json
    """
    add_hub(parser)
    add_json(parser, "one object per line")
    parser.set_defaults(run=_conflicts)


def decide(parser: ArgumentParser) -> None:
    """Decide about a person of `rkface hub conflicts`. The boards follow at their next sync.

    --erase and --same-person cannot be undone, so these ask.

    examples:
      rkface hub decide 3f2a --same-person
      rkface hub decide 3f2a --name "Ada Lovelace (Sales)"
      rkface hub decide 3f2a --erase --yes      # does not ask
    """
    parser.add_argument("person", metavar="ID", help="the id that `rkface hub conflicts` shows, or its first digits")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--same-person", action="store_true", help="both are one person: merge them")
    what.add_argument("--name", metavar="NAME", help="they are two people: this one gets another name")
    what.add_argument("--erase", action="store_true", help="erase the one who was enrolled at the door")
    add_yes(parser)
    add_hub(parser)
    parser.set_defaults(run=_decide)


def _conflicts(options: Namespace) -> int:
    from ..hub.conflicts import list_conflicts

    with open_hub(options) as connection:
        found = list_conflicts(connection)
    for one in found:
        if options.json:
            print_json(asdict(one))
            continue
        how = f"{one.known} was renamed" if one.known is not None else f"enrolled with {counted(one.samples, 'photo')}"
        print(in_a_line(f"{one.person}: {one.name} at {one.board} ({how}), {format_time(one.received)}"))
    return 0


def _decide(options: Namespace) -> int:
    from ..hub.conflicts import decide_erase, decide_name, decide_same, find_conflict

    with open_hub(options) as connection:
        conflict = find_conflict(connection, options.person)
        who = f"{conflict.name}, who is at {conflict.board}"
        if options.same_person:
            if not confirmed(options, f"merge {who}, into the one at the hub, which cannot be undone"):
                return 1
            decide_same(connection, conflict)
        elif options.erase:
            if not confirmed(options, f"erase {who}, forever"):
                return 1
            decide_erase(connection, conflict)
        else:
            decide_name(connection, conflict, options.name)
    print(in_a_line(f"decided about {conflict.name} at {conflict.board}"))
    return 0
