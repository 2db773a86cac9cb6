"""What the commands on a gallery share: options, opening it, and how results are printed."""

from __future__ import annotations

import json
import os
import sys
import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import WorkError
from ..gallery.encryption import ENVIRONMENT
from .options import BUNDLE

if TYPE_CHECKING:
    from ..enrollment.enroll import Verdict
    from ..gallery.backup import Left
    from ..gallery.encryption import Key
    from ..gallery.gallery import Gallery
    from ..inference.pipeline import Pipeline
    from ..service.erasure import ErasureReport


def add_gallery(parser: ArgumentParser) -> None:
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


def open_gallery(options: Namespace, pipeline: Pipeline | None = None, *, create: bool = False) -> Gallery:
    from ..gallery.gallery import Gallery, default_path
    from ..gallery.people import embedding_identity

    identity = embedding_identity(pipeline.manifest) if pipeline else None
    return Gallery(options.gallery or default_path(), identity, create=create, key=key_of(options))


def key_of(options: Namespace) -> Key | None:
    from ..gallery.encryption import read_key

    return read_key(Path(options.key)) if options.key else None


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


def print_erasure_report(report: ErasureReport) -> int:
    """Print what was erased and where data may remain. Returns the exit code."""
    for sentence in (*report.done, *report.left):
        print(f"rkface: {sentence}", file=sys.stderr)
    return WorkError.exit_code if report.left else 0


def say_left(left: list[Left]) -> int:
    """Name the copies that may still hold what was deleted or encrypted; the exit code."""
    for copy in left:
        print(
            f"rkface: {copy.path} may still hold what was deleted or encrypted here: {copy.reason}; then run "
            "`rkface gallery check`",
            file=sys.stderr,
        )
    return WorkError.exit_code if left else 0
