"""The actions of ``rkface gallery`` that say how well people are told apart. Imports nothing heavy before one runs."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.arguments import fraction
from ..core.errors import InputError
from ..core.progress import stage
from ..core.text import in_a_line, in_lines
from .gallery_options import add_gallery, open_gallery
from .options import BUNDLE, counted

if TYPE_CHECKING:
    from ..gallery.gallery import Gallery
    from ..gallery.quality_report import GalleryQuality

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


ACTIONS = (threshold,)


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


def measure_quality(options: Namespace, gallery: Gallery) -> GalleryQuality:
    """Check the samples of ``gallery`` as the options say. Raises InputError if no threshold is known."""
    from ..gallery.leave_one_out import check_quality

    with stage("comparing samples"):
        return check_quality(gallery, _find_threshold(options, gallery))


def quality_to_json(quality: GalleryQuality) -> dict[str, Any]:
    return {**asdict(quality), "problems": list(quality.problems)}


def print_quality(quality: GalleryQuality, path: Path) -> None:
    """Print the figures to stdout and the problems to stderr."""
    problems = quality.problems
    for problem in problems[:MOST_PRINTED]:
        print(f"rkface: {in_lines(f'{path}: {problem}')}", file=sys.stderr)
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


def _cosine_or_none(text: str) -> float | None:
    if text.lower() == NOTHING:
        return None
    try:
        return fraction(text)
    except ArgumentTypeError as error:
        raise ArgumentTypeError(f"{error}; {NOTHING!r} removes it") from None
