"""The actions of ``rkface gallery`` that protect its file: backup, restore, encrypt, check."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from ..core.errors import InputError, WorkError
from ..core.progress import stage
from .gallery_options import (
    add_gallery,
    copies_to_json,
    gallery_path,
    open_gallery,
    print_erasure,
    print_unreached_copies,
    read_gallery_key,
)
from .options import add_json, counted, print_json


def backup(parser: ArgumentParser) -> None:
    """Back up the gallery while it is in use, to FILE or into its backup folder, which keeps the seven newest.

    With --json, prints one object: {"backup"}, or with --list {"backups": [{"path", "exists"}]}.

    examples:
      rkface gallery backup
      rkface gallery backup /media/usb/gallery.sqlite
      rkface gallery backup --list
    """
    parser.add_argument("to", nargs="?", type=Path, metavar="FILE", help="a new file")
    parser.add_argument("--list", action="store_true", help="make no backup; list the existing ones")
    parser.add_argument(
        "--gone",
        type=Path,
        metavar="FILE",
        help="stop looking for this backup: it was destroyed, or was never finished",
    )
    add_gallery(parser)
    add_json(parser, "one object")
    parser.set_defaults(run=_backup)


def restore(parser: ArgumentParser) -> None:
    """Go back to a backup. The present gallery is backed up first; people forgotten since the backup stay forgotten.

    With --json, prints one object: {"gallery", "previous"}; previous is where the old content is now, or null.

    examples:
      rkface gallery backup --list
      rkface gallery restore gallery.sqlite.backups/2026-11-28.sqlite
    """
    parser.add_argument("backup", type=Path, metavar="FILE", help="a file that `rkface gallery backup` wrote")
    add_gallery(parser)
    add_json(parser, "one object")
    parser.set_defaults(run=_restore)


def encrypt(parser: ArgumentParser) -> None:
    """Encrypt embeddings and faces in the gallery, its backups and the appearance log, with the key in --key FILE.

    If the file does not exist, a new key is written to it. Names and metadata stay readable. Keep a copy of the key in
    another place: without the key, everybody has to be enrolled again. On the board, store the key where a thief of the
    disk does not find it. Needs pip install 'rkface[crypto]'.

    With --json, prints one object: {"gallery", "key", "copies": [{"path", "reason"}]}; copies are files that could not
    be encrypted. Exit code: 1 if there are any.

    examples:
      rkface gallery encrypt --gallery gallery.sqlite --key /media/usb/gallery.key
    """
    add_gallery(parser)
    add_json(parser, "one object")
    parser.set_defaults(run=_encrypt)


def check(parser: ArgumentParser) -> None:
    """Check the database for damage, and finish deletions that were interrupted or could not reach a backup.

    With --json, prints one object: {"people", "samples", "ignored", "problems", "left", "copies": [{"path",
    "reason"}]}. Exit code: 1 if the gallery is damaged or a copy may still hold deleted data.

    examples:
      rkface gallery check --gallery gallery.sqlite
    """
    add_gallery(parser)
    add_json(parser, "one object")
    parser.set_defaults(run=_check)


ACTIONS = (backup, restore, encrypt, check)


def _backup(options: Namespace) -> int:
    from ..gallery.backup import back_up
    from ..gallery.backup_registry import give_up, known_backups

    with open_gallery(options) as gallery:
        if options.gone:
            give_up(gallery, options.gone)
            return 0
        if options.list:
            backups = known_backups(gallery)
            if options.json:
                print_json({"backups": [{"path": str(path), "exists": path.exists()} for path in backups]})
                return 0
            for path in backups:
                print(path if path.exists() else f"{path} (not found)")
            return 0
        with stage("backing up"):
            made = back_up(gallery, options.to)
    if options.json:
        print_json({"backup": str(made)})
    else:
        print(made)
    return 0


def _restore(options: Namespace) -> int:
    from ..gallery.backup import restore as restore_backup

    path = gallery_path(options)
    with stage("restoring"):
        previous = restore_backup(path, options.backup, read_gallery_key(options))
    if options.json:
        print_json({"gallery": str(path), "previous": str(previous) if previous else None})
    if previous:
        print(f"the previous content is now in {previous}", file=sys.stderr)
    return 0


def _encrypt(options: Namespace) -> int:
    from ..gallery.backup import encrypt as encrypt_gallery
    from ..gallery.backup import is_encrypted
    from ..gallery.encryption import make_key, read_key
    from ..gallery.gallery import Gallery
    from ..service import erasure

    if not options.key:
        raise InputError("--key FILE is missing: the file of the key; a new key is made if it does not exist")
    path = Path(options.key)
    with Gallery(gallery_path(options)) as gallery:
        if is_encrypted(gallery.database):
            raise InputError(f"{gallery.path} is encrypted already")
        with stage("encrypting"):
            copies = encrypt_gallery(gallery, read_key(path) if path.exists() else make_key(path))
            erasure.encrypt(gallery)
        if options.json:
            print_json({"gallery": str(gallery.path), "key": str(path), "copies": copies_to_json(copies)})
    return print_unreached_copies(copies)


def _check(options: Namespace) -> int:
    from ..gallery.backup import check as find_damage
    from ..gallery.backup import finish, forgotten
    from ..service import erasure

    with open_gallery(options) as gallery:
        with stage("checking"):
            problems = find_damage(gallery)
        for problem in problems:
            print(f"rkface: {gallery.path}: {problem}", file=sys.stderr)
        copies = finish(gallery)
        left = erasure.by_command(gallery).left if forgotten(gallery) else []
        if options.key:
            erasure.encrypt(gallery)
        state = gallery.state()
    if options.json:
        counts = {"people": state.people, "samples": state.samples, "ignored": state.ignored}
        print_json({**counts, "problems": list(problems), "left": left, "copies": copies_to_json(copies)})
    else:
        verdict = "damaged" if problems else "no damage"
        people, samples = counted(state.people, "person", "people"), counted(state.samples, "sample")
        print(f"{people}, {samples}, {state.ignored} ignored: {verdict}")
    code = max(print_erasure(erasure.Forgotten([], left)), print_unreached_copies(copies))
    return WorkError.exit_code if problems else code
