"""``rkface hub leave``: on a board, stop following the hub."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ..core.errors import InputError
from ..core.text import counted
from .gallery_options import add_gallery, gallery_path, open_gallery
from .options import add_yes, confirmed


def leave(parser: ArgumentParser) -> None:
    """On a board, stop following the hub. The people of the hub are deleted from this board.

    A gallery that follows a hub names nobody when it has not heard of the hub for the time of its lease. To use it
    without the hub, take [hub] out of the settings, stop rkface, and run this.

    Who is erased at the hub later would stay on this board. So all people whom the hub has are deleted here, also
    those who were enrolled here: from the gallery, its backups, the appearances, waiting events and pictures of alerts.
    The hub and its other boards keep them. People whom the hub never took stay. With --keep-people everybody stays, and
    you must see to it that people who are erased at the hub are erased here, too.

    Events that wait for the hub are deleted. At the hub, `rkface hub revoke BOARD` ends the credentials of the board.

    examples:
      rkface hub leave
      rkface hub leave --keep-people --yes
    """
    parser.add_argument("--keep-people", action="store_true", help="keep the people of the hub in this gallery")
    add_yes(parser)
    add_gallery(parser)
    parser.set_defaults(run=_leave)


def _leave(options: Namespace) -> int:
    from ..core.progress import stage
    from ..gallery.replication import list_people_of_hub
    from ..service.leave_hub import leave_hub
    from ..service.startup import lock_gallery

    with lock_gallery(gallery_path(options)), open_gallery(options) as gallery:
        if not gallery.lease.is_replica:
            raise InputError(f"{gallery.path} follows no hub: there is nothing to leave")
        count = counted(len(list_people_of_hub(gallery)), "person", "people")
        what = f"keep {count} of the hub" if options.keep_people else f"delete {count} of the hub from this board"
        if not confirmed(options, f"leave the hub, and {what}"):
            return 1
        with stage("leaving the hub"):
            leave_hub(gallery, keep_people=options.keep_people)
        kept = counted(len(gallery.people()), "person", "people")
    print(f"{kept} in this gallery; next: take [hub] out of the settings, and revoke this board at the hub")
    return 0
