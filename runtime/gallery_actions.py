"""The actions of ``rkface gallery``. Imports nothing heavy before one runs."""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InputError, WorkError
from .gallery_commands import add_models, add_rules, check_model, date, key_of, open_gallery, report
from .progress import stage

if TYPE_CHECKING:
    from .enrol import Verdict
    from .gallery_copies import Left


def list_(parser: ArgumentParser) -> None:
    """Who is in the gallery: name, samples, last change and id."""
    parser.add_argument("--json", action="store_true", help="a line for each person, for programs")
    parser.set_defaults(run=_list)


def show(parser: ArgumentParser) -> None:
    """One person's samples, and who else of the gallery looks most like them."""
    parser.add_argument("person", metavar="PERSON", help="name or id")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=_show)


def rename(parser: ArgumentParser) -> None:
    """Give a person another name; the id stays."""
    parser.add_argument("person", metavar="PERSON", help="name or id")
    parser.add_argument("name", metavar="NAME", help="the new one")
    parser.set_defaults(run=_rename)


def merge(parser: ArgumentParser) -> None:
    """Make one person of two who were enrolled under two names."""
    parser.add_argument("person", metavar="PERSON", help="who goes, name or id")
    parser.add_argument("into", metavar="INTO", help="who gets the samples and keeps name and id")
    parser.set_defaults(run=_merge)


def remove(parser: ArgumentParser) -> None:
    """Delete single samples, such as a photo of somebody else; backups keep them until they grow old."""
    parser.add_argument("person", metavar="PERSON", help="name or id")
    parser.add_argument("samples", nargs="+", type=int, metavar="SAMPLE", help="number, from `rkface gallery show`")
    parser.set_defaults(run=_remove)


def forget(parser: ArgumentParser) -> None:
    """Delete people for good: here and in every backup that rkface made.

    Afterwards none of these files holds a byte of their embeddings and crops. Exports, and copies that were made
    without rkface, are yours to delete. A flash disk may keep old blocks that no file shows: encrypt it.
    """
    parser.add_argument("people", nargs="+", metavar="PERSON", help="name or id")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.set_defaults(run=_forget)


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
    were refused. (`rkface enrol --folder` takes photos without a list.)

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
    parser.set_defaults(run=_backup)


def restore(parser: ArgumentParser) -> None:
    """Go back to a backup. What is there now is backed up first; people who were forgotten since stay so."""
    parser.add_argument("backup", type=Path, metavar="FILE", help="what `rkface gallery backup` wrote")
    parser.set_defaults(run=_restore)


def encrypt(parser: ArgumentParser) -> None:
    """Encrypt embeddings and faces, here and in the backups, with the key in --key FILE.

    Where there is no such file, a key is made. Names and metadata stay readable. Keep a copy of the key elsewhere:
    without it everybody has to be enrolled again. On the board, keep it where a thief of the disk does not find it.
    """
    parser.set_defaults(run=_encrypt)


def check(parser: ArgumentParser) -> None:
    """Examine the database, and finish what a forgetting could not, such as backups that were not connected."""
    parser.set_defaults(run=_check)


ACTIONS = (list_, show, rename, merge, remove, forget, export, import_, reembed, backup, restore, encrypt, check)


def _list(options: Namespace) -> int:
    with open_gallery(options) as known:
        people = known.people()
        state = known.state()
    for person in people:
        if options.json:
            print(json.dumps(asdict(person), ensure_ascii=False))
        else:
            print(f"{person.name:28} {person.samples:4} samples  {date(person.changed)}  {person.id}")
    print(f"{state.people} people, {state.samples} samples", file=sys.stderr)
    if state.ignored:
        print(f"rkface: {state.ignored} samples of an older model are ignored: enrol them again", file=sys.stderr)
    return 0


def _show(options: Namespace) -> int:
    import numpy as np

    with open_gallery(options) as known:
        person = known.person(options.person)
        samples = known.samples(person)
        own = [sample.embedding for sample in samples if sample.identity == known.identity]
        found = known.search(np.stack(own), 4) if own else []
    nearest: dict[str, float] = {}
    for match in (match for matches in found for match in matches if match.person != person.id):
        nearest[match.name] = max(match.cosine, nearest.get(match.name, -1.0))
    said = [
        {"id": sample.id, "quality": round(sample.quality, 3), "source": sample.source, "created": sample.created,
         "crop": sample.crop is not None, "identity": sample.identity}
        for sample in samples
    ]  # fmt: skip
    if options.json:
        print(json.dumps(asdict(person) | {"samples": said, "nearest": nearest}, ensure_ascii=False))
        return 0
    print(f"{person.name} ({person.id}), since {date(person.created)}")
    for key, value in person.metadata.items():
        print(f"  {key}: {value}")
    for sample in samples:
        crop = "" if sample.crop else ", no crop"
        print(f"  {sample.id:6}  {date(sample.created)}  quality {sample.quality:.2f}{crop}  {sample.source}")
    for name, cosine in sorted(nearest.items(), key=lambda item: -item[1])[:3]:
        print(f"  looks like {name}: cosine {cosine:.3f}")
    return 0


def _rename(options: Namespace) -> int:
    with open_gallery(options) as known:
        known.rename(known.person(options.person), options.name)
    return 0


def _merge(options: Namespace) -> int:
    with open_gallery(options) as known:
        known.merge(known.person(options.person), known.person(options.into))
    return 0


def _remove(options: Namespace) -> int:
    with open_gallery(options) as known:
        known.remove(known.person(options.person), options.samples)
    return 0


def _forget(options: Namespace) -> int:
    from . import gallery_copies

    left: list[Left] = []
    with open_gallery(options) as known:
        people = list({person.id: person for person in map(known.person, options.people)}.values())
        names = ", ".join(f"{person.name} ({person.samples} samples)" for person in people)
        if not options.yes:
            if not sys.stdin.isatty():
                raise InputError(f"this would delete {names} for good: say --yes")
            if input(f"Delete {names}, here and in all backups, for good? [y/N] ").strip().lower() not in ("y", "yes"):
                print("nothing was deleted", file=sys.stderr)
                return 0
        with stage("forgetting"):
            for person in people:
                left = gallery_copies.forget(known, person)
    return _say_left(left)


def _say_left(left: list[Left]) -> int:
    for copy in left:
        print(f"rkface: {copy.path}: may still hold people who were forgotten: {copy.reason}; then run "
              "`rkface gallery check`", file=sys.stderr)  # fmt: skip
    return WorkError.exit_code if left else 0


def _export(options: Namespace) -> int:
    from .gallery_exchange import export as write

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
        write(known, people, out, table=options.csv, embeddings=options.embeddings, crops=options.crops)
    return 0


def _import(options: Namespace) -> int:
    from .enrol import Rules, Verdict
    from .gallery_exchange import read_records, take
    from .pipeline import open_bundle

    if not options.file.is_file():
        raise InputError(f"{options.file}: no such file; `rkface gallery export` writes one")
    rules = Rules(options.strict, options.force, not options.no_crops)
    with ExitStack() as opened:
        pipeline = opened.enter_context(open_bundle(options.bundle, options.backend)) if options.bundle else None
        known = opened.enter_context(open_gallery(options, pipeline, create=True))
        if pipeline:
            check_model(known, pipeline)

        def verdicts() -> Iterator[Verdict]:
            for record in read_records(options.file, options.crops or options.file.parent):
                if isinstance(record, InputError):
                    yield Verdict("refused", "nobody", str(options.file), str(record))
                    continue
                try:
                    yield from take(known, record, pipeline, rules)
                except InputError as error:
                    yield Verdict("refused", record.name, str(options.file), str(error))

        return report(verdicts())


def _reembed(options: Namespace) -> int:
    from .gallery import embedding_identity
    from .gallery_exchange import reembed as compute
    from .pipeline import open_bundle

    with ExitStack() as opened:
        pipeline = opened.enter_context(open_bundle(options.bundle, options.backend))
        known = opened.enter_context(open_gallery(options))
        with stage("embedding") as current:
            done, left = compute(known, pipeline.embed, embedding_identity(pipeline.manifest), current.advance)
            current.note = f"{done} samples"
    if left:
        print(f"rkface: {left} samples have no aligned face that can be read: enrol them again", file=sys.stderr)
    return WorkError.exit_code if left else 0


def _backup(options: Namespace) -> int:
    from .gallery_copies import back_up, known_backups

    with open_gallery(options) as known:
        if options.list:
            for path in known_backups(known):
                print(path if path.exists() else f"{path} (not found)")
            return 0
        with stage("backing up"):
            made = back_up(known, options.to)
    print(made)
    return 0


def _restore(options: Namespace) -> int:
    from .gallery import default_path
    from .gallery_copies import restore as put_back

    with stage("restoring"):
        aside = put_back(options.gallery or default_path(), options.backup, key_of(options))
    if aside:
        print(f"what was there before is now {aside}", file=sys.stderr)
    return 0


def _encrypt(options: Namespace) -> int:
    from .gallery import Gallery, default_path
    from .gallery_copies import encrypt as seal
    from .gallery_copies import sealed
    from .seal import make_key, read_key

    if not options.key:
        raise InputError("--key FILE: where the key is, or shall be")
    path = Path(options.key)
    with Gallery(options.gallery or default_path()) as known:
        if sealed(known.database):
            raise InputError(f"{known.path} is encrypted already")
        with stage("encrypting"):
            left = seal(known, read_key(path) if path.exists() else make_key(path))
    return _say_left(left)


def _check(options: Namespace) -> int:
    from .gallery_copies import check as examine
    from .gallery_copies import finish

    with open_gallery(options) as known:
        with stage("examining"):
            found = examine(known)
        for problem in found:
            print(f"rkface: {known.path}: {problem}", file=sys.stderr)
        left = finish(known)
        state = known.state()
    print(f"{state.people} people, {state.samples} samples, {state.ignored} ignored: {'damaged' if found else 'whole'}")
    return WorkError.exit_code if found else _say_left(left)
