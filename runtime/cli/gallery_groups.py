"""``rkface gallery group``: groups of people, for rules for alerts. Imports nothing heavy before an action runs."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from ..core.text import counted, in_a_line
from .gallery_options import add_gallery, open_gallery
from .options import add_json, print_json
from .parser import add_actions

if TYPE_CHECKING:
    from ..gallery.gallery import Gallery
    from ..gallery.people import Person


def group(parser: ArgumentParser) -> None:
    """Put people into groups, such as a family or postmen, for rules for alerts: who = ["group:family"].

    A group exists as long as it has members. PERSON is a name or an id.

    examples:
      rkface gallery group add family Ada Grace
      rkface gallery group list
    """
    add_actions(parser, (list_, add, remove, rename))


def list_(parser: ArgumentParser) -> None:
    """List the groups and their members.

    With --json, each group is one object on a line: {"name", "people": [{"id", "name"}]}.

    examples:
      rkface gallery group list
    """
    add_gallery(parser)
    add_json(parser, "one object a line for each group")
    parser.set_defaults(run=_list)


def add(parser: ArgumentParser) -> None:
    """Add people to a group; the first ones make it.

    examples:
      rkface gallery group add family "Ada Lovelace" Grace
    """
    _add_members(parser)
    parser.set_defaults(run=_add)


def remove(parser: ArgumentParser) -> None:
    """Take people out of a group. They stay in the gallery.

    examples:
      rkface gallery group remove family Grace
    """
    _add_members(parser)
    parser.set_defaults(run=_remove)


def rename(parser: ArgumentParser) -> None:
    """Give a group another name; if there is a group with that name, both become one. Rules that name the group must
    be changed too.

    examples:
      rkface gallery group rename family home
    """
    parser.add_argument("group", metavar="GROUP", help="name of the group")
    parser.add_argument("name", metavar="NAME", help="the new name")
    add_gallery(parser)
    parser.set_defaults(run=_rename)


ACTIONS = (group,)


def _add_members(parser: ArgumentParser) -> None:
    parser.add_argument("group", metavar="GROUP", help="name of the group")
    parser.add_argument("people", nargs="+", metavar="PERSON", help="name or id")
    add_gallery(parser)


def _list(options: Namespace) -> int:
    from ..gallery.groups import list_groups

    with open_gallery(options) as gallery:
        names = {person.id: person.name for person in gallery.people()}
        groups = list_groups(gallery)
    for name, people in groups.items():
        if options.json:
            print_json({"name": name, "people": [{"id": id, "name": names[id]} for id in people if id in names]})
        else:
            members = ", ".join(sorted(in_a_line(names[id]) for id in people if id in names))
            print(f"{in_a_line(name):20} {counted(len(people), 'person', 'people'):>10}  {members}")
    return 0


def _find_people(gallery: Gallery, keys: list[str]) -> list[Person]:
    return list({person.id: person for person in map(gallery.person, keys)}.values())


def _add(options: Namespace) -> int:
    from ..gallery.groups import add_to_group

    with open_gallery(options) as gallery:
        add_to_group(gallery, options.group, _find_people(gallery, options.people))
    return 0


def _remove(options: Namespace) -> int:
    from ..gallery.groups import remove_from_group

    with open_gallery(options) as gallery:
        remove_from_group(gallery, options.group, _find_people(gallery, options.people))
    return 0


def _rename(options: Namespace) -> int:
    from ..gallery.groups import rename_group

    with open_gallery(options) as gallery:
        rename_group(gallery, options.group, options.name)
    return 0
