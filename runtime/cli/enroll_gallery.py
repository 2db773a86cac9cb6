"""``rkface enroll`` and ``rkface gallery …``. Imports nothing heavy before a command runs."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from contextlib import ExitStack
from inspect import getdoc
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import InputError
from .gallery_options import add_gallery, add_models, add_rules, open_gallery, report

if TYPE_CHECKING:
    pass


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
    add_gallery(parser)
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
    from . import gallery_files, gallery_people

    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for declare in (*gallery_people.ACTIONS, *gallery_files.ACTIONS):
        text = getdoc(declare) or ""
        action = actions.add_parser(
            declare.__name__.rstrip("_"),
            help=text.splitlines()[0],
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_gallery(action)
        declare(action)


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


def _enroll(options: Namespace) -> int:
    from ..enrollment.enroll import EnrollOptions, PersonPhoto, enroll_photo, find_photos
    from ..inference.pipeline import open_bundle

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
    if options.folder:
        photos = find_photos(options.folder)
    else:
        photos = [PersonPhoto(options.name, path) for path in options.photos]
    rules, metadata = EnrollOptions(options.strict, options.force, not options.no_crops), dict(options.set)
    with ExitStack() as opened:
        pipeline = opened.enter_context(open_bundle(options.bundle, options.backend))
        known = opened.enter_context(open_gallery(options, pipeline, create=True))
        known.check_identity()
        verdicts = (
            enroll_photo(known, pipeline, photo.person, photo.path, rules=rules, metadata=metadata) for photo in photos
        )
        return report(verdicts, as_json=options.json)
