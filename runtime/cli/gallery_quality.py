"""The actions of ``rkface gallery`` that say how well people are told apart. Imports nothing heavy before one runs."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.arguments import fraction
from ..core.errors import InputError
from ..core.messages import show_message
from ..core.progress import stage
from ..core.text import counted, in_a_line
from .gallery_options import add_gallery, format_time, open_gallery
from .options import BUNDLE, add_json, print_json

if TYPE_CHECKING:
    from ..gallery.gallery import Gallery
    from ..gallery.reviews import Review
    from ..service.appearance_log import AppearanceLog
    from ..service.gallery_health import GalleryHealth

MOST_PRINTED = 20  # problems on a terminal; --json has all
NOTHING = "none"


def threshold(parser: ArgumentParser) -> None:
    """Give people who look alike, such as twins, a minimum cosine of their own: they are recognized only from there.

    Cameras, /v1/identify and enrollment use the higher one of this and of the threshold for everybody. A face that is
    most similar to such a person, but does not reach it, is unknown. `rkface gallery check --quality` names people who
    look alike, and suggests a threshold. "none" removes it.

    examples:
      rkface gallery threshold 0.62 Ada Augusta
      rkface gallery threshold none Ada Augusta
    """
    parser.add_argument("cosine", type=_cosine_or_none, metavar="COSINE", help="0 to 1, or none")
    parser.add_argument("people", nargs="+", metavar="PERSON", help="name or id")
    add_gallery(parser)
    parser.set_defaults(run=_threshold)


def review(parser: ArgumentParser) -> None:
    """Say who an appearance was, list what was said, or take it back. `rkface gallery check --quality` counts it.

    The id of an appearance is in its events and in /v1/appearances. A review is kept in the gallery for keep.reviews
    days, with the embedding of the face if the appearance log has it (keep.embeddings), and is erased with each person
    that it is about.

    With --json, prints each review as one object on a line; "outcome" is "right", "false match", "missed match", "wrong
    person" or "rightly unknown".

    examples:
      rkface gallery review --list
      rkface gallery review 0d0e8d4f… --was Ada --add
      rkface gallery review 0d0e8d4f… --nobody --ignore
      rkface gallery review 0d0e8d4f… --undo
    """
    parser.add_argument("appearance", nargs="?", metavar="APPEARANCE", help="id of the appearance")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--was", metavar="PERSON", help="it was this person: name or id")
    what.add_argument("--nobody", action="store_true", help="it was somebody else, who is not enrolled")
    what.add_argument("--undo", action="store_true", help="delete the review")
    what.add_argument("--list", action="store_true", help="list all reviews, newest first")
    parser.add_argument("--add", action="store_true", help="with --was: the face becomes a sample of this person")
    parser.add_argument(
        "--ignore",
        action="store_true",
        help="with --nobody: put the face on the ignore list, so that it is not taken for anybody again",
    )
    add_gallery(parser)
    add_json(parser, "one object a line for each review")
    parser.set_defaults(run=_review)


ACTIONS = (threshold, review)


def add_quality(parser: ArgumentParser) -> None:
    """--quality, and what it needs."""
    parser.add_argument(
        "--quality",
        action="store_true",
        help="also compare each sample with all others, and name bad samples and people who look alike",
    )
    parser.add_argument(
        "--threshold",
        type=fraction,
        metavar="COSINE",
        help="with --quality: minimum cosine for a match, if the service uses another one than the bundle",
    )
    parser.add_argument(
        "--bundle",
        type=Path,
        metavar="DIR",
        help=f"with --quality: the bundle whose threshold counts (default: that of the board, else {BUNDLE})",
    )


def measure_quality(options: Namespace, gallery: Gallery) -> GalleryHealth:
    """Check the samples of ``gallery`` as the options say, and its appearance log if there is one. Raises InputError if
    no threshold is known."""
    from ..service.gallery_health import read_gallery_health

    threshold = _find_threshold(options, gallery)
    with stage("comparing samples"), ExitStack() as opened:
        return read_gallery_health(gallery, _open_log(gallery, opened), threshold)


def quality_to_json(health: GalleryHealth) -> dict[str, Any]:
    whole = asdict(health)
    return {**whole.pop("quality"), **whole}


def print_quality(health: GalleryHealth, path: Path) -> None:
    """Print the figures to stdout and the problems to stderr."""
    problems, quality = health.problems, health.quality
    for problem in problems[:MOST_PRINTED]:
        show_message(f"{path}: {problem}")
    if len(problems) > MOST_PRINTED:
        print(f"rkface: {len(problems) - MOST_PRINTED} more problems: --json has all", file=sys.stderr)
    print(
        f"threshold {quality.threshold:.3f}: {quality.recognized} of {counted(quality.checked, 'sample')} recognized "
        f"by the person's other samples; {counted(quality.single, 'person has', 'people have')} only one sample"
    )
    if quality.impostor is not None:
        print(f"highest cosine of samples of two people: {quality.impostor:.3f}")
    for person in quality.people[:3]:
        if person.impostor is not None and person.lowest is not None:
            own, other = f"own samples from {person.lowest:.3f}", f"others up to {person.impostor:.3f}"
            print(in_a_line(f"  {person.name}: {own}, {other}"))
    for camera in health.cameras:
        week = camera.weeks[0]
        cosine = "nobody recognized" if week.cosine is None else f"cosine {week.cosine[1]:.3f} (median)"
        print(in_a_line(f"camera {camera.camera}, week of {week.week}: {week.appearances} appearances, {cosine}"))
    for one in health.reviews:
        wrong = f"{one.false_matches} false, {one.missed_matches} missed"
        print(in_a_line(f"camera {one.camera}, threshold {one.threshold:.3f}: {one.reviewed} reviewed, {wrong}"))


def _find_threshold(options: Namespace, gallery: Gallery) -> float:
    from ..core.manifest_reader import parse_manifest
    from ..gallery.people import embedding_identity
    from ..service.settings import ON_BOARD

    if options.threshold is not None:
        return float(options.threshold)
    bundle = options.bundle or next((one for one in (ON_BOARD, Path(BUNDLE)) if one.is_dir()), None)
    if bundle is None:
        raise InputError("which cosine is a match? Name the bundle with --bundle DIR, or the number with --threshold")
    manifest = parse_manifest(bundle)
    gallery.check_identity(embedding_identity(manifest))
    return manifest.thresholds.match


def _threshold(options: Namespace) -> int:
    from ..gallery.reviews import set_threshold

    with open_gallery(options) as gallery:
        for person in [gallery.person(name) for name in options.people]:  # all are known before one is changed
            set_threshold(gallery, person, options.cosine)
    return 0


def _review(options: Namespace) -> int:
    from ..gallery.reviews import list_reviews, remove_reviews

    if options.list == bool(options.appearance):
        raise InputError("name one appearance, or list all reviews with --list")
    if (options.add and not options.was) or (options.ignore and not options.nobody):
        raise InputError("--add belongs to --was PERSON, and --ignore to --nobody")
    with open_gallery(options) as gallery:
        if options.undo:
            if not remove_reviews(gallery, [options.appearance]):
                raise InputError(f"the appearance {in_a_line(options.appearance)} was not reviewed")
            return 0
        reviews = list_reviews(gallery) if options.list else [_add_review(options, gallery)]
        names = {person.id: person.name for person in gallery.people()}
    for each in reviews:
        if options.json:
            print_json({**asdict(each), "outcome": each.outcome})
        else:
            named, person = (names.get(id or "", "nobody") for id in (each.named, each.person))
            seen = f"{format_time(each.started)}  {each.source:12}  {each.appearance}"
            print(in_a_line(f"{seen}  {each.outcome}: recognized {named}, was {person}"))
    return 0


def _add_review(options: Namespace, gallery: Gallery) -> Review:
    """Store the review, and what else the options want. Nothing is stored if one of them is impossible."""
    from ..enrollment.enroll import enroll_shots
    from ..gallery.ignored import ignore_face
    from ..service.gallery_health import logged_sample, review_appearance

    person = gallery.person(options.was) if options.was else None
    with ExitStack() as opened:
        log = _open_log(gallery, opened)
        sample = logged_sample(gallery, log, options.appearance) if log else None
        if log is None or log.find(options.appearance) is None:
            raise InputError(f"{gallery.path}: its log has no appearance {in_a_line(options.appearance)}")
        if (options.add or options.ignore) and sample is None:
            raise InputError("the embedding of this face is not stored (keep.embeddings): use the console, or a photo")
        review = review_appearance(gallery, log, options.appearance, person.id if person else None)
    if person and sample and options.add:
        enroll_shots(gallery, person.name, [sample], sample.source, threshold=review.threshold, force=True)
    if sample and options.ignore:
        ignore_face(gallery, [sample])
    return review


def _open_log(gallery: Gallery, opened: ExitStack) -> AppearanceLog | None:
    """The appearance log beside ``gallery``; None if there is no such file."""
    from ..service.appearance_log import AppearanceLog
    from ..service.log_files import log_path

    path = log_path(gallery.path)
    return opened.enter_context(AppearanceLog(path, lambda: gallery.cipher)) if path.exists() else None


def _cosine_or_none(text: str) -> float | None:
    if text.lower() == NOTHING:
        return None
    try:
        return fraction(text)
    except ArgumentTypeError as error:
        raise ArgumentTypeError(f"{error}; {NOTHING!r} removes it") from None
