"""What the commands on a gallery share: options, opening it, and printing results."""

from __future__ import annotations

import os
import sys
import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import WorkError
from ..core.messages import show_message
from ..core.text import counted, in_a_line
from ..gallery.encryption import ENVIRONMENT
from .options import print_json

if TYPE_CHECKING:
    from ..enrollment.enroll import EnrollOptions, Verdict
    from ..gallery.backup import Left
    from ..gallery.encryption import Key
    from ..gallery.gallery import Gallery
    from ..inference.pipeline import Pipeline
    from ..service.erasure import ErasureReport


def add_gallery_path(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--gallery",
        type=Path,
        metavar="FILE",
        help="the gallery (default: /var/lib/rkface/gallery.sqlite if you may write there, else ./gallery.sqlite)",
    )


def add_gallery(parser: ArgumentParser) -> None:
    add_gallery_path(parser)
    parser.add_argument(
        "--key",
        type=Path,
        metavar="FILE",
        default=os.environ.get(ENVIRONMENT),
        help=f"the key file of an encrypted gallery (default: ${ENVIRONMENT})",
    )


def add_enroll_rules(parser: ArgumentParser) -> None:
    parser.add_argument("--strict", action="store_true", help="refuse all photos with several faces")
    parser.add_argument(
        "--force",
        action="store_true",
        help="enroll a person even if they look like another person in the gallery, or unlike their own other photos",
    )
    parser.add_argument(
        "--no-crops",
        action="store_true",
        help="do not store aligned faces; with another model, everybody has to be enrolled again",
    )


def enroll_rules(options: Namespace) -> EnrollOptions:
    from ..enrollment.enroll import EnrollOptions

    return EnrollOptions(options.strict, options.force, not options.no_crops, getattr(options, "face", None))


def gallery_path(options: Namespace) -> Path:
    from ..gallery.companions import default_path

    path: Path | None = options.gallery
    return path or default_path()


def open_gallery(options: Namespace, pipeline: Pipeline | None = None, *, create: bool = False) -> Gallery:
    """The gallery that the options name. With ``pipeline``, embeddings of its model are stored and searched.

    Raises InputError for a key that does not belong to the gallery, also if the command does not need it: its user
    should not believe that it is the right one.
    """
    from ..gallery.gallery import Gallery
    from ..gallery.people import embedding_identity

    identity = embedding_identity(pipeline.manifest) if pipeline else None
    with ExitStack() as unless_wrong:
        gallery = unless_wrong.enter_context(
            Gallery(gallery_path(options), identity, create=create, key=read_gallery_key(options))
        )
        if gallery.has_key:
            gallery.cipher  # noqa: B018
        unless_wrong.pop_all()
    return gallery


def read_gallery_key(options: Namespace) -> Key | None:
    from ..gallery.encryption import read_key

    return read_key(Path(options.key)) if options.key else None


def print_verdicts(verdicts: Iterable[Verdict], *, as_json: bool) -> int:
    """Print each verdict as soon as it is known, and a summary on stderr. Returns the exit code: 1 if a photo was
    refused."""
    counts: Counter[str] = Counter()
    people = set()
    for verdict in verdicts:
        counts[verdict.status] += 1
        if verdict.status == "enrolled":
            people.add(verdict.person)
        if as_json:
            print_json(asdict(verdict))
        else:
            print(_verdict_line(verdict), flush=True)
    summary = f"{counts['enrolled']} enrolled for {counted(len(people), 'person', 'people')}"
    summary += f", {counts['known']} already known" if counts["known"] else ""
    summary += f", {counts['refused']} refused" if counts["refused"] else ""
    print(summary, file=sys.stderr)
    return WorkError.exit_code if counts["refused"] else 0


def _verdict_line(verdict: Verdict) -> str:
    line = f"{verdict.source}: {verdict.status} {'for' if verdict.status == 'refused' else 'as'} {verdict.person}"
    line += f", quality {verdict.quality:.2f}" if verdict.quality is not None else ""
    return in_a_line("; ".join([line, *filter(None, [verdict.reason]), *verdict.notes]))


def format_time(seconds: float) -> str:
    """Seconds since 1970 as local date and time."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def print_erasure_report(report: ErasureReport) -> int:
    """Print what was erased and where data may remain. Returns the exit code: 1 if data may remain."""
    for sentence in (*report.done, *report.left):
        show_message(sentence)
    return WorkError.exit_code if report.left else 0


def print_unreached_copies(copies: list[Left]) -> int:
    """Name the copies that may still hold deleted or unencrypted data. Returns the exit code: 1 if there are any."""
    for copy in copies:
        sentence = f"{copy.path} may still hold data that was deleted or encrypted in the gallery: {copy.reason}"
        show_message(f"{sentence}; then run `rkface gallery check`")
    return WorkError.exit_code if copies else 0


def copies_to_json(copies: list[Left]) -> list[dict[str, Any]]:
    return [{"path": str(copy.path), "reason": copy.reason} for copy in copies]
