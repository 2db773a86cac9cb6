"""The actions of ``rkface gallery`` that protect its file: backup, restore, encrypt, check."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path

from ..core.errors import InputError, WorkError
from ..core.messages import show_message
from ..core.progress import stage
from ..core.text import counted, in_a_line
from .gallery_options import (
    add_gallery,
    copies_to_json,
    gallery_path,
    open_gallery,
    print_erasure_report,
    print_unreached_copies,
    read_gallery_key,
)
from .gallery_quality import add_quality, measure_quality, print_quality, quality_to_json
from .options import add_json, print_json


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
    """Go back to a backup. The current gallery is backed up first; people forgotten since the backup stay forgotten.

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

    With --quality, each sample is also compared with all others, as if it were a new face: samples that look more like
    somebody else, or unlike the person's others, and people who look alike are problems. So are cameras whose scores
    in the appearance log fell in the last week. Reviews are counted.

    With --json, prints one object: {"people", "samples", "ignored", "problems", "done", "left"}; done and left are
    sentences about what was erased and where deleted data may remain. --quality adds "quality": {"threshold",
    "samples", "checked", "recognized", "single", "impostor", "findings", "similar", "people", "cameras",
    "reviews", "replay", "problems"}. Exit code: 1 if there are problems or such data.

    examples:
      rkface gallery check --gallery gallery.sqlite
      rkface gallery check --quality --bundle build/rk3588
      rkface gallery check --quality --threshold 0.43 --json
    """
    add_gallery(parser)
    add_quality(parser)
    add_json(parser, "one object")
    parser.set_defaults(run=_check)


ACTIONS = (backup, restore, encrypt, check)


def _backup(options: Namespace) -> int:
    from ..gallery.backup import back_up
    from ..gallery.backup_registry import known_backups, remove_lost_backup

    with open_gallery(options) as gallery:
        if options.gone:
            remove_lost_backup(gallery, options.gone)
            return 0
        if options.list:
            backups = known_backups(gallery)
            if options.json:
                print_json({"backups": [{"path": str(path), "exists": path.exists()} for path in backups]})
                return 0
            for path in backups:
                print(in_a_line(f"{path}{'' if path.exists() else ' (not found)'}"))
            return 0
        with stage("backing up"):
            made = back_up(gallery, options.to)
    if options.json:
        print_json({"backup": str(made)})
    else:
        print(made)
    return 0


def _restore(options: Namespace) -> int:
    from ..gallery.restore import restore as restore_backup

    path = gallery_path(options)
    with stage("restoring"):
        previous = restore_backup(path, options.backup, read_gallery_key(options))
    if options.json:
        print_json({"gallery": str(path), "previous": str(previous) if previous else None})
    if previous:
        show_message(f"the previous content is now in {previous}")
    return 0


def _encrypt(options: Namespace) -> int:
    from ..gallery.backup import encrypt_gallery
    from ..gallery.bound_values import is_encrypted
    from ..gallery.encryption import make_key, read_key
    from ..gallery.gallery import Gallery
    from ..service.log_files import encrypt_log_beside

    if not options.key:
        raise InputError("--key FILE is missing: the file of the key; a new key is made if it does not exist")
    path = Path(options.key)
    with Gallery(gallery_path(options)) as gallery:
        if is_encrypted(gallery.database):
            raise InputError(f"{gallery.path} is encrypted already")
        with stage("encrypting"):
            copies = encrypt_gallery(gallery, read_key(path) if path.exists() else make_key(path))
            encrypt_log_beside(gallery)
        if options.json:
            print_json({"gallery": str(gallery.path), "key": str(path), "copies": copies_to_json(copies)})
    return print_unreached_copies(copies)


def _check(options: Namespace) -> int:
    from ..gallery.integrity import find_problems
    from ..service import erasure
    from ..service.log_files import encrypt_log_beside

    with open_gallery(options) as gallery:
        with stage("checking"):
            problems = find_problems(gallery)
        quality = measure_quality(options, gallery) if options.quality and not problems else None
        for problem in problems:
            show_message(f"{gallery.path}: {problem}")
        report = erasure.finish_by_command(gallery)
        if options.key:
            encrypt_log_beside(gallery)
        state = gallery.state()
    if options.json:
        counts = {"people": state.people, "samples": state.samples, "ignored": state.ignored}
        measured = {"quality": quality_to_json(quality)} if quality else {}
        print_json({**counts, "problems": list(problems), **asdict(report), **measured})
    else:
        people, samples = counted(state.people, "person", "people"), counted(state.samples, "sample")
        print(f"{people}, {samples}, {state.ignored} ignored: {'damaged' if problems else 'no damage'}")
        if quality:
            print_quality(quality, gallery.path)
    wrong = problems or (quality and quality.problems)
    return max(print_erasure_report(report), WorkError.exit_code if wrong else 0)
