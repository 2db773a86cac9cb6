"""``rkface strangers``: people without a name in the appearance log. Imports nothing heavy before an action runs."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from typing import TYPE_CHECKING

from ..core.arguments import positive_integer
from ..core.text import counted, in_a_line
from .gallery_options import (
    add_gallery,
    copies_to_json,
    format_time,
    open_gallery,
    print_unreached_copies,
    print_verdicts,
)
from .options import add_json, print_json
from .parser import add_actions
from .strangers_options import SHOWN, open_strangers
from .strangers_renamings import print_renaming, rename, renamings, undo

if TYPE_CHECKING:
    from ..service.strangers import Stranger

WEEK = 7 * 86_400.0


def strangers(parser: ArgumentParser) -> None:
    """List people without a name who came to cameras, enroll them, ignore them for good, and name past appearances.

    Appearances of one stranger are found by their embeddings. A service keeps these only with the setting embeddings
    in [keep], and pictures to enroll from with the setting unknown_faces; both are days (docs/gallery.md).

    examples:
      rkface strangers list --least 3
      rkface strangers enroll 3f9a1c "Ada Lovelace" --rename
      rkface strangers ignore 3f9a1c --note "the postman"
    """
    add_actions(parser, ACTIONS)


def list_(parser: ArgumentParser) -> None:
    """List the strangers, last seen first: how often, since when, cameras and id.

    With --json, each stranger is one object on a line: {"id", "times", "started", "last", "cameras", "appearances",
    "face", "pictures", "person"}; times are seconds since 1970.

    examples:
      rkface strangers list --least 3
    """
    parser.add_argument(
        "--least", type=positive_integer, default=1, metavar="N", help="only who was seen so many times (default: 1)"
    )
    add_gallery(parser)
    add_json(parser, "one object a line for each stranger")
    parser.set_defaults(run=_list)


def enroll(parser: ArgumentParser) -> None:
    """Enroll a stranger from the stored pictures of all their appearances.

    examples:
      rkface strangers enroll 3f9a1c "Ada Lovelace" --rename
    """
    _add_stranger(parser)
    parser.add_argument("name", metavar="NAME", help="name of the person")
    parser.add_argument(
        "--rename", action="store_true", help="also name the past appearances; `rkface strangers undo` reverts that"
    )
    parser.add_argument("--force", action="store_true", help="enroll even if the face looks like another person")
    add_gallery(parser)
    add_json(parser, "one object: the verdict, as of `rkface enroll`")
    parser.set_defaults(run=_enroll)


def ignore(parser: ArgumentParser) -> None:
    """Ignore a stranger for good: this face is nobody, and cameras report nothing about it.

    The gallery keeps embeddings of the face, and pictures if there are any, although nobody asked that person:
    encrypt the gallery. `rkface strangers restore` deletes them, also in backups.

    examples:
      rkface strangers ignore 3f9a1c --note "the postman"
    """
    _add_stranger(parser)
    parser.add_argument("--note", default="", metavar="TEXT", help="what you want to remember")
    add_gallery(parser)
    add_json(parser, "one object: the entry of the ignore list")
    parser.set_defaults(run=_ignore)


def ignored(parser: ArgumentParser) -> None:
    """List the faces that are ignored.

    examples:
      rkface strangers ignored --json
    """
    add_gallery(parser)
    add_json(parser, "one object a line for each entry")
    parser.set_defaults(run=_ignored)


def restore(parser: ArgumentParser) -> None:
    """Stop ignoring a face, and delete what is kept of it, also in backups.

    With --json, prints one object: {"copies": [{"path", "reason"}]}; copies are backups that could not be reached. Exit
    code: 1 if there are any.

    examples:
      rkface strangers restore 91ce20
    """
    parser.add_argument("id", metavar="ID", help="start of an id, from `rkface strangers ignored`")
    add_gallery(parser)
    add_json(parser, "one object")
    parser.set_defaults(run=_restore)


ACTIONS = (list_, enroll, ignore, ignored, restore, rename, renamings, undo)


def seen_since(times: int, started: float, now: float) -> str:
    """Such as "seen 7 times since Tuesday"; with the date if that is a week ago or longer."""
    if times == 1:
        return f"seen once, {format_time(started)}"
    local = time.localtime(started)
    if local[:3] == time.localtime(now)[:3]:
        return f"seen {times} times today"
    day = time.strftime("%A" if now - started < WEEK - 86_400 else "%Y-%m-%d", local)
    return f"seen {times} times since {day}"


def _add_stranger(parser: ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="start of an id, from `rkface strangers list`")


def _list(options: Namespace) -> int:
    with open_strangers(options) as requests:
        found = requests.strangers(options.least)
    for stranger in found:
        if options.json:
            print_json(asdict(stranger))
        else:
            print(_line(stranger, time.time()))
    print(counted(len(found), "stranger"), file=sys.stderr)
    if not found:
        print("rkface: embeddings are kept only with the setting embeddings in [keep] (days)", file=sys.stderr)
    return 0


def _line(stranger: Stranger, now: float) -> str:
    seen = seen_since(stranger.times, stranger.started, now)
    known = f"  now recognized as {stranger.person.name}" if stranger.person else ""
    cameras = ", ".join(stranger.cameras)
    return in_a_line(f"{stranger.id[:SHOWN]}  {seen:32}  last {format_time(stranger.last)}  {cameras}{known}")


def _enroll(options: Namespace) -> int:
    with open_strangers(options) as requests:
        result = requests.enroll(options.id, options.name, force=options.force, rename=options.rename)
    code = print_verdicts([result.verdict], as_json=options.json)
    if options.rename and not code and not options.json:
        print_renaming(result.renamed)
    return code


def _ignore(options: Namespace) -> int:
    with open_strangers(options) as requests:
        entry = requests.ignore(options.id, options.note)
    if options.json:
        print_json(asdict(entry))
    else:
        kept = counted(entry.embeddings, "embedding")
        print(f"ignored; {kept} kept: `rkface strangers restore {entry.id[:SHOWN]}` deletes them")
    return 0


def _ignored(options: Namespace) -> int:
    from ..gallery.ignored import list_ignored

    with open_gallery(options) as gallery:
        found = list_ignored(gallery)
    for entry in found:
        if options.json:
            print_json(asdict(entry))
        else:
            kept = counted(entry.embeddings, "embedding") + (", a picture" if entry.face else "")
            print(in_a_line(f"{entry.id[:SHOWN]}  {format_time(entry.created)}  {kept}  {entry.note}"))
    print(f"{len(found)} ignored", file=sys.stderr)
    return 0


def _restore(options: Namespace) -> int:
    from ..gallery.ignored import find_ignored, stop_ignoring

    with open_gallery(options) as gallery:
        copies = stop_ignoring(gallery, find_ignored(gallery, options.id))
    if options.json:
        print_json({"copies": copies_to_json(copies)})
    return print_unreached_copies(copies)
