"""The actions of ``rkface gallery`` that move all its people: export, import, reembed."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ..core.atomic import create_atomically, write_error
from ..core.errors import InputError, WorkError
from ..core.paths import require_folder
from ..core.progress import stage
from ..core.text import counted
from .gallery_options import (
    add_enroll_rules,
    add_gallery,
    enroll_rules,
    open_gallery,
    print_verdicts,
)
from .options import add_backend, add_bundle, add_json, print_json

if TYPE_CHECKING:
    from ..enrollment.enroll import Verdict
    from ..enrollment.json_lines import GalleryRecord


def export(parser: ArgumentParser) -> None:
    """Write people as JSON lines or CSV. Embeddings and aligned faces are left out unless you request them.

    examples:
      rkface gallery export > people.jsonl
      rkface gallery export --csv --embeddings --crops crops/ --out people.csv
    """
    parser.add_argument("people", nargs="*", metavar="PERSON", help="name or id (default: everyone)")
    parser.add_argument("--csv", action="store_true", help="CSV with a line for each sample, instead of JSON lines")
    parser.add_argument(
        "--embeddings", action="store_true", help="include embeddings: biometric data, protect the file like the photos"
    )
    parser.add_argument("--crops", type=Path, metavar="DIR", help="write the aligned faces into this folder")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="a new file, readable by its owner only (default: stdout)"
    )
    add_gallery(parser)
    parser.set_defaults(run=_export)


def import_(parser: ArgumentParser) -> None:
    """Add the people of an export, or of a CSV file with the columns name and photo.

    People with the same name become one. Each line is reported; a line that cannot be used does not stop the others.
    (`rkface enroll --folder` takes photos without a list.)

    With --json, each sample is one object on a line, as for `rkface enroll --json`. Exit code: 1 if a line or photo was
    refused.

    examples:
      rkface gallery import people.jsonl
      rkface gallery import people.csv --crops crops/ --bundle build/rk3588
    """
    parser.add_argument("file", type=Path, metavar="FILE", help="a .jsonl or .csv file")
    parser.add_argument(
        "--crops", type=Path, metavar="DIR", help="folder of the aligned faces (default: the folder of FILE)"
    )
    add_gallery(parser)
    add_bundle(parser, default=None)
    add_backend(parser)
    add_enroll_rules(parser)
    add_json(parser, "one object a line for each sample")
    parser.set_defaults(run=_import)


def reembed(parser: ArgumentParser) -> None:
    """Compute all embeddings again from the stored aligned faces, after a change of the recognizer.

    The old embeddings are replaced only when all new ones are computed. Samples without an aligned face keep the old
    one and are ignored.

    With --json, prints one object: {"embedded", "ignored"}. Exit code: 1 if samples are ignored.

    examples:
      rkface gallery reembed --gallery gallery.sqlite --bundle build/rk3588
    """
    add_gallery(parser)
    add_bundle(parser)
    add_backend(parser)
    add_json(parser, "one object")
    parser.set_defaults(run=_reembed)


ACTIONS = (export, import_, reembed)


def _export(options: Namespace) -> int:
    from ..enrollment.import_export import export_people

    with open_gallery(options) as gallery, ExitStack() as opened:
        people = list(map(gallery.person, options.people)) or gallery.people()
        if options.crops:
            try:
                options.crops.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"--crops {options.crops}: {error.strerror}: name a folder") from error
        out = opened.enter_context(_create_export(options.out)) if options.out else sys.stdout
        export_people(gallery, people, out, table=options.csv, embeddings=options.embeddings, crops=options.crops)
    return 0


@contextmanager
def _create_export(path: Path) -> Iterator[TextIO]:
    """The new file ``path``, which only its owner can read; it is there when it is complete. Raises InputError if it
    exists, and WorkError if it cannot be written."""
    require_folder(path, f"--out {path}")
    exists = InputError(f"--out {path}: File exists: name a new file")
    if os.path.lexists(path):
        raise exists
    try:
        with create_atomically(path) as new, new.open("w", encoding="utf-8") as file:
            yield file
    except FileExistsError as error:  # another program has made it meanwhile
        raise exists from error
    except OSError as error:
        if error.filename is not None:  # of another file
            raise
        raise write_error(f"--out {path}", error) from error


def _import(options: Namespace) -> int:
    from ..enrollment.import_export import read_records
    from ..inference.open_bundle import open_bundle

    if options.file.is_dir():
        raise InputError(f"{options.file} is a folder: name a file that `rkface gallery export` wrote, or a CSV file")
    if not options.file.is_file():
        if options.file.exists():
            raise InputError(f"{options.file} is not a regular file: name a file that `rkface gallery export` wrote")
        raise InputError(f"{options.file}: no such file; `rkface gallery export` writes one")
    with ExitStack() as opened:
        pipeline = opened.enter_context(open_bundle(options.bundle, options.backend)) if options.bundle else None
        gallery = opened.enter_context(open_gallery(options, pipeline, create=True))
        gallery.check_identity()

        def verdicts() -> Iterator[Verdict]:
            from ..core.text import in_a_line
            from ..enrollment.enroll import Verdict
            from ..enrollment.import_export import import_record

            rules = enroll_rules(options)
            record: GalleryRecord | InputError
            for record in read_records(options.file, options.crops or options.file.parent):
                if isinstance(record, InputError):
                    yield Verdict("refused", "nobody", str(options.file), str(record))
                    continue
                try:
                    yield from import_record(gallery, record, pipeline, rules)
                except InputError as error:
                    where = f"{options.file}, line {record.line}"
                    yield Verdict("refused", in_a_line(record.name), str(options.file), f"{where}: {error}")

        return print_verdicts(verdicts(), as_json=options.json)


def _reembed(options: Namespace) -> int:
    from ..enrollment.import_export import reembed_gallery
    from ..gallery.people import embedding_identity
    from ..inference.open_bundle import open_bundle

    with ExitStack() as opened:
        pipeline = opened.enter_context(open_bundle(options.bundle, options.backend))
        gallery = opened.enter_context(open_gallery(options))
        with stage("embedding") as current:
            identity = embedding_identity(pipeline.manifest)
            result = reembed_gallery(gallery, pipeline.embed, pipeline.crop, identity, current.advance)
            current.note = counted(result.done, "sample")
    if options.json:
        print_json({"embedded": result.done, "ignored": result.left})
    if result.left:
        print(
            f"rkface: ignored: {counted(result.left, 'sample')} without a readable aligned face; "
            "enroll these people again",
            file=sys.stderr,
        )
    return WorkError.exit_code if result.left else 0
