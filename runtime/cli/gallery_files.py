"""The actions of ``rkface gallery`` on the gallery as a whole. Imports nothing heavy before one runs."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import InputError, WorkError
from ..core.progress import stage
from .gallery_options import add_models, add_rules, key_of, open_gallery, print_erasure_report, report, say_left

if TYPE_CHECKING:
    from ..enrollment.enroll import Verdict


def export(parser: ArgumentParser) -> None:
    """Write people as JSON lines, or CSV; without embeddings and pictures unless they are asked for.

    examples:
      rkface gallery export > people.jsonl
      rkface gallery export --csv --embeddings --crops crops/ --out people.csv
    """
    parser.add_argument("people", nargs="*", metavar="PERSON", help="name or id (default: everyone)")
    parser.add_argument("--csv", action="store_true", help="a line for each sample, instead of JSON for each person")
    parser.add_argument("--embeddings", action="store_true", help="biometric data: keep the file like the photos")
    parser.add_argument("--crops", type=Path, metavar="DIR", help="write the aligned faces into this folder")
    parser.add_argument("--out", type=Path, metavar="FILE", help="a new file, for its owner only (default: stdout)")
    parser.set_defaults(run=_export)


def import_(parser: ArgumentParser) -> None:
    """Add the people of an export, or of a CSV with the columns name and photo.

    People are joined by name. Each line is reported; one that cannot be read stops no other. Exit code 1 where some
    were refused. (`rkface enroll --folder` takes photos without a list.)

    examples:
      rkface gallery import people.jsonl
      rkface gallery import people.csv --crops crops/ --bundle build/rk3588
    """
    parser.add_argument("file", type=Path, metavar="FILE", help=".jsonl or .csv")
    parser.add_argument("--crops", type=Path, metavar="DIR", help="where the crops are (default: beside the file)")
    add_models(parser, required=False)
    add_rules(parser)
    parser.set_defaults(run=_import)


def reembed(parser: ArgumentParser) -> None:
    """Compute all embeddings again, after the model changed, from the aligned faces that were kept.

    Done whole or not at all: the old embeddings stay until the last new one is there.
    """
    add_models(parser, required=True)
    parser.set_defaults(run=_reembed)


def backup(parser: ArgumentParser) -> None:
    """Copy the gallery while it is in use, to FILE or into its own folder of backups, where the seven newest stay."""
    parser.add_argument("to", nargs="?", type=Path, metavar="FILE", help="a new file")
    parser.add_argument("--list", action="store_true", help="only say which backups there are")
    parser.add_argument(
        "--gone", type=Path, metavar="FILE", help="look no more for this one: it is destroyed, or was never finished"
    )
    parser.set_defaults(run=_backup)


def restore(parser: ArgumentParser) -> None:
    """Go back to a backup. What is there now is backed up first; people who were forgotten since stay so."""
    parser.add_argument("backup", type=Path, metavar="FILE", help="what `rkface gallery backup` wrote")
    parser.set_defaults(run=_restore)


def encrypt(parser: ArgumentParser) -> None:
    """Encrypt embeddings and faces, here, in the backups and in the log of appearances, with the key in --key FILE.

    Where there is no such file, a key is made. Names and metadata stay readable. Keep a copy of the key elsewhere:
    without it everybody has to be enrolled again. On the board, keep it where a thief of the disk does not find it.
    """
    parser.set_defaults(run=_encrypt)


def check(parser: ArgumentParser) -> None:
    """Examine the database, and finish what a forgetting could not, such as backups that were not connected."""
    parser.set_defaults(run=_check)


ACTIONS = (export, import_, reembed, backup, restore, encrypt, check)


def _export(options: Namespace) -> int:
    from ..enrollment.import_export import export_people

    with open_gallery(options) as known, ExitStack() as opened:
        people = list(map(known.person, options.people)) or known.people()
        if options.crops:
            options.crops.mkdir(mode=0o700, parents=True, exist_ok=True)
        out = sys.stdout
        if options.out:
            try:
                handle = os.open(options.out, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            except OSError as error:
                raise InputError(f"{options.out}: {error.strerror}: name a new file") from error
            out = opened.enter_context(os.fdopen(handle, "w", encoding="utf-8"))
        export_people(known, people, out, table=options.csv, embeddings=options.embeddings, crops=options.crops)
    return 0


def _import(options: Namespace) -> int:
    from ..core.text import in_a_line
    from ..enrollment.enroll import EnrollOptions, Verdict
    from ..enrollment.import_export import import_record, read_records
    from ..inference.pipeline import open_bundle

    if not options.file.is_file():
        raise InputError(f"{options.file}: no such file; `rkface gallery export` writes one")
    rules = EnrollOptions(options.strict, options.force, not options.no_crops)
    with ExitStack() as opened:
        pipeline = opened.enter_context(open_bundle(options.bundle, options.backend)) if options.bundle else None
        known = opened.enter_context(open_gallery(options, pipeline, create=True))
        known.check_identity()

        def verdicts() -> Iterator[Verdict]:
            for record in read_records(options.file, options.crops or options.file.parent):
                if isinstance(record, InputError):
                    yield Verdict("refused", "nobody", str(options.file), str(record))
                    continue
                try:
                    yield from import_record(known, record, pipeline, rules)
                except InputError as error:
                    yield Verdict("refused", in_a_line(record.name), str(options.file), str(error))

        return report(verdicts())


def _reembed(options: Namespace) -> int:
    from ..enrollment.import_export import reembed_gallery
    from ..gallery.people import embedding_identity
    from ..inference.pipeline import open_bundle

    with ExitStack() as opened:
        pipeline = opened.enter_context(open_bundle(options.bundle, options.backend))
        known = opened.enter_context(open_gallery(options))
        with stage("embedding") as current:
            result = reembed_gallery(known, pipeline.embed, embedding_identity(pipeline.manifest), current.advance)
            current.note = f"{result.done} samples"
    if result.left:
        print(
            f"rkface: {result.left} samples have no aligned face that can be read: enroll them again", file=sys.stderr
        )
    return WorkError.exit_code if result.left else 0


def _backup(options: Namespace) -> int:
    from ..gallery.backup import back_up
    from ..gallery.backup_registry import known_backups, remove_lost_backup

    with open_gallery(options) as known:
        if options.gone:
            remove_lost_backup(known, options.gone)
            return 0
        if options.list:
            for path in known_backups(known):
                print(path if path.exists() else f"{path} (not found)")
            return 0
        with stage("backing up"):
            made = back_up(known, options.to)
    print(made)
    return 0


def _restore(options: Namespace) -> int:
    from ..gallery.gallery import default_path
    from ..gallery.restore import restore as restore_backup

    with stage("restoring"):
        aside = restore_backup(options.gallery or default_path(), options.backup, key_of(options))
    if aside:
        print(f"what was there before is now {aside}", file=sys.stderr)
    return 0


def _encrypt(options: Namespace) -> int:
    from ..gallery.backup import encrypt_gallery
    from ..gallery.encryption import is_encrypted, make_key, read_key
    from ..gallery.gallery import Gallery, default_path
    from ..service.appearance_log import encrypt_log_beside

    if not options.key:
        raise InputError("--key FILE: where the key is, or shall be")
    path = Path(options.key)
    with Gallery(options.gallery or default_path()) as known:
        if is_encrypted(known.database):
            raise InputError(f"{known.path} is encrypted already")
        with stage("encrypting"):
            left = encrypt_gallery(known, read_key(path) if path.exists() else make_key(path))
            encrypt_log_beside(known)
    return say_left(left)


def _check(options: Namespace) -> int:
    from ..gallery.integrity import find_problems
    from ..service import erasure
    from ..service.appearance_log import encrypt_log_beside

    with open_gallery(options) as known:
        with stage("examining"):
            found = find_problems(known)
        for problem in found:
            print(f"rkface: {known.path}: {problem}", file=sys.stderr)
        report = erasure.finish_by_command(known)
        if options.key:
            encrypt_log_beside(known)
        state = known.state()
    print(f"{state.people} people, {state.samples} samples, {state.ignored} ignored: {'damaged' if found else 'whole'}")
    return max(print_erasure_report(report), WorkError.exit_code if found else 0)
