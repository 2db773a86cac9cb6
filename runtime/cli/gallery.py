"""``rkface gallery``: its actions on people and on the gallery as a whole. Imports nothing heavy before one runs."""

from __future__ import annotations

from argparse import ArgumentParser

from .gallery_care import ACTIONS as CARE_ACTIONS
from .gallery_files import ACTIONS as FILE_ACTIONS
from .gallery_groups import ACTIONS as GROUP_ACTIONS
from .gallery_people import ACTIONS as PEOPLE_ACTIONS
from .gallery_quality import ACTIONS as QUALITY_ACTIONS
from .parser import add_actions


def gallery(parser: ArgumentParser) -> None:
    """Show and change the gallery of known people; back it up, move or encrypt it.

    The gallery is one SQLite file that only its owner can read. PERSON is a name or an id.
    `rkface gallery ACTION --help` explains an action; `rkface enroll` adds people.

    examples:
      rkface gallery list --gallery gallery.sqlite
      rkface gallery forget --gallery gallery.sqlite "Ada Lovelace"
      rkface gallery backup --gallery gallery.sqlite
    """
    add_actions(parser, (*PEOPLE_ACTIONS, *GROUP_ACTIONS, *FILE_ACTIONS, *QUALITY_ACTIONS, *CARE_ACTIONS))
