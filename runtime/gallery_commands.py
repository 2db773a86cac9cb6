"""``rkface enroll`` and ``rkface gallery …``. Imports nothing heavy before a command runs."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict
from inspect import getdoc
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from .commands import BUNDLE
from .errors import InputError, WorkError
from .seal import ENVIRONMENT

if TYPE_CHECKING:
    from .enroll import Verdict
    from .forgetting import Forgotten
    from .gallery import Gallery
    from .gallery_copies import Left
    from .pipeline import Pipeline
    from .seal import Key


def enroll(parser: ArgumentParser) -> None:
    """Teach the gallery a person from photos, a whole folder of them, or a camera.

    Every photo is judged by itself and reported: no face, too small, blurred, like one that is there, or already
    enrolled under another name (with the cosine), which --force overrides. What is said to be enrolled is on the disk.
    Exit code 1 where some photo was refused.

    With --folder, a sub-folder is a person; photos beside are named for theirs: ada.jpg, ada-2.jpg, jean-luc-01.jpg.

    With --camera, whoever sits before it is told what to do and is taken three times: straight, turned a little to the
    left, and to the right. Who looks like somebody of the gallery, or unlike the person's other samples, is asked about
    on a terminal; elsewhere --same or --force decides. Until all is answered the gallery is as it was.

    examples:
      rkface enroll --bundle build/rk3588 --gallery gallery.sqlite "Ada Lovelace" ada.jpg ada-side.jpg
      rkface enroll --bundle build/rk3588 --gallery gallery.sqlite --folder staff/
      rkface enroll --bundle build/rk3588 --gallery gallery.sqlite "Ada Lovelace" --camera /dev/video0
    """
    parser.add_argument("name", nargs="?", metavar="NAME", help="of the person; new, or one of the gallery")
    parser.add_argument("photos", nargs="*", type=Path, metavar="PHOTO", help="JPEG, PNG, WebP or BMP")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="photos of several people")
    parser.add_argument("--camera", metavar="SPEC", help="a camera, as for `rkface run`, with advice in the terminal")
    parser.add_argument(
        "--timeout",
        type=_seconds,
        metavar="S",
        help="seconds that --camera waits for good pictures (default: 60); a recording is seen whole",
    )
    parser.add_argument(
        "--same",
        action="store_true",
        help="with --camera: who is enrolled under another name gets the pictures under that one",
    )
    parser.add_argument("--set", action="append", type=_pair, default=[], metavar="KEY=VALUE", help="metadata to keep")
    _place(parser)
    add_models(parser, required=True)
    add_rules(parser)
    parser.add_argument("--json", action="store_true", help="a line for each photo, for programs")
    parser.set_defaults(run=_enroll)


def gallery(parser: ArgumentParser) -> None:
    """See, mend, move and back up who the gallery knows.

    The gallery is one SQLite file for its owner only. Names and ids both stand for a person.
    `rkface gallery ACTION --help` explains an action; `rkface enroll` adds people.

    examples:
      rkface gallery list --gallery gallery.sqlite
      rkface gallery forget --gallery gallery.sqlite "Ada Lovelace"
    """
    from . import gallery_actions, gallery_file_actions

    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for declare in (*gallery_actions.ACTIONS, *gallery_file_actions.ACTIONS):
        text = getdoc(declare) or ""
        action = actions.add_parser(
            declare.__name__.rstrip("_"),
            help=text.splitlines()[0],
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        _place(action)
        declare(action)


def _place(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--gallery",
        type=Path,
        metavar="FILE",
        help="(default: /var/lib/rkface/gallery.sqlite where that folder is yours to write, else gallery.sqlite here)",
    )
    parser.add_argument(
        "--key",
        type=Path,
        metavar="FILE",
        default=os.environ.get(ENVIRONMENT),
        help=f"of an encrypted gallery (default: ${ENVIRONMENT})",
    )


def add_models(parser: ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "--bundle",
        type=Path,
        default=Path(BUNDLE) if required else None,
        metavar="DIR",
        help=f"what `rkface convert` wrote{' (default: %(default)s)' * required}",
    )
    parser.add_argument(
        "--backend", metavar="B", help="npu, or reference = ONNX Runtime (default: what this machine has)"
    )


def add_rules(parser: ArgumentParser) -> None:
    parser.add_argument("--strict", action="store_true", help="refuse photos with several faces")
    parser.add_argument("--force", action="store_true", help="enroll even who looks like another person of the gallery")
    parser.add_argument(
        "--no-crops", action="store_true", help="keep no aligned faces: then a new model means enrolling again"
    )


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not key or not sign:
        raise ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < inf:
        raise ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds


def open_gallery(options: Namespace, pipeline: Pipeline | None = None, *, create: bool = False) -> Gallery:
    from .gallery import Gallery, default_path, embedding_identity

    identity = embedding_identity(pipeline.manifest) if pipeline else None
    return Gallery(options.gallery or default_path(), identity, create=create, key=key_of(options))


def key_of(options: Namespace) -> Key | None:
    from .seal import read_key

    return read_key(Path(options.key)) if options.key else None


def _enroll(options: Namespace) -> int:
    from .enroll import Rules, enroll_photo, photos_by_person
    from .pipeline import open_bundle

    if options.camera:
        if not options.name or options.photos or options.folder:
            raise InputError("--camera takes one person's pictures: give NAME, and neither photos nor --folder")
        if options.same and options.force:
            raise InputError("--same says that two who look alike are one, --force that they are two: give one")
        from .enroll_camera import enroll_camera

        return report([enroll_camera(options)], as_json=options.json)
    if options.same or options.timeout:
        raise InputError("--same and --timeout go with --camera")
    if options.folder and (options.name or options.photos):
        raise InputError("--folder names the people itself: give either it, or NAME and photos")
    if not options.folder and not options.photos:
        raise InputError(
            "NAME and at least one photo or --camera, or --folder DIR: `rkface enroll --help` has examples"
        )
    pairs = list(photos_by_person(options.folder)) if options.folder else [(options.name, it) for it in options.photos]
    rules, metadata = Rules(options.strict, options.force, not options.no_crops), dict(options.set)
    with ExitStack() as opened:
        pipeline = opened.enter_context(open_bundle(options.bundle, options.backend))
        known = opened.enter_context(open_gallery(options, pipeline, create=True))
        check_model(known, pipeline)
        verdicts = (enroll_photo(known, pipeline, name, photo, rules=rules, metadata=metadata) for name, photo in pairs)
        return report(verdicts, as_json=options.json)


def check_model(known: Gallery, pipeline: Pipeline) -> None:
    """InputError, before any work, where the gallery holds embeddings of another model than the bundle's."""
    from .gallery import embedding_identity

    if known.identity not in (None, embedding_identity(pipeline.manifest)) and known.state().samples:
        raise InputError(
            f"{known.path} holds embeddings of another model than this bundle's, which cannot be compared: "
            f"use that bundle, or rkface gallery reembed --gallery {known.path} --bundle DIR"
        )


def report(verdicts: Iterable[Verdict], *, as_json: bool = False) -> int:
    """Say each verdict as it comes, and a summary; the exit code."""
    counts: Counter[str] = Counter()
    people = set()
    for verdict in verdicts:
        counts[verdict.status] += 1
        people |= {verdict.person} if verdict.status == "enrolled" else set()
        if as_json:
            print(json.dumps(asdict(verdict), ensure_ascii=False), flush=True)
            continue
        line = f"{verdict.source}: {verdict.status} {'as ' if verdict.status != 'refused' else 'for '}{verdict.person}"
        line += f", quality {verdict.quality:.2f}" if verdict.quality is not None else ""
        print("; ".join([line, *filter(None, [verdict.reason]), *verdict.notes]), flush=True)
    said = f"{counts['enrolled']} enrolled for {len(people)} {'person' if len(people) == 1 else 'people'}"
    said += f", {counts['known']} known already" if counts["known"] else ""
    said += f", {counts['refused']} refused" if counts["refused"] else ""
    print(said, file=sys.stderr)
    return WorkError.exit_code if counts["refused"] else 0


def date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def say_forgotten(beside: Forgotten) -> int:
    """Name what was done beside the gallery, and what could not be; the exit code."""
    for said in (*beside.done, *beside.left):
        print(f"rkface: {said}", file=sys.stderr)
    return WorkError.exit_code if beside.left else 0


def say_left(left: list[Left]) -> int:
    """Name the copies that may still hold what was deleted or encrypted; the exit code."""
    for copy in left:
        print(
            f"rkface: {copy.path} may still hold what was deleted or encrypted here: {copy.reason}; then run "
            "`rkface gallery check`",
            file=sys.stderr,
        )
    return WorkError.exit_code if left else 0
