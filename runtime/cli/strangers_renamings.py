"""The actions of ``rkface strangers`` that name past appearances: rename, renamings, undo."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from typing import TYPE_CHECKING

from ..core.errors import WorkError
from ..core.text import counted, in_a_line
from .gallery_options import add_gallery, format_time
from .options import add_json, print_json
from .strangers_options import SHOWN, open_strangers

if TYPE_CHECKING:
    from ..service.renaming import Renaming


def rename(parser: ArgumentParser) -> None:
    """Name a person in past appearances in which they were a stranger. Events that were sent stay as they are.

    examples:
      rkface strangers rename "Ada Lovelace"
    """
    parser.add_argument("person", metavar="PERSON", help="name or id")
    add_gallery(parser)
    add_json(parser, "one object: the renaming, null if there is nothing to name")
    parser.set_defaults(run=_rename)


def renamings(parser: ArgumentParser) -> None:
    """List the renamings that can be undone.

    examples:
      rkface strangers renamings
    """
    add_gallery(parser)
    add_json(parser, "one object a line for each renaming")
    parser.set_defaults(run=_renamings)


def undo(parser: ArgumentParser) -> None:
    """Undo a renaming: its appearances are those of a stranger again.

    examples:
      rkface strangers undo 5d20aa
    """
    parser.add_argument("id", metavar="ID", help="start of an id, from `rkface strangers renamings`")
    add_gallery(parser)
    parser.set_defaults(run=_undo)


def print_renaming(renaming: Renaming | None) -> None:
    """Print how many past appearances were named, and how to undo that."""
    if renaming is None:
        print("no past appearance looks like this person")
        return
    named = counted(renaming.appearances, "past appearance")
    print(in_a_line(f"{named} named {renaming.name}: `rkface strangers undo {renaming.id[:SHOWN]}` reverts that"))


def _rename(options: Namespace) -> int:
    with open_strangers(options) as requests:
        renaming = requests.rename(options.person)
    if options.json:
        print_json({"renaming": renaming and asdict(renaming)})
    else:
        print_renaming(renaming)
    return 0


def _renamings(options: Namespace) -> int:
    with open_strangers(options) as requests:
        found = requests.renamings()
    for renaming in found:
        if options.json:
            print_json(asdict(renaming))
        else:
            named = counted(renaming.appearances, "appearance")
            since = format_time(renaming.started)
            print(in_a_line(f"{renaming.id[:SHOWN]}  {renaming.name}  {named} since {since}"))
    return 0


def _undo(options: Namespace) -> int:
    with open_strangers(options) as requests:
        undone = requests.undo(options.id)
    print(f"{counted(undone, 'appearance')} unknown again")
    return 0 if undone else WorkError.exit_code
